"""`classification-server completion`: prints a completion script for bash or zsh."""

import argparse

from cli import CommandError, install_hint

HELP = "print a completion script for bash or zsh"
DESCRIPTION = """\
Prints a script for bash or zsh. With this script, the shell completes commands, options and file names.

  classification-server completion bash > ~/.local/share/bash-completion/completions/classification-server
  classification-server completion zsh > ~/.zsh/completions/_classification-server

(zsh reads ~/.zsh/completions if .zshrc has this line before compinit: fpath=(~/.zsh/completions $fpath))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `completion`."""
    parser.add_argument("shell", choices=("bash", "zsh"), help="shell for which the script is printed")


def run(options: argparse.Namespace) -> int:
    """Print the script; return the exit status.

    Raises:
        CommandError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise CommandError(f"shtab is not installed. Install it: {install_hint('people')}.") from None

    for argument in options.parser.path_arguments:
        argument.complete = shtab.DIRECTORY if argument.metavar == "FOLDER" else shtab.FILE
    print(shtab.complete(options.parser, shell=options.shell))
    return 0
