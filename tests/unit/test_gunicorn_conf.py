"""The cheaper requests of gunicorn's processes, in a child process because the configuration changes it."""

import os
import subprocess
import sys

SPARED = """
import gc
from gunicorn.config import Config
from gateway import gunicorn_conf

cfg = Config()
cfg.set("keepalive", 7)
gunicorn_conf.reduce_overhead(cfg)
Config.__getattr__ = lambda cfg, name: "searched"
print(cfg.keepalive, cfg.limit_request_fields, cfg.is_ssl, gc.get_threshold()[0])
"""


def test_settings_are_not_searched_and_garbage_collection_is_rarer() -> None:
    environ = os.environ | {"REDIS_URL": "redis://localhost"}  # not contacted
    command = [sys.executable, "-c", SPARED]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "100", "None", "20000"]
