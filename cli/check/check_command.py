"""`classification-server check`: checks whether a worker would start with a model and its files."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli import CommandError, install_hint
from cli.model_options import add_model_options, environ

if TYPE_CHECKING:
    from cli.check.findings import Finding, Report

HELP = "check whether a worker would start with your model, classes, thresholds and settings"
DESCRIPTION = """\
Reads the files that the settings (INFERENCE_MODEL …) or the options name, as a worker does at its start.
Reports the model's origin, layers, input, outputs and probable preprocessing. Checks whether the files of the
classes and the thresholds match the model. Classifies one image, and prints the command that serves the
model. The exit status is 1 if a worker would not start.

With a folder of labelled images, the command tries every preprocessing, colour order and resize filter on up
to 200 of the images, and reports which settings give the best answers. With --against, the command compares
the scores with those that the trainer computed. The exit status is 1 if the scores differ.

  classification-server check --model model.h5 --classes classes.txt --thresholds thresholds.csv
  classification-server check --image photo.jpg --json
  classification-server check images --labels labels.csv
  classification-server check --against scores.csv
"""

PARTS = {
    "settings": "Settings",
    "device": "Device",
    "model": "Model",
    "classes": "Classes",
    "thresholds": "Thresholds",
    "sample": "One image",
    "labelled": "Labelled images",
    "against": "The trainer's scores",
}
MARKS = {"ok": ("✓", "green"), "note": ("·", ""), "warning": ("!", "yellow"), "fault": ("✗", "bold red")}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    help = "folder of labelled images, with a folder for each class, or with the table --labels"
    parser.add_argument("images", type=Path, nargs="?", metavar="IMAGES", help=help)
    parser.add_argument(
        "--labels", type=Path, metavar="FILE.csv", help="CSV table of images, with the columns file and label"
    )
    help = "CSV table of scores from the training, with the column file and a column for each class"
    parser.add_argument("--against", type=Path, metavar="FILE.csv", help=help)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="D",
        help="maximum difference from the scores of --against (default: 0.01)",
    )
    add_model_options(parser, "model", "classes", "thresholds")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="image to classify (default: a sample image)"
    )
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    parser.add_argument("--quiet", action="store_true", help="print errors and warnings only")


def run(options: argparse.Namespace) -> int:
    """Check the model with its files, print a report, and return the exit status.

    The exit status is 1 if a worker would not start, or if a comparison with the user's own images failed.

    Raises:
        CommandError: the packages that load models are not installed.
    """
    try:
        from cli.check.photos_check import Photos
        from cli.check.serving_check import check
    except ImportError as error:
        raise CommandError(f"{error}. Install the package: {install_hint('worker')}.") from None
    import demo

    quiet = options.quiet or options.json
    photos = Photos(options.images, options.labels, options.against, options.tolerance, quiet)
    with _status(quiet or photos.exist):
        report = check(environ(options), options.image or demo.SAMPLES / "siete.jpg", photos)
    if options.json:
        _print_json(report)
    else:
        _print_text(report, options.quiet)
    return report.exit_status


def _print_json(report: "Report") -> None:
    found = {"serves": report.serves, "findings": [vars(each) for each in report.findings], **report.facts}
    found |= {"advised": report.advised, "command": report.command}
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    print()


def _print_text(report: "Report", quiet: bool) -> None:
    for part, title in PARTS.items():
        _print_part(title, [each for each in report.findings if each.part == part], quiet)
    if not quiet:
        _print_conclusion(report)


def _print_part(title: str, findings: "list[Finding]", quiet: bool) -> None:
    if findings and not quiet:
        _print(title, "bold")
    for each in findings:
        if not quiet or each.kind in ("warning", "fault"):
            mark, style = MARKS[each.kind]
            _print(f"  {mark} {each.text}", style)


def _print_conclusion(report: "Report") -> None:
    if not report.serves:
        _print("\nA worker would not start because of the faults marked ✗ above.", "bold red")
        return
    advice = " with the advised settings" if report.advised else ""
    _print(f"\nThis command serves the model{advice}:", "bold")
    _print(f"  {report.command}", "")


def _print(text: str, style: str) -> None:
    """Print a line; if stdout is a terminal and rich is installed, print the line in colour."""
    if style and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.text import Text

            Console(highlight=False).print(Text(text, style), soft_wrap=True)
            return
    print(text)


@contextlib.contextmanager
def _status(quiet: bool) -> Iterator[None]:
    """Show on a terminal that the model is loading."""
    with contextlib.ExitStack() as stack:
        if not quiet and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from rich.console import Console

                stack.enter_context(Console(stderr=True).status("loading the model …"))
        yield
