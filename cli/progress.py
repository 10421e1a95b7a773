"""Shows the progress of a long command.

A terminal shows a bar. Other outputs get log lines. With --quiet, nothing is shown.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

from cli import echo

LINE_SECONDS = 10.0
"""Minimum time between two log lines about progress, in seconds."""

Advance = Callable[[int], None]


@contextlib.contextmanager
def progress(what: str, total: int, *, quiet: bool = False, done: int = 0) -> Iterator[Advance]:
    """Yield a function for the caller to report the number of items completed since the last call.

    An earlier run completed `done` items. The rate and the remaining time do not include these items.
    """
    if quiet:
        yield lambda count: None
    elif _has_terminal():
        from rich.progress import MofNCompleteColumn, Task, TextColumn, TimeRemainingColumn
        from rich.text import Text

        class Rate(TextColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")

        columns = (MofNCompleteColumn(), Rate(""), TimeRemainingColumn())
        with _bar(*columns, what=what, total=total, completed=done) as (bar, task):
            yield lambda count: bar.advance(task, count)
    else:
        yield _LogLines(what, total, done)


@contextlib.contextmanager
def step_progress(total: int, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function for the caller to report the name of each step before the step begins.

    There are `total` steps.
    """
    number = itertools.count()
    if quiet:
        yield lambda step: None
    elif _has_terminal():
        from rich.progress import MofNCompleteColumn, TextColumn, TimeElapsedColumn

        columns = (MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[step]}"))
        with _bar(*columns, what="", total=total, step="") as (bar, task):
            yield lambda step: bar.update(task, completed=next(number), step=step)
    else:
        yield lambda step: echo(f"step {next(number) + 1} of {total}: {step}")


def _has_terminal() -> bool:
    from rich.console import Console

    console = Console(stderr=True)
    return console.is_terminal and not console.is_dumb_terminal


@contextlib.contextmanager
def _bar(*columns: Any, what: str, **task: Any) -> Iterator[tuple[Any, Any]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    shown = (TextColumn("{task.description}"), BarColumn(), *columns)
    with Progress(*shown, console=console, speed_estimate_period=30, transient=True) as bar:
        yield bar, bar.add_task(what, **task)


class _LogLines:
    """Reports progress on stderr, with at most one log line every `LINE_SECONDS`."""

    def __init__(self, what: str, total: int, done: int) -> None:
        self._what, self._total, self._done, self._done_before = what, total, done, done
        self._started = self._reported = time.monotonic()

    def __call__(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._reported >= LINE_SECONDS:
            self._reported = now
            rate = (self._done - self._done_before) / (now - self._started)
            left = f", {(self._total - self._done) / rate:.0f} s left" if rate else ""
            echo(f"{self._what}: {self._done} of {self._total}, {rate:.1f}/s{left}")
