"""gunicorn's configuration: `gunicorn -c python:gateway.gunicorn_conf 'gateway.app:create_app()'`."""

import gc
import os
import resource
import shutil
import sys
import tempfile
from typing import Any

from gateway.gunicorn_compat import DelayedStop, cache_settings, loaded_app
from gateway.startup_checks import check
from shared.cores import available_cores
from shared.settings import Settings, SettingsError
from shared.startup import refuse_start

try:
    _settings = Settings.from_environ()
    check(_settings)
except SettingsError as error:
    refuse_start(str(error))
    # End without the exception SystemExit, because gunicorn would print a second error message for it.
    sys.stderr.flush()
    os._exit(2)

bind = f"{_settings.server_host}:{_settings.server_port}"

MAX_PROCESSES = 8
"""Maximum number of gateway processes, unless WEB_CONCURRENCY is set. On 16 cores, 8 processes used 1.1 to
3.9 cores. Each process after the first needs 40 MB of memory."""

# The model needs cores too. On 2 cores, one process answered 967 requests per second, and two processes 779.
workers = _settings.gateway_processes or min(max(available_cores() // 2, 1), MAX_PROCESSES)

# gunicorn's own ASGI worker. Its event loop needs less CPU time with uvloop (docs/decisions.md).
worker_class, asgi_loop, asgi_lifespan = "asgi", "uvloop", "off"
# Maximum number of connections of one process: one connection for each place in the interactive queue, plus
# 4,096 other connections. At the maximum, a new connection is closed at once.
worker_connections = _settings.queue_size + 4096
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = worker_connections + 512
if _soft != resource.RLIM_INFINITY and _soft < _wanted:  # each connection needs a file descriptor
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard), _hard)
    )

# A stopping process finishes the requests that it has accepted. Each request ends within REQUEST_TIMEOUT.
graceful_timeout = int(_settings.request_timeout + _settings.server_drain_seconds) + 5
timeout = 60
# A request of a caller that is gone is finished as well, so that it is counted and logged.
asgi_disconnect_grace_period = graceful_timeout
keepalive = _settings.keep_alive_seconds

limit_request_line = 8190
limit_request_fields = 64
# gunicorn's heartbeat files and the metrics files are in memory, because a slow disk would block the process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 (gunicorn creates its own file)
control_socket_disable = True
loglevel = "warning"

GARBAGE_THRESHOLD = 20_000
"""Number of new Python objects after which Python's garbage collector runs. With Python's default of
700, the collector would examine the objects of waiting requests again and again."""


def when_ready(server: Any) -> None:
    """Create an empty folder for the metrics of the gateway's processes.

    The new folder contains no counts of an earlier run. The counts of an ended process stay in the folder, so
    that no counter decreases. A hook `child_exit` would only remove the gauges of an ended process. The
    gateway has no gauges, so it needs no such hook.
    """
    folder = tempfile.mkdtemp(prefix="classification-metrics-", dir=worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def pre_fork(server: Any, worker: Any) -> None:
    """Create the metrics folder again if systemd has deleted it.

    When a user logs out, systemd deletes the user's files in /dev/shm.
    """
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chown(folder, server.cfg.uid, server.cfg.gid)


def reduce_overhead(cfg: Any) -> None:
    """Reduce each request's CPU time by faster reads of gunicorn's settings and rarer garbage collections."""
    cache_settings(cfg)
    gc.set_threshold(GARBAGE_THRESHOLD)


def post_worker_init(worker: Any) -> None:
    """Set up a new gateway process: reduce its CPU time per request, and delay its stop after SIGTERM."""
    reduce_overhead(worker.cfg)
    stop = DelayedStop(worker, _settings.server_drain_seconds)
    loaded_app(worker).resources.draining = stop.is_draining


def on_exit(server: Any) -> None:
    """Remove the folder in which the gateway's processes keep their metrics."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
