"""`classification-server completion`: what a shell needs to complete this command's words."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from cli import CommandError, install_hint

HELP = "print a script that has your shell complete this command"
DESCRIPTION = """\
Prints a script for your shell, which then completes commands, options and file names.

  classification-server completion bash > ~/.local/share/bash-completion/completions/classification-server
  classification-server completion zsh > ~/.zsh/completions/_classification-server

(zsh reads that folder if .zshrc has, before compinit: fpath=(~/.zsh/completions $fpath))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell that will read it")


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit status.

    Raises:
        CommandError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise CommandError(f"it needs shtab: {install_hint('people')}") from None

    for action in _actions(options.parser):
        if action.type is Path:
            action.complete = shtab.DIRECTORY if action.metavar == "FOLDER" else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(options.parser, shell=options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
