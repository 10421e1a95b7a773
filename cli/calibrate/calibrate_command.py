"""`classification-server calibrate FOLDER`: computes thresholds and a report from labelled images."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import CommandError, echo, install_hint
from cli.model_options import add_model_options, environ
from cli.progress import progress
from shared.settings import Settings, SettingsError

if TYPE_CHECKING:
    from cli.calibrate.calibration import Method
    from cli.calibrate.labelled_images import LabelledImage
    from cli.calibrate.settings_trial import Trial
    from worker.classes_file import ClassesFile

HELP = "choose thresholds from labelled images, and report the model's accuracy"
DESCRIPTION = """\
Runs the model on images whose class is known, exactly as the service does, and writes two files:

  thresholds.csv    the file for INFERENCE_THRESHOLDS_FILE. Each class gets the lowest threshold at
                    which the share of correct answers among its accepted answers reaches --precision
  thresholds.html   a report in one file: accuracy, reliability, confusion, and each class's precision at
                    its threshold. The precision is evaluated on images that were not used to
                    choose the threshold

FOLDER contains a folder of images for each class. The folder's name is the class's name in the classes file.
Alternatively, --labels names a CSV table with the columns file and label. A class with too few answers gets
the common threshold of all classes; the report lists these classes. docs/calibrate.md explains the
computation. The command also tries other preprocessing, colour orders and resize filters on up to 200 of the
images, and reports whether they give better answers.

  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server calibrate images
  classification-server calibrate images --labels labels.csv --precision 0.99 --confidence 0.95
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `calibrate`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the labelled images")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE.csv", help="CSV table of images, with the columns file and label"
    )
    add_model_options(parser, "model", "classes")
    parser.add_argument(
        *("--output", "-o"),
        type=Path,
        default=Path("thresholds.csv"),
        metavar="FILE",
        help="thresholds file (default: thresholds.csv); the report has this name with the extension .html",
    )
    parser.add_argument("--force", action="store_true", help="replace existing output files")
    _add_method_options(parser)
    parser.add_argument("--json", action="store_true", help="print all metrics as JSON")
    parser.add_argument("--quiet", action="store_true", help="print no progress and no summary")


def _add_method_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        type=_share,
        default=0.95,
        metavar="P",
        help="share of a class's accepted answers that must be correct (default: 0.95)",
    )
    parser.add_argument(
        "--confidence",
        type=_share,
        metavar="C",
        help="confidence level at which the lower bound of the precision must reach --precision",
    )
    parser.add_argument(
        "--plain", action="store_true", help="choose no thresholds; write the statistics of all answers"
    )
    parser.add_argument(
        "--holdout",
        type=_share,
        metavar="S",
        help="evaluate the thresholds on this share of the images (default: cross-validation)",
    )
    parser.add_argument(
        "--folds", type=_folds, default=5, metavar="N", help="number of cross-validation folds (default: 5)"
    )


def run(options: argparse.Namespace) -> int:
    """Choose thresholds, write the thresholds and the report, and return the exit status.

    Raises:
        CommandError: labels, images, model or settings are not usable, or an output file exists.
    """
    try:
        from cli.calibrate import calibration_report
        from cli.calibrate.calibration import calibrate
        from cli.calibrate.choose_thresholds import write
    except ImportError as error:
        raise CommandError(f"{error}. Install the package: {install_hint('people,worker')}.") from None
    from cli.calibrate.labelled_images import CalibrationError
    from worker.classes_file import read_classes_file
    from worker.model_allowlist import ModelError

    settings = _settings(options)
    page = options.output.with_suffix(".html")
    _check_outputs(options, page)
    try:
        classes = _classes(read_classes_file(settings.classes_file), options.quiet)
        images = _images(options, classes)
        with progress("images", len(images), quiet=options.quiet) as step:
            found = calibrate(settings, classes, images, _method(options, settings), step)
        found = found.with_trial(_trial(settings, images, options.quiet))
    except (ModelError, CalibrationError) as error:
        raise CommandError(str(error)) from None
    # The thresholds are written before the report, so that they are kept if the report fails.
    with _command_errors():
        write(found.rows, options.output, replace=options.force, provenance=found.provenance)
    report = calibration_report.page(found)
    with _command_errors(), page.open("w" if options.force else "x", encoding="utf-8") as file:
        file.write(report)
    _print_results(options, found.facts, page)
    return 0


def _classes(file: "ClassesFile", quiet: bool) -> tuple[str, ...]:
    for remark in file.remarks:
        if not quiet or remark.kind == "warning":
            echo(f"{remark.kind}: {remark.text}")
    return file.names


def _trial(settings: Settings, images: "list[LabelledImage]", quiet: bool) -> "Trial":
    from cli.calibrate.settings_trial import sample, try_settings

    tried = sample(images)
    with progress("images with other settings", len(tried), quiet=quiet) as step:
        return try_settings(settings, tried, step)


def _settings(options: argparse.Namespace) -> Settings:
    try:
        return Settings.from_environ(environ(options))
    except SettingsError as error:
        raise CommandError(str(error)) from None


def _images(options: argparse.Namespace, classes: tuple[str, ...]) -> "list[LabelledImage]":
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
    """Check the output files before the model runs, because the run may take hours."""
    if page == options.output:
        raise CommandError(
            f"--output: expected a .csv file, got {page}, where the report is written. Name a .csv file."
        )
    if not page.parent.is_dir():
        raise CommandError(
            f"--output: there is no folder {page.parent}. Create the folder, or name another file."
        )
    existing = [str(path) for path in (options.output, page) if path.exists()]
    if existing and not options.force:
        raise CommandError(
            f"--output: expected new files, got existing {' and '.join(existing)}. Name another --output,"
            " or add --force."
        )


@contextlib.contextmanager
def _command_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{error.filename}: cannot write the file: {error.strerror}.") from None


def _print_results(options: argparse.Namespace, facts: dict[str, Any], page: Path) -> None:
    if options.json:
        json.dump(facts, sys.stdout, indent=1, ensure_ascii=False)
        print()
    if options.quiet:
        return
    from cli.calibrate.report_notes import summary

    for file in facts["unreadable"][:10]:
        echo(f"image not read: {file['file']}: {file['reason']}")
    for line in summary(facts):
        echo(line)
    echo(f"written: thresholds {options.output}, report {page}")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return value


def _folds(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"expected a whole number from 2 to 100, got {text!r}")
    return int(text)
