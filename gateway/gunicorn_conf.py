"""gunicorn's configuration: `gunicorn -c python:gateway.gunicorn_conf 'gateway.app:create_app()'`.

The number of processes is gunicorn's own WEB_CONCURRENCY (default 1).
"""

import os
import sys

from shared.settings import Settings, SettingsError, redis_url

try:
    _settings = Settings.from_environ()
    redis_url(_settings)
except SettingsError as error:
    for _line in str(error).splitlines():
        print(f"classification-server: {_line}", file=sys.stderr)
    # Not SystemExit: gunicorn would report that as its own fault.
    sys.stderr.flush()
    os._exit(2)

bind = f"{_settings.server_host}:{_settings.server_port}"

# A waiting request costs a greenlet instead of a thread; docs/decisions.md has the figures.
worker_class = "gevent"
# The full interactive queue can wait, and health checks are still answered.
worker_connections = _settings.queue_size + 200

# A stop lets the requests in flight finish: their answers come within the request timeout, or never.
graceful_timeout = int(_settings.request_timeout) + 5
timeout = 60
# Idle connections hold up a stop for as long.
keepalive = 5

limit_request_line = 8190
limit_request_fields = 64
if os.path.isdir("/dev/shm"):
    worker_tmp_dir = "/dev/shm"  # a heartbeat on a slow disk would stall the process
control_socket_disable = True
loglevel = "warning"
