"""gunicorn's configuration: `gunicorn -c python:gateway.gunicorn_conf 'gateway.app:create_app()'`.

gunicorn's own WEB_CONCURRENCY sets the number of processes (default 1).
"""

import gc
import os
import resource
import shutil
import sys
import tempfile
from typing import Any

from gateway.gunicorn_compat import DelayedStop, cache_settings, loaded_app, remove_quotes
from gateway.startup_checks import check
from shared.settings import Settings, SettingsError
from shared.startup import refuse_start

try:
    _settings = Settings.from_environ()
    check(_settings)
except SettingsError as error:
    refuse_start(str(error))
    # gunicorn would report a SystemExit as its own error.
    sys.stderr.flush()
    os._exit(2)

bind = f"{_settings.server_host}:{_settings.server_port}"

# A waiting request costs a greenlet instead of a thread (docs/decisions.md has measurements).
worker_class = "gevent"
# The full interactive queue can wait, and idle connections block no requests. At the maximum, new connections
# wait until `keepalive` closes old ones.
worker_connections = _settings.queue_size + 4096
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = worker_connections + 512
if _soft != resource.RLIM_INFINITY and _soft < _wanted:  # each connection is an open file
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard), _hard)
    )

# A stop lets requests in flight finish. Their answers arrive within the request timeout, or never.
graceful_timeout = int(_settings.request_timeout + _settings.server_drain_seconds) + 5
timeout = 60
# Idle connections delay a stop by up to this many seconds.
keepalive = 5

limit_request_line = 8190
limit_request_fields = 64
# On a slow disk, heartbeats and counters would block the process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 (gunicorn creates its own file)
control_socket_disable = True
loglevel = "warning"

GARBAGE_THRESHOLD = 20_000
"""Number of new objects before Python searches for reference cycles. With its default of 700, waiting
requests are searched again and again."""


def on_starting(server: Any) -> None:
    """Keep parts of requests out of gunicorn's log, because a malformed header may contain a key."""
    server.log.error_log.addFilter(remove_quotes)


def when_ready(server: Any) -> None:
    """Create a new folder for the processes' counters, without an earlier run's counts.

    A process's counts stay when the process ends, so no counter falls. `child_exit` has nothing to remove,
    because there are only counters.
    """
    folder = tempfile.mkdtemp(prefix="classification-metrics-", dir=worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def pre_fork(server: Any, worker: Any) -> None:
    """Create the folder again if it is gone: systemd empties a user's /dev/shm at the end of the session."""
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chown(folder, server.cfg.uid, server.cfg.gid)


def reduce_overhead(cfg: Any) -> None:
    """Make each request cheaper: settings need no search, and garbage collection is rarer."""
    cache_settings(cfg)
    gc.set_threshold(GARBAGE_THRESHOLD)


def post_worker_init(worker: Any) -> None:
    """Prepare a process: its stop is delayed, and its requests are cheaper."""
    reduce_overhead(worker.cfg)
    stop = DelayedStop(worker, _settings.server_drain_seconds)
    loaded_app(worker).extensions["classification"].draining = stop.is_draining


def on_exit(server: Any) -> None:
    """Remove the folder of the counters."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
