"""`classification-server classify`: a folder of photos in, a table and a page of their answers out."""

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cli import CommandError, echo, install_hint
from cli.classify import answer_tables

HELP = "classify a folder of photos; the answers as a table and a page"
DESCRIPTION = """\
Classifies all photos in and below FOLDER, on the server at --url or on one of its own that is started for
the run (with INFERENCE_MODEL and the other settings; see `serve`).

Stop it with Ctrl-C whenever you like: the same command goes on from there. A file that can't be read, or is
no photo, is listed with the reason, and the others go on. Hidden files are left out, and those that are
something else by their ending (.json, .txt, .mp4).

  classification-server classify photos
  classification-server classify photos --output answers.parquet --html answers.html
  classification-server classify photos --url http://gpu-box:8001 --top-n 3

The output has a row for each answer (.csv, .parquet), or a line for each photo (.jsonl).
Exit status: 0 all photos have an answer, 1 some have none, 2 something must be mended first, 130 Ctrl-C.
"""

KEY = "CLASSIFICATION_SERVER_KEY"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `classify`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the photos are")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".csv, .jsonl or .parquet (default: FOLDER's name and .csv)",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with all photos and their answers"
    )
    parser.add_argument(
        "--url", help="the server that classifies (default: one that is started for this run)"
    )
    parser.add_argument(
        "--key", help=f"its API key; better in the variable {KEY}, which other users can't see"
    )
    parser.add_argument(
        "--regions",
        type=_regions,
        metavar="X,Y,SIDE;…",
        help="squares of each photo, in pixels (default: all of it)",
    )
    parser.add_argument(
        "--top-n", type=_count, default=1, metavar="N", help="answers a photo or region (default: 1)"
    )
    parser.add_argument(
        "--in-flight",
        type=_count,
        default=64,
        metavar="N",
        help="photos that are on their way at once (default: 64)",
    )
    parser.add_argument(
        "--patience", type=_count, default=300, metavar="SECONDS",
        help="how long to go on if the server is away or full (default: 300)",
    )  # fmt: skip
    parser.add_argument(
        "--restart", action="store_true", help="forget an unfinished run with the same output"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")


def run(options: argparse.Namespace) -> int:
    """Classify the folder; return the exit status.

    Raises:
        CommandError: an option is wrong, a package is missing, or the server can't be had.
    """
    try:
        import httpx  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        raise CommandError(f"{error}: {install_hint('people')}") from None
    if not options.folder.is_dir():
        raise CommandError(f"{options.folder} is not a folder")
    options.output = options.output or Path(f"{options.folder.resolve().name or 'photos'}.csv")
    answer_tables.check(options.output)
    if options.html and not options.html.parent.is_dir():
        raise CommandError(f"{options.html.parent} is not a folder, so {options.html} can't be written")
    from cli.classify.folder_run import FolderRun

    options.key = options.key or os.environ.get(KEY, "")
    with _server(options.url, options.quiet) as url:
        return FolderRun(options, url).run()


@contextlib.contextmanager
def _server(url: str | None, quiet: bool) -> Iterator[str]:
    """The server's address; one that is started here ends with the run."""
    if url:
        yield url
        return
    from cli.serve.serve_command import demo_model
    from cli.serve.temporary_server import temporary_server

    demo = demo_model(os.environ)
    if not quiet:
        echo("starting a server for this run (--url names one that runs)")
    with contextlib.ExitStack() as stack:
        try:
            ours, _ = stack.enter_context(temporary_server(demo))
        except RuntimeError as error:
            raise CommandError(str(error)) from None
        yield ours


def _regions(text: str) -> list[tuple[int, int, int]]:
    found = [re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", each) for each in text.split(";")]
    squares = [(int(each[1]), int(each[2]), int(each[3])) for each in found if each]
    if len(squares) != len(found):
        raise argparse.ArgumentTypeError(
            "it takes squares x,y,side separated by ; (in quotes, for the shell)"
        )
    return squares


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError("it takes a whole number from 1 to 100000")
    return int(text)
