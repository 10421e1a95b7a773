"""`classification-server calibrate FOLDER`: thresholds from labelled images, and how far to trust them."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cli import CommandError, echo, install_hint
from cli.model_options import add_model_options, environ
from cli.progress import progress
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cli.calibrate.calibration import Calibration, Method
    from cli.calibrate.labelled_images import Labelled

HELP = "choose thresholds by labelled images, and report how good the model is"
DESCRIPTION = """\
Runs the model over images whose class is known, exactly as the service would, and writes

  thresholds.csv    for INFERENCE_THRESHOLDS_FILE: of each class the lowest score from which on its
                    answers were right as often as --precision asks
  thresholds.html   a report in one file: accuracy, reliability, confusions, and of each class the
                    precision at its threshold, judged on images that had no part in choosing it

FOLDER has a folder of images for each class, named as in the classes file; or --labels names a CSV table
with the columns file and label. Classes with too few answers to trust get the threshold of all classes
together; the report says which. docs/calibrate.md tells how it is computed.

  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server calibrate images
  classification-server calibrate images --labels labels.csv --precision 0.99 --confidence 0.95
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the labelled images are")
    parser.add_argument("--labels", type=Path, metavar="FILE.csv", help="the labels, as a table")
    add_model_options(parser, "model", "classes")
    parser.add_argument(
        *("--output", "-o"),
        type=Path,
        default=Path("thresholds.csv"),
        metavar="FILE",
        help="the thresholds (default: thresholds.csv); the report stands beside them as .html",
    )
    parser.add_argument("--force", action="store_true", help="replace the outputs if they are there")
    parser.add_argument(
        "--precision", type=_share, default=0.95, metavar="P", help="what is asked for (default: 0.95)"
    )
    parser.add_argument(
        "--confidence",
        type=_share,
        metavar="C",
        help="ask it not of the precision that was seen, but of its lower bound with this confidence",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="choose nothing: write the plain statistics, as the original server's files have them",
    )
    parser.add_argument(
        "--holdout",
        type=_share,
        metavar="S",
        help="judge on this share of the images, and choose by the others (default: cross-validation)",
    )
    parser.add_argument("--folds", type=_folds, default=5, metavar="N", help="of the cross-validation (5)")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar and no summary")


def run(options: argparse.Namespace) -> int:
    """Calibrate and report; return the exit status.

    Raises:
        CommandError: labels, images, model or settings don't allow it, or a file is there already.
    """
    try:
        from cli.calibrate import calibration_report
        from cli.calibrate.calibration import calibrate, report_path
    except ImportError as error:
        raise CommandError(f"{error}: {install_hint('people,worker')}") from None
    from cli.calibrate.labelled_images import CalibrationError
    from worker.classes_file import read_classes
    from worker.model_allowlist import ModelError

    settings = _settings(options)
    page = report_path(options.output)
    _check_outputs(options, page)
    try:
        classes = read_classes(settings.classes_file)
        images = _images(options, classes)
        with progress("images", len(images), quiet=options.quiet) as step:
            found = calibrate(settings, classes, images, _method(options, settings), step)
    except (ModelError, CalibrationError) as error:
        raise CommandError(str(error)) from None
    _write_thresholds(options, found)  # first: should the report fail, the scores are not lost
    _write_report(options, page, calibration_report.page(found))
    _tell(options, found, page)
    return 0


def _settings(options: argparse.Namespace) -> Settings:
    try:
        return Settings.from_environ(environ(options))
    except SettingsError as error:
        raise CommandError(str(error)) from None


def _images(options: argparse.Namespace, classes: tuple[str, ...]) -> "list[Labelled]":
    from cli.calibrate.labelled_images import from_folders, from_table

    if options.labels:
        return from_table(options.labels, options.folder, classes)
    return from_folders(options.folder, classes)


def _method(options: argparse.Namespace, settings: Settings) -> "Method":
    from cli.calibrate.calibration import Method
    from cli.calibrate.choose_thresholds import Goal

    goal = Goal(options.precision, settings.minimum_threshold, options.confidence, options.plain)
    return Method(goal, options.folds, options.holdout)


def _check_outputs(options: argparse.Namespace, page: Path) -> None:
    """Before the model is run: afterwards it would be a pity."""
    if page == options.output:
        raise CommandError(f"--output {page} is what the report is called; name a .csv file")
    if not page.parent.is_dir():
        raise CommandError(f"there is no folder {page.parent} to write to")
    there = [str(path) for path in (options.output, page) if path.exists()]
    if there and not options.force:
        raise CommandError(f"{' and '.join(there)} would be replaced: name another --output, or add --force")


def _write_thresholds(options: argparse.Namespace, found: "Calibration") -> None:
    from cli.calibrate.choose_thresholds import write

    with _told_if_unwritable():
        write(found.rows, options.output, replace=options.force)


def _write_report(options: argparse.Namespace, page: Path, text: str) -> None:
    with _told_if_unwritable(), page.open("w" if options.force else "x", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def _told_if_unwritable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{error.filename} can't be written: {error.strerror}") from None


def _tell(options: argparse.Namespace, found: "Calibration", page: Path) -> None:
    if options.json:
        json.dump(found.facts, sys.stdout, indent=1, ensure_ascii=False)
        print()
    if options.quiet:
        return
    from cli.calibrate.report_notes import summary

    for file in found.facts["unreadable"][:10]:
        echo(f"not read: {file['file']}: {file['reason']}")
    for line in summary(found.facts):
        echo(line)
    echo(f"written: {options.output}, and the report, {page}")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("it takes a number between 0 and 1")
    return value


def _folds(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError("it takes a whole number from 2 to 100")
    return int(text)
