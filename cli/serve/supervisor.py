"""Starts processes in order, keeps them running, and stops them in the opposite order."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from cli import echo
from cli.serve.process import Kept, Part, describe

TICK_SECONDS = 0.1
HURRY_SECONDS = 0.5
"""A Ctrl-C this soon after the first is the same one, as when a terminal and a parent both send it."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Keeps `parts` running until told to stop, or until one of them can't be kept.

    One that dies is restarted after a pause that grows, at most `restarts` times within `window` seconds.
    A stage that is told to stop has `grace` seconds for it.
    """

    def __init__(
        self, parts: Sequence[Part], *, grace: float = 15.0, restarts: int = 5, window: float = 60.0
    ) -> None:
        self._kept = sorted((Kept(part) for part in parts), key=lambda kept: kept.part.stage)
        self._grace, self._restarts, self._window = grace, restarts, window
        self.status: int | None = None
        self._asked: float | None = None
        self._hurry = False

    def run(self, tick: Callable[[], None] = lambda: None) -> int:
        """Start all parts and stay with them, calling `tick` every moment; return the exit status.

        0: told to stop. 1: a part died too often. 2: a part said that its settings are at fault.
        """
        with self._signals():
            try:
                while self.status is None:
                    self.step(time.monotonic())
                    tick()
                    time.sleep(TICK_SECONDS)
            finally:
                self.stop()
        return self.status

    def step(self, now: float) -> None:
        """Look once after every part: bury the dead, start what is due."""
        for kept in self._kept:
            if kept.process is not None and kept.is_gone():
                self._bury(kept, now)
        if self.status is None:
            self._start_due(now)

    def _start_due(self, now: float) -> None:
        stage = self._kept[0].part.stage if self._kept else 0
        for kept in self._kept:
            if kept.part.stage > stage and not self._is_ready(stage):
                return
            stage = kept.part.stage
            if kept.process is None and kept.due <= now:
                kept.start()

    def _is_ready(self, stage: int) -> bool:
        for kept in self._kept:
            if kept.part.stage == stage and not kept.ready:
                kept.ready = kept.process is not None and kept.part.ready()
                if not kept.ready:
                    return False
        return True

    def _bury(self, kept: Kept, now: float) -> None:
        assert kept.process is not None  # noqa: S101 (for mypy)
        code = kept.process.wait()
        kept.kill()
        if code == kept.part.fatal_status:
            self.status = 2
            return
        why = f"{kept.part.name} {describe(code)}{kept.part.hint}"
        kept.deaths = [death for death in kept.deaths if now - death < self._window]
        if len(kept.deaths) >= self._restarts:
            echo(f"{why}; {self._restarts} restarts within {self._window:g} s did not help, so all stops")
            self.status = 1
            return
        pause = min(0.5 * 2 ** len(kept.deaths), 8.0)
        kept.deaths.append(now)
        kept.due = now + pause
        echo(f"{why}; it is restarted in {pause:g} s")

    def stop(self) -> None:
        """Stop all parts, from the last stage to the first."""
        for stage in sorted({kept.part.stage for kept in self._kept}, reverse=True):
            group = [kept for kept in self._kept if kept.part.stage == stage]
            for kept in group:
                if kept.process is not None and not kept.is_gone():
                    kept.process.terminate()
            self._wait_gone(group)
            for kept in group:
                kept.kill()

    def _wait_gone(self, group: Sequence[Kept]) -> None:
        end = time.monotonic() + self._grace
        while not all(kept.is_gone() for kept in group):
            if self._hurry:
                return
            if time.monotonic() > end:
                late = ", ".join(kept.part.name for kept in group if not kept.is_gone())
                echo(f"not stopped within {self._grace:g} s, and killed: {late}")
                return
            time.sleep(TICK_SECONDS / 5)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            if self.status is None:
                self.status = 0
        elif number == signal.SIGINT and now - self._asked > HURRY_SECONDS:
            self._hurry = True
