"""One process of several that a supervisor keeps: how it is started, how it ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli import CommandError


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process to keep running.

    Stages start in ascending order, each as soon as every part before it is `ready`, and stop in
    descending order. A part that ends with `fatal_status` is beyond a restart's help and has said why.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stage: int = 0
    ready: Callable[[], bool] = lambda: True
    fatal_status: int | None = None
    inherits: tuple[int, ...] = ()
    """File descriptors that the process keeps open."""
    hint: str = ""
    """Said with its death: where to read more."""
    log: Path | None = None
    """Where its output goes; None: where ours goes."""


class Kept:
    """A part and what has become of it."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self.deaths: list[float] = []
        self.ready = False

    def start(self) -> None:
        """Start the process.

        Raises:
            CommandError: its program can't be run.
        """
        try:
            with open(self.part.log, "ab") if self.part.log else contextlib.nullcontext() as log:
                self.process = subprocess.Popen(  # noqa: S603 (our own programs)
                    self.part.command,
                    env=self.part.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,  # a Ctrl-C on the terminal is for the supervisor alone
                    pass_fds=self.part.inherits,
                    preexec_fn=_die_with_parent(),
                )
        except OSError as error:
            raise CommandError(f"{self.part.name} can't be started: {error}") from None

    def is_gone(self) -> bool:
        """Whether there is no such process, or no longer."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """End the process and what it may have left behind in its group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def describe(code: int) -> str:
    """Say how a process ended whose return code is `code`."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before it becomes its program, so that a killed supervisor leaves none behind."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died before it could be watched
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare
