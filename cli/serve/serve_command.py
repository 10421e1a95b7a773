"""`classification-server serve`: starts and stops Redis, workers and gateway together."""

import argparse
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import CommandError, echo, whole_number
from cli.serve.process import ProcessSpec
from cli.serve.readiness import ReadinessReporter
from cli.serve.supervisor import Supervisor
from shared.settings import Settings, SettingsError, unknown_names

HELP = "run the whole service: Redis, workers and the HTTP gateway"
DESCRIPTION = """\
Runs the whole service until Ctrl-C: a Redis server (unless REDIS_URL names one), the workers
that run the model, and the HTTP gateway. A process that dies is restarted.

The settings are environment variables; docs/settings.md lists all of them. The most important settings are:

  INFERENCE_MODEL, INFERENCE_CLASSES_FILE, INFERENCE_THRESHOLDS_FILE
                    the files of your model; without these settings, the demo model is served
  SERVER_PORT       port of the HTTP server (default: 8001)
  REDIS_URL         address of your Redis server; without this setting, a Redis server is started
  SERVER_DATA_DIR   folder for the data of the Redis server that is started

  classification-server serve
  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server serve --workers 2
"""

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Commands:
    """The command of each process.

    Python's option `-P` prevents imports from the current folder.
    """

    worker: Sequence[str] = (sys.executable, "-P", "-m", "worker")
    gateway: Sequence[str] = (
        *(sys.executable, "-P", "-m", "gunicorn"),
        *("-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()"),
    )
    webhooks: Sequence[str] = (sys.executable, "-P", "-m", "webhooks")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument(
        "--workers", type=whole_number(1, 1024), default=1, metavar="N", help="number of workers (default: 1)"
    )
    parser.add_argument(
        "--port", metavar="PORT", help="port of the HTTP server (default: SERVER_PORT, or 8001)"
    )


def run(options: argparse.Namespace, commands: Commands | None = None) -> int:
    """Run the service until a signal stops it; return the exit status.

    Raises:
        CommandError: settings are wrong, the port is in use, or there is no Redis server.
    """
    environ = dict(os.environ) | ({"SERVER_PORT": options.port} if options.port else {})
    settings = _read(environ)
    check_port(settings.server_host, settings.server_port)
    extra = demo_model(environ)
    with _redis(settings) as (url, redis):
        environ |= extra | python_path() | {"REDIS_URL": url}
        if settings.gateway_processes is None:
            environ.pop("WEB_CONCURRENCY", None)  # gunicorn fails if this variable is empty.
        count = "1 worker" if options.workers == 1 else f"{options.workers} workers"
        echo(f"starting {'Redis, ' if redis else ''}{count} and the gateway; press Ctrl-C to stop")
        specs = _specs(commands or Commands(), environ, options.workers, bool(settings.webhook_secret))
        return Supervisor([*redis, *specs]).run(ReadinessReporter(settings, is_demo=bool(extra)))


def _read(environ: Mapping[str, str]) -> Settings:
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    for warning in unknown_names(environ):
        echo(f"warning: {warning}")
    return settings


def check_port(host: str, port: int) -> None:
    """Check that the gateway can listen on this address and port.

    Raises:
        CommandError: the port is in use, or the address is not usable.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Gunicorn sets SO_REUSEADDR too.
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"SERVER_PORT: port {port} is already in use. Choose another port with --port or SERVER_PORT."
            ) from None
        raise CommandError(
            f"SERVER_HOST: cannot listen on {host} port {port}: {error.strerror}. Set another address."
        ) from None


def demo_model(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the demo model's settings if no model is set and the default model file does not exist."""
    if environ.get("INFERENCE_MODEL", "").strip() or Settings().model.exists():
        return {}
    import demo

    echo("INFERENCE_MODEL is not set: the demo model is served")
    return {name: path for name, path in demo.SETTINGS.items() if not environ.get(name, "").strip()}


def python_path() -> dict[str, str]:
    """Return PYTHONPATH for child processes.

    In a clone of the project, child processes find the project's packages in this path.
    """
    if not (ROOT / "pyproject.toml").exists():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[tuple[str, list[ProcessSpec]]]:
    """Yield the Redis server's address, and a list of the processes to start for this server.

    The list is empty if the service uses a Redis server that already runs.
    """
    if settings.redis_url:
        yield settings.redis_url, []
        return
    from cli.serve.embedded_redis import EmbeddedRedis, data_folder
    from worker.cuda_driver import has_driver

    folder = data_folder(settings.data_dir, settings.server_port)
    embedded = EmbeddedRedis(folder, settings.fsync, uses_gpu=settings.device != "cpu" and has_driver())
    if not embedded.is_persistent:
        lost = "jobs and results are lost when the service stops"
        echo(f"SERVER_DATA_DIR: no writable folder was found, so {lost}")
    with contextlib.closing(embedded):
        yield embedded.url, [embedded.process_spec()]


def _specs(
    commands: Commands, environ: Mapping[str, str], workers: int, webhooks: bool
) -> Iterator[ProcessSpec]:
    def spec(name: str, command: Sequence[str], stage: int) -> ProcessSpec:
        return ProcessSpec(name=name, command=command, environ=environ, stage=stage, fatal_status=2)

    # The gateway stops first, so that the workers still answer the requests that the gateway accepted.
    yield spec("gateway", commands.gateway, 2)
    for number in range(1, workers + 1):
        yield spec("worker" if workers == 1 else f"worker {number}", commands.worker, 1)
    if webhooks:
        yield spec("webhooks", commands.webhooks, 1)
