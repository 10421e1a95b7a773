"""`classification-server check`: whether a model and what belongs to it can be served, in plain words."""

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
    from cli.check.findings import Report

HELP = "look at model, classes, thresholds and settings, and say what does not fit together"
DESCRIPTION = """\
Reads what the settings name (INFERENCE_MODEL …, or the options), as a worker does at its start, and tells
what it finds: who saved the model, its layers, input and outputs, which preprocessing it was likely trained
with and why, and whether classes and thresholds fit. Classifies one image, and prints the command that
serves it all. The exit status is 1 if it would not be served.

  classification-server check --model model.h5 --classes classes.txt --thresholds thresholds.csv
  classification-server check --image photo.jpg --json
"""

PARTS = {
    "settings": "Settings",
    "model": "Model",
    "classes": "Classes",
    "thresholds": "Thresholds",
    "sample": "One image",
}
MARKS = {"ok": ("✓", "green"), "note": ("·", ""), "warning": ("!", "yellow"), "fault": ("✗", "bold red")}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    add_model_options(parser, "model", "classes", "thresholds")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="the image to classify (default: a sample)"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--quiet", action="store_true", help="print faults and warnings only")


def run(options: argparse.Namespace) -> int:
    """Check and report; return the exit status, 1 if it would not be served.

    Raises:
        CommandError: what loads models is not installed.
    """
    try:
        from cli.check.serving_check import check
    except ImportError as error:
        raise CommandError(f"{error}: {install_hint('worker')}") from None
    import demo

    with _status(options.quiet):
        report = check(environ(options), options.image or demo.SAMPLES / "siete.jpg")
    if options.json:
        _print_json(report)
    else:
        _print_text(report, options.quiet)
    return 0 if report.serves else 1


def _print_json(report: "Report") -> None:
    found = {
        "serves": report.serves,
        "findings": [vars(each) for each in report.findings],
        **report.facts,
        "advised": report.advised,
        "command": report.command,
    }
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    print()


def _print_text(report: "Report", quiet: bool) -> None:
    for part, title in PARTS.items():
        findings = [
            each
            for each in report.findings
            if each.part == part and (not quiet or each.kind in ("warning", "fault"))
        ]
        if findings and not quiet:
            _print(title, "bold")
        for each in findings:
            mark, style = MARKS[each.kind]
            _print(f"  {mark} {each.text}", style)
    if quiet:
        return
    if report.serves:
        what = "With the advice above, this serves it:" if report.advised else "This serves it:"
        _print(f"\n{what}", "bold")
        _print(f"  {report.command}", "")
    else:
        _print("\nIt would not be served: see ✗ above.", "bold red")


def _print(text: str, style: str) -> None:
    """A line, in colour on a terminal; rich is not needed for it."""
    if style and sys.stdout.isatty():
        with contextlib.suppress(ImportError):
            from rich.console import Console
            from rich.text import Text

            Console(highlight=False).print(Text(text, style), soft_wrap=True)
            return
    print(text)


@contextlib.contextmanager
def _status(quiet: bool) -> Iterator[None]:
    """A sign of life on a terminal while the model is loaded."""
    with contextlib.ExitStack() as stack:
        if not quiet and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from rich.console import Console

                stack.enter_context(Console(stderr=True).status("loading the model …"))
        yield
