"""What the gateway's processes are spared; in a process, as the configuration changes its reader."""

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
Config.__getattr__ = lambda cfg, name: "searched for"
print(cfg.keepalive, cfg.limit_request_fields, cfg.is_ssl, gc.get_threshold()[0])
"""


def test_requests_are_spared_searches_for_settings_and_garbage() -> None:
    environ = os.environ | {"REDIS_URL": "redis://localhost"}  # named, not reached
    command = [sys.executable, "-c", SPARED]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "100", "None", "20000"]
