"""`classification-server COMMAND`: parses the command line and runs the command's module."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli import CommandError, completion, echo
from cli.bench import bench_command
from cli.calibrate import calibrate_command
from cli.check import check_command
from cli.classes import classes_command
from cli.classify import classify_command
from cli.serve import serve_command
from shared.version import version

COMMANDS = {
    "serve": serve_command,
    "classify": classify_command,
    "bench": bench_command,
    "calibrate": calibrate_command,
    "check": check_command,
    "classes": classes_command,
    "completion": completion,
}
"""The module of each command.

Each module has `HELP` (one line), `DESCRIPTION`, `add_options(parser)` and `run(options)`. The function `run`
returns the exit status. All modules must be fast to import, because `--help` imports all of them.
"""


class _Version(argparse.Action):
    """Prints the version.

    The version is read only for `--version`, because reading the metadata of a package is slow.
    """

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        print(f"classification-server {version()}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """A parser that lists the arguments whose values are paths. The command `completion` needs this list."""

    def __init__(self, **options: Any) -> None:
        self.path_arguments: list[argparse.Action] = []
        super().__init__(**options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        argument = super().add_argument(*names, **options)
        if argument.type is Path:
            self.path_arguments.append(argument)
        return argument


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    parser = _Parser(
        prog="classification-server",
        description="Serves a Keras image classifier over HTTP.",
        epilog="Run `classification-server COMMAND --help` for the options of a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        parser.path_arguments += command.path_arguments
        command.set_defaults(run=module.run, parser=parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    The exit status is 2 if an error occurred that the user can fix.
    """
    options = build_parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except CommandError as error:
        echo(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
