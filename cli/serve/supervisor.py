"""Starts processes in the order of their stages, and restarts processes that end unexpectedly.

At the end, the supervisor stops the processes in reverse order.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from cli import echo
from cli.serve.process import ManagedProcess, ProcessSpec, describe_exit

TICK_SECONDS = 0.1
SAME_INTERRUPT_SECONDS = 0.5
"""Maximum number of seconds between two SIGINT signals that count as one Ctrl-C.

After Ctrl-C, a terminal and a parent process may each send the signal.
"""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs processes until a signal stops the supervisor, or until a process ends unexpectedly too often.

    A process that ends unexpectedly is restarted after a pause. The pause grows with each restart. A process
    is restarted at most `restarts` times within `window` seconds. When the supervisor stops, the processes of
    each stage have `grace` seconds to stop.
    """

    def __init__(
        self, specs: Sequence[ProcessSpec], *, grace: float = 15.0, restarts: int = 5, window: float = 60.0
    ) -> None:
        self._processes = sorted(map(ManagedProcess, specs), key=lambda each: each.spec.stage)
        self._grace, self._restarts, self._window = grace, restarts, window
        self.status: int | None = None
        self._stop_requested: float | None = None
        self._kill_now = False

    def run(self, tick: Callable[[], None] = lambda: None) -> int:
        """Run all processes, and call `tick` every `TICK_SECONDS`; return the exit status.

        The exit status has one of these values:

        - 0: a signal stopped the supervisor.
        - 1: a process ended unexpectedly too often.
        - 2: a process reported wrong settings.
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
        """Handle processes that have ended. Start processes whose pause before the restart is over."""
        for each in self._processes:
            if each.process is not None and each.has_ended():
                self._handle_end(each, each.process.wait(), now)
        if self.status is None:
            self._start_due(now)

    def _start_due(self, now: float) -> None:
        stage = self._processes[0].spec.stage if self._processes else 0
        for each in self._processes:
            if each.spec.stage > stage and not self._is_ready(stage):
                return
            stage = each.spec.stage
            if each.process is None and each.start_at <= now:
                each.start()

    def _is_ready(self, stage: int) -> bool:
        for each in self._stage(stage):
            each.ready = each.ready or (each.process is not None and each.spec.ready())
            if not each.ready:
                return False
        return True

    def _stage(self, stage: int) -> list[ManagedProcess]:
        return [each for each in self._processes if each.spec.stage == stage]

    def _handle_end(self, ended: ManagedProcess, code: int, now: float) -> None:
        ended.kill()
        if code == ended.spec.fatal_status:
            self.status = 2
            return
        report = f"{ended.spec.name} {describe_exit(code)}{ended.spec.hint}"
        ended.deaths = [death for death in ended.deaths if now - death < self._window]
        if len(ended.deaths) >= self._restarts:
            echo(f"{report}; stopping: {self._restarts} restarts within {self._window:g} s did not help")
            self.status = 1
            return
        pause = min(0.5 * 2 ** len(ended.deaths), 8.0)
        ended.deaths.append(now)
        ended.start_at = now + pause
        echo(f"{report}; restarting in {pause:g} s")

    def stop(self) -> None:
        """Stop all processes, from the last stage to the first."""
        for stage in sorted({each.spec.stage for each in self._processes}, reverse=True):
            processes = self._stage(stage)
            for each in processes:
                each.terminate()
            self._wait_until_ended(processes)
            for each in processes:
                each.kill()

    def _wait_until_ended(self, processes: Sequence[ManagedProcess]) -> None:
        end = time.monotonic() + self._grace
        while running := [each.spec.name for each in processes if not each.has_ended()]:
            if self._kill_now:
                return
            if time.monotonic() > end:
                echo(f"killed because they did not stop within {self._grace:g} s: {', '.join(running)}")
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
        if self._stop_requested is None:
            self._stop_requested = now
            if self.status is None:
                self.status = 0
        elif number == signal.SIGINT and now - self._stop_requested > SAME_INTERRUPT_SECONDS:
            self._kill_now = True
