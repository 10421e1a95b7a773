"""gunicorn's configuration, in a child process because the configuration changes the process."""

import os
import subprocess
import sys

import pytest

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


PROCESSES = """
import sys
from gunicorn.app.wsgiapp import WSGIApplication
from shared import cores

count = int(sys.argv.pop())
cores.available_cores = lambda: count
sys.argv += ["-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()"]
print(WSGIApplication().cfg.workers)
"""


def run(script: str, *arguments: str, **environ: str) -> list[str]:
    """Run a script with gunicorn's configuration; return the words that the script printed."""
    clean = {name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY"}
    environ = clean | {"REDIS_URL": "redis://localhost"} | environ  # not contacted
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.split()


def test_settings_are_not_searched_and_garbage_collection_is_rarer() -> None:
    assert run(SPARED) == ["7", "100", "None", "20000"]


@pytest.mark.parametrize(("cores", "processes"), [(1, 1), (2, 1), (3, 1), (4, 2), (15, 7), (16, 8), (64, 8)])
def test_the_number_of_processes_follows_the_cores(cores: int, processes: int) -> None:
    assert run(PROCESSES, str(cores)) == [str(processes)]


@pytest.mark.parametrize(
    "environ", [{"WEB_CONCURRENCY": "3"}, {"GUNICORN_CMD_ARGS": "--workers 3"}], ids=lambda each: min(each)
)
def test_a_chosen_number_of_processes_overrides_the_rule(environ: dict[str, str]) -> None:
    assert run(PROCESSES, "16", **environ) == ["3"]
