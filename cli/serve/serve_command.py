"""`classification-server serve`: Redis, workers and gateway, started and stopped as one thing."""

import argparse
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import CommandError, echo
from cli.serve.process import Part
from cli.serve.readiness import Ready
from cli.serve.supervisor import Supervisor
from shared.settings import Settings, SettingsError, unknown_names

HELP = "run the whole service: Redis, workers and the HTTP gateway"
DESCRIPTION = """\
Runs the whole service until Ctrl-C: a Redis server (unless REDIS_URL names one), the workers
that hold the model, and the HTTP gateway. A part that dies is started again.

The settings are environment variables; the README has them all. The first ones to know:

  INFERENCE_MODEL, INFERENCE_CLASSES_FILE, INFERENCE_THRESHOLDS_FILE
                    your model and what belongs to it; without them, the demo model is served
  SERVER_PORT       the port (8001)
  REDIS_URL         the Redis server to use instead of one of our own
  SERVER_DATA_DIR   where our own Redis server keeps its data

  classification-server serve
  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server serve --workers 2
"""

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Commands:
    """How the parts are started; `-P` keeps a worker/ or shared/ of the current folder out of the way."""

    worker: Sequence[str] = (sys.executable, "-P", "-m", "worker")
    gateway: Sequence[str] = (
        *(sys.executable, "-P", "-m", "gunicorn"),
        *("-c", "python:gateway.gunicorn_conf", "gateway.app:create_app()"),
    )
    webhooks: Sequence[str] = (sys.executable, "-P", "-m", "webhooks")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `serve`."""
    parser.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes that hold the model (default: 1)"
    )
    parser.add_argument(
        "--port", metavar="PORT", help="port of the HTTP server (default: SERVER_PORT, or 8001)"
    )


def run(options: argparse.Namespace, commands: Commands | None = None) -> int:
    """Serve until told to stop; return the exit status.

    Raises:
        CommandError: the settings are at fault, the port is taken, or the Redis server can't be had.
    """
    environ = dict(os.environ) | ({"SERVER_PORT": options.port} if options.port else {})
    settings = _read(environ)
    check_port(settings.server_host, settings.server_port)
    extra = demo_model(environ)
    with _redis(settings) as (url, redis):
        environ |= extra | python_path() | {"REDIS_URL": url}
        echo(f"starting {_in_words(redis, options.workers)}; Ctrl-C stops all")
        parts = [
            *redis,
            *_parts(commands or Commands(), environ, options.workers, bool(settings.webhook_secret)),
        ]
        return Supervisor(parts).run(Ready(settings, is_demo=bool(extra)))


def _read(environ: Mapping[str, str]) -> Settings:
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    for warning in unknown_names(environ):
        echo(f"warning: {warning}")
    return settings


def check_port(host: str, port: int) -> None:
    """See that the gateway will be able to listen.

    Raises:
        CommandError: it won't.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"port {port} is taken: choose another with --port or SERVER_PORT") from None
        raise CommandError(f"can't listen on {host} port {port}: {error.strerror}") from None


def demo_model(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that name the demo model's files, if no model is named nor in the usual place."""
    if environ.get("INFERENCE_MODEL", "").strip() or Settings().model.exists():
        return {}
    import demo

    echo("no model is named (INFERENCE_MODEL), so the demo model is served")
    files = {
        "INFERENCE_MODEL": demo.MODEL,
        "INFERENCE_CLASSES_FILE": demo.CLASSES,
        "INFERENCE_THRESHOLDS_FILE": demo.THRESHOLDS,
    }
    return {name: str(path) for name, path in files.items() if not environ.get(name, "").strip()}


def python_path() -> dict[str, str]:
    """Lets the parts find our packages where they run from their source, not installed."""
    if not (ROOT / "pyproject.toml").exists():
        return {}
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[tuple[str, list[Part]]]:
    """The Redis server's address, and the part that runs it where it is our own."""
    if settings.redis_url:
        yield settings.redis_url, []
        return
    from cli.serve.embedded_redis import EmbeddedRedis, data_folder

    embedded = EmbeddedRedis(data_folder(settings.data_dir, settings.server_port), settings.fsync)
    if not embedded.lasts:
        echo("there is no folder to keep data in (SERVER_DATA_DIR), so jobs and results end with this run")
    with contextlib.closing(embedded):
        yield embedded.url, [embedded.part()]


def _parts(commands: Commands, environ: Mapping[str, str], workers: int, webhooks: bool) -> list[Part]:
    # The gateway is stopped first: what it has taken in, the workers still answer.
    gateway = Part(name="gateway", command=commands.gateway, environ=environ, stage=2, fatal_status=2)
    sender = Part(name="webhooks", command=commands.webhooks, environ=environ, stage=1, fatal_status=2)
    names = ["worker"] if workers == 1 else [f"worker {number}" for number in range(1, workers + 1)]
    return [
        gateway,
        *(Part(name=n, command=commands.worker, environ=environ, stage=1, fatal_status=2) for n in names),
        *([sender] if webhooks else []),
    ]


def _in_words(redis: Sequence[Part], workers: int) -> str:
    count = "a worker" if workers == 1 else f"{workers} workers"
    return f"{'Redis, ' if redis else ''}{count} and the gateway"


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError("it takes a whole number from 1 to 1024")
    return int(text)
