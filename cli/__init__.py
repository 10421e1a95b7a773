"""The `classification-server` command. Each subcommand imports its heavy packages only when it runs."""

import argparse
import contextlib
import sys
from collections.abc import Callable


class CommandError(Exception):
    """An error that the user can fix. Its message has a line per problem; the command exits with status 2."""


def install_hint(extra: str) -> str:
    """Return the command that installs an optional extra from a clone of the project."""
    return f"run pip install '.[{extra}]' in a clone of the project"


def echo(text: str) -> None:
    """Print `text` on stderr, each line prefixed with the command's name; ignore a closed stderr."""
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
