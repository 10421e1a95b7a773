"""Specifies, starts and stops the processes that a supervisor runs."""

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
class ProcessSpec:
    """The specification of a process that a supervisor runs.

    A process starts when all processes with a lower `stage` are `ready`. Processes stop in descending order
    of `stage`. If a process exits with the status `fatal_status`, a restart would not help.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stage: int = 0
    ready: Callable[[], bool] = lambda: True
    fatal_status: int | None = None
    inherited_files: tuple[int, ...] = ()
    """File descriptors that the process inherits."""
    hint: str = ""
    """Text after the message that the process has ended, for example the path of the process's log."""
    log: Path | None = None
    """File for the process's output. If this is None, the process shares the supervisor's output."""


class ManagedProcess:
    """A process that the supervisor can restart, and the times at which the process ended unexpectedly."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at = 0.0
        self.deaths: list[float] = []
        self.ready = False

    def start(self) -> None:
        """Start the process.

        Raises:
            CommandError: the process's program cannot be run.
        """
        try:
            with open(self.spec.log, "ab") if self.spec.log else contextlib.nullcontext() as log:
                self.process = subprocess.Popen(  # noqa: S603 (the project's own programs)
                    self.spec.command,
                    env=self.spec.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    process_group=0,  # Ctrl-C on the terminal must reach only the supervisor.
                    pass_fds=self.spec.inherited_files,
                    preexec_fn=_die_with_parent(),
                )
        except OSError as error:
            raise CommandError(f"{self.spec.name}: the program could not be started: {error}") from None

    def has_ended(self) -> bool:
        """Return whether the process has ended or was never started."""
        return self.process is None or self.process.poll() is not None

    def terminate(self) -> None:
        """Send SIGTERM to the process if it is running."""
        if self.process is not None and not self.has_ended():
            self.process.terminate()

    def kill(self) -> None:
        """Kill the process and all other processes in its process group."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def describe_exit(code: int) -> str:
    """Describe how a process with this return code ended."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _die_with_parent() -> Callable[[], None] | None:
    """Return a function that each child process calls when it starts.

    On Linux, the child process then stops if the supervisor is killed. On other systems, the result is None.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def prepare() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # The parent died before `prctl` was called.
            os.kill(os.getpid(), signal.SIGTERM)

    return prepare
