"""`classification-server classify`: classifies a folder of photos; writes a table and a contact sheet."""

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from cli import CommandError, echo, install_hint, whole_number
from cli.classify import answer_tables

HELP = "classify a folder of photos; write the answers as a table and a contact sheet"
DESCRIPTION = """\
Classifies all photos in FOLDER and its subfolders, on the server at --url. Without --url, the command starts
a server for this run, with INFERENCE_MODEL and the other settings (see `serve`).

Press Ctrl-C to stop; run the same command again to continue. For a damaged file or a file that is not a
photo, the output has the reason instead of an answer. Hidden files are skipped. Files with the extension of
another type (.json, .txt, .mp4) are left out. Files with an unknown extension (.md) are left out if they are
no images. The command prints the number of files that it leaves out.

  classification-server classify photos
  classification-server classify photos --output answers.parquet --html answers.html
  classification-server classify photos --url http://gpu-box:8001 --top-n 3

The output has a row for each prediction (.csv, .parquet), or a line for each photo (.jsonl).
Exit status: 0 if all photos have an answer; 1 if photos have no answer; 2 for an error that you can fix;
130 after Ctrl-C.
"""

KEY = "CLASSIFICATION_SERVER_KEY"

_NUMBER = whole_number(1, 100_000)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `classify`."""
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="the folder of the photos")
    output = "table of the answers: .csv, .jsonl or .parquet (default: FOLDER's name with .csv)"
    add("-o", "--output", type=Path, metavar="FILE", help=output)
    add("--html", type=Path, metavar="FILE", help="write a contact sheet: a page with all photos and answers")
    add("--url", help="the server's address (default: a server is started for this run)")
    add(
        "--key", help=f"the server's API key; set the variable {KEY} instead to hide the key from other users"
    )
    regions = "squares to classify in each photo: left, top and side in pixels (default: the whole photo)"
    add("--regions", type=_regions, metavar="X,Y,SIDE;…", help=regions)
    top_n = "number of predictions for each photo or region (default: 1)"
    add("--top-n", type=_NUMBER, default=1, metavar="N", help=top_n)
    in_flight = "maximum number of photos that wait for an answer at the same time (default: 64)"
    add("--in-flight", type=_NUMBER, default=64, metavar="N", help=in_flight)
    patience = "seconds for which a request is retried if the server is unreachable or busy (default: 300)"
    add("--patience", type=_NUMBER, default=300, metavar="SECONDS", help=patience)
    add("--restart", action="store_true", help="discard the unfinished run of the same output file")
    add("--quiet", action="store_true", help="print no progress and no summary")


def run(options: argparse.Namespace) -> int:
    """Classify the folder; return the exit status.

    Raises:
        CommandError: an option is wrong, a package is missing, or the server cannot be reached.
    """
    try:
        import httpx  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        raise CommandError(f"{error}. Install the package: {install_hint('people')}.") from None
    if not options.folder.is_dir():
        raise CommandError(f"FOLDER: {options.folder} is not a folder. Name the folder of the photos.")
    options.output = options.output or Path(f"{options.folder.resolve().name or 'photos'}.csv")
    answer_tables.check(options.output)
    if options.html and not options.html.parent.is_dir():
        raise CommandError(
            f"--html: {options.html.parent} is not a folder. Name a file in an existing folder."
        )
    from cli.classify.folder_run import FolderRun

    options.key = options.key or os.environ.get(KEY, "")
    with _server(options.url, options.quiet) as url:
        return FolderRun(options, url).run()


@contextlib.contextmanager
def _server(url: str | None, quiet: bool) -> Iterator[str]:
    """Yield the address of the server that classifies the photos.

    Without `url`, the function starts a server, and stops this server at the end of the run.
    """
    if url:
        yield url
        return
    from cli.serve.serve_command import demo_model
    from cli.serve.temporary_server import temporary_server

    environ = demo_model(os.environ)
    if not quiet:
        echo("starting a server for this run; set --url to use a running server instead")
    with temporary_server(environ) as (own_url, _):
        yield own_url


def _regions(text: str) -> list[tuple[int, int, int]]:
    found = [re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", each) for each in text.split(";")]
    squares = [(int(each[1]), int(each[2]), int(each[3])) for each in found if each]
    if len(squares) != len(found):
        raise argparse.ArgumentTypeError(
            f"expected squares x,y,side separated by semicolons, got {text!r}. Put the squares in quotes."
        )
    return squares
