"""gunicorn's configuration: `gunicorn -c python:gateway.gunicorn_conf 'gateway.app:create_app()'`.

The number of processes is gunicorn's own WEB_CONCURRENCY (default 1).
"""

import gc
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
from typing import Any

import gevent

from gateway.startup_checks import check
from shared.settings import Settings, SettingsError

try:
    _settings = Settings.from_environ()
    check(_settings)
except SettingsError as error:
    for _line in str(error).splitlines():
        print(f"classification-server: {_line}", file=sys.stderr)
    # Not SystemExit: gunicorn would report that as its own fault.
    sys.stderr.flush()
    os._exit(2)

bind = f"{_settings.server_host}:{_settings.server_port}"

# A waiting request costs a greenlet instead of a thread; docs/decisions.md has the figures.
worker_class = "gevent"
# The full interactive queue can wait, and connections that are only kept open hold up nobody: past the bound
# new ones are not taken until `keepalive` closes some.
worker_connections = _settings.queue_size + 4096
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_wanted = worker_connections + 512
if _soft != resource.RLIM_INFINITY and _soft < _wanted:  # each is an open file, of which 1,024 are usual
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_wanted if _hard == resource.RLIM_INFINITY else min(_wanted, _hard), _hard)
    )

# A stop lets the requests in flight finish: their answers come within the request timeout, or never.
graceful_timeout = int(_settings.request_timeout + _settings.server_drain_seconds) + 5
timeout = 60
# Idle connections hold up a stop for as long.
keepalive = 5

limit_request_line = 8190
limit_request_fields = 64
# Heartbeats and counts on a slow disk would stall the process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 (gunicorn makes a file of its own)
control_socket_disable = True
loglevel = "warning"


GARBAGE_OBJECTS = 20_000
"""New objects after which Python looks for those that refer to one another: by its default of 700, waiting
requests are looked through again and again."""


def on_starting(server: Any) -> None:
    """Keep what callers sent out of gunicorn's log: a broken header may hold a key."""
    server.log.error_log.addFilter(_without_quotes)


def _without_quotes(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Invalid request"):
        record.msg = str(record.msg).partition("'")[0]
    return True


def when_ready(server: Any) -> None:
    """Make the folder that the processes write their counts to, always anew: an earlier run's would be added.

    What a process has written stays when it ends, so that no counter falls. With counters alone there is
    nothing to take back in `child_exit`.
    """
    folder = tempfile.mkdtemp(prefix="classification-metrics-", dir=worker_tmp_dir)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def pre_fork(server: Any, worker: Any) -> None:
    """See that the folder is there: systemd removes a user's files in /dev/shm at the end of the session."""
    folder = os.environ["PROMETHEUS_MULTIPROC_DIR"]
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chown(folder, server.cfg.uid, server.cfg.gid)


class _Drain:
    """What SIGTERM does to a process: /health tells at once, and some seconds later no more is taken.

    A balancer that asks /health has then sent its requests elsewhere. gunicorn alone closes its listener at
    once, and the kernel resets the connections that wait in it.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self.begun = False

    def __call__(self, *what: Any) -> None:
        self.begun = True
        gevent.spawn_later(_settings.server_drain_seconds, self._worker.handle_exit, *what)


def spare_requests(cfg: Any) -> None:
    """Make gunicorn's settings, of which none changes any more, attributes; and look for garbage less often.

    gunicorn asks for two dozen of them for each request, and searches for each.
    """
    vars(cfg).update((name, setting.get()) for name, setting in cfg.settings.items())
    gc.set_threshold(GARBAGE_OBJECTS)


def post_worker_init(worker: Any) -> None:
    """Let the process be drained before gunicorn stops it, and spare its requests needless work."""
    spare_requests(worker.cfg)
    drain = _Drain(worker)
    signal.signal(signal.SIGTERM, drain)
    worker.wsgi.extensions["classification"].draining = lambda: drain.begun or not worker.alive


def on_exit(server: Any) -> None:
    """Remove the folder."""
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
