"""How far long work has come: a bar on a terminal, a line now and then elsewhere, nothing with --quiet."""

import contextlib
import time
from collections.abc import Callable, Iterator

from cli import echo

LINE_SECONDS = 10.0
"""How often a line is written where there is no terminal."""

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress(what: str, total: int, *, quiet: bool = False, done: int = 0) -> Iterator[Advance]:
    """Yields what is to be called with the number of things that have been done since.

    `done` were so before; they don't count for the rate and the time that is left.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if quiet:
        yield lambda count: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with _bar(what, total, done) as advance:
            yield advance
    else:
        yield _Lines(what, total, done)


@contextlib.contextmanager
def _bar(what: str, total: int, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(""), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=30, transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.advance(task, count)


class _Lines:
    """The same in words, for logs."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done, self._before = what, total, done, done
        self._began = self._told = time.monotonic()

    def __call__(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._told >= LINE_SECONDS:
            self._told = now
            rate = (self._done - self._before) / (now - self._began)
            left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
            echo(f"{self._what}: {self._done} of {self._total}, {rate:.1f}/s{left}")
