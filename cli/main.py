"""`classification-server COMMAND`: reads the command line and hands over to the command's module."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from cli import CommandError, completion, echo
from cli.bench import bench_command
from cli.calibrate import calibrate_command
from cli.check import check_command
from cli.classes import classes_command
from cli.classify import classify_command
from cli.serve import serve_command

COMMANDS = {
    "serve": serve_command,
    "classify": classify_command,
    "bench": bench_command,
    "calibrate": calibrate_command,
    "check": check_command,
    "classes": classes_command,
    "completion": completion,
}
"""Each command's module has `HELP` (one line), `DESCRIPTION`, `add_options(parser)` and
`run(options)`, which returns the exit status. Importing it must be light: `--help` imports them all."""


class _Version(argparse.Action):
    """Looks the version up only when asked, as the package's metadata take their time."""

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        try:
            version = metadata.version("classification-server")
        except metadata.PackageNotFoundError:
            version = "(not installed: run from its source)"
        print(f"classification-server {version}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="classification-server",
        description="Serves a Keras image classifier over HTTP.",
        epilog="`classification-server COMMAND --help` tells more of each.",
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
        command.set_defaults(run=module.run, parser=parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2: the caller must mend something)."""
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
