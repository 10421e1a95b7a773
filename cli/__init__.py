"""The `classification-server` command.

A subcommand may need large packages. It imports these packages only when the subcommand runs.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable


class CommandError(Exception):
    """An error that the user can fix.

    The error's message has one line for each problem. After this error, the command exits with status 2.
    """


def install_hint(extra: str) -> str:
    """Return the command that installs an optional extra from a clone of the project."""
    return f"run pip install '.[{extra}]' in a clone of the project"


def echo(text: str) -> None:
    """Print `text` on stderr, with the command's name before each line.

    If stderr is closed, the function prints nothing.
    """
    with contextlib.suppress(OSError, ValueError):
        for line in text.splitlines():
            print(f"classification-server: {line}", file=sys.stderr, flush=True)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return an argparse type that accepts whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text!r}")
        return int(text)

    return parse
