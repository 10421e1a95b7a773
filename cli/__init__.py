"""The `classification-server` command. Heavy parts are imported only by the command that uses them."""

import contextlib
import sys


class CommandError(Exception):
    """What the person who runs the command must mend: one line each, and exit status 2."""


def install_hint(extra: str) -> str:
    """How to get what an optional part of the distribution brings; no registry has it."""
    return f"in a clone of the project, pip install '.[{extra}]'"


def echo(text: str) -> None:
    """Print each line of `text` on stderr, saying who speaks; a terminal that has gone is no fault."""
    with contextlib.suppress(OSError, ValueError):
        for line in text.splitlines():
            print(f"classification-server: {line}", file=sys.stderr, flush=True)
