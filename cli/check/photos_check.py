"""Checks the settings on a user's own images: on labelled images, and against the scores of the trainer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cli.calibrate.labelled_images import CalibrationError, LabelledImage, from_folders, from_table
from cli.calibrate.scoring import read_image
from cli.calibrate.settings_trial import Choice, sample, try_choices, try_settings
from cli.check.findings import Report
from cli.check.trainer_scores import TrainerScores, read_trainer_scores
from cli.progress import progress
from shared.settings import Settings
from worker.decode import PixelSpec
from worker.engine import Engine
from worker.model_allowlist import ModelError

LABELLED, AGAINST = "labelled", "against"


@dataclass(frozen=True)
class Photos:
    """The user's own images: a folder, its labels, and a table of the trainer's scores with a tolerance."""

    folder: Path | None = None
    labels: Path | None = None
    against: Path | None = None
    tolerance: float = 0.01
    quiet: bool = False

    @property
    def exist(self) -> bool:
        """Whether there is anything to check."""
        return bool(self.folder or self.labels or self.against)


def check_photos(
    report: Report, settings: Settings, engine: Engine, classes: Sequence[str], photos: Photos
) -> None:
    """Run the model on the images, and add what the images show about the settings."""
    if photos.labels or (photos.folder and not photos.against):
        with _faults_in(report, LABELLED):
            _check_labelled(report, settings, classes, photos)
    if photos.against:
        with _faults_in(report, AGAINST):
            _check_against(report, settings, engine, classes, photos)


@contextmanager
def _faults_in(report: Report, part: str) -> Iterator[None]:
    """Turn an error in the images or their tables into a fault; such a fault does not stop a worker."""
    try:
        yield
    except (CalibrationError, ModelError) as error:
        report.differs = True
        for line in str(error).splitlines():
            report.add(part, "warning", line)


def _check_labelled(report: Report, settings: Settings, classes: Sequence[str], photos: Photos) -> None:
    if photos.folder is None:
        raise CalibrationError("--labels: expected the folder of the images too. Name the folder as IMAGES.")
    folder = photos.folder
    images = from_table(photos.labels, folder, classes) if photos.labels else from_folders(folder, classes)
    tried = sample(images)
    with progress("images", len(tried), quiet=photos.quiet) as step:
        trial = try_settings(settings, tried, step)
    report.facts["trial"] = trial.facts()
    advice, (first, *lines) = trial.advice(), trial.lines()
    report.add(LABELLED, "ok", first)
    for line in lines:
        report.add(LABELLED, "note", line)
    if advice:
        report.add(LABELLED, "warning", f"other settings give better answers. {advice}")
    report.advised |= trial.advised()


def _check_against(
    report: Report, settings: Settings, engine: Engine, classes: Sequence[str], photos: Photos
) -> None:
    table = photos.against or Path()
    wanted = read_trainer_scores(table, photos.folder or table.parent, classes)
    scores = engine.run(_pixels(table, wanted.files, settings, engine))
    differences = np.abs(scores[:, wanted.columns] - wanted.scores)
    row, column = np.unravel_index(differences.argmax(), differences.shape)
    largest, name = float(differences[row, column]), classes[wanted.columns[column]]
    agrees = largest <= photos.tolerance
    report.facts["against"] = {
        **{"images": len(wanted.files), "max_difference": largest, "within_tolerance": agrees},
        **{"image": str(wanted.files[row]), "class": name, "tolerance": photos.tolerance},
    }
    here, there = float(scores[row, wanted.columns[column]]), float(wanted.scores[row, column])
    verdict = "within" if agrees else "more than"
    text = (
        f"{len(wanted.files)} images: the scores differ from {table} by at most {largest:.6f}, {verdict} the"
        f" tolerance of {photos.tolerance:g}. The largest difference is in {wanted.files[row].name}, class"
        f" {name}: {here:.6f} here, {there:.6f} in the table"
    )
    report.add(AGAINST, "ok" if agrees else "warning", text)
    if not agrees:
        report.differs = True
        _advise_closest(report, settings, wanted, photos)


def _pixels(table: Path, files: Sequence[Path], settings: Settings, engine: Engine) -> NDArray[np.uint8]:
    spec = PixelSpec.of(engine.graph.shape, settings)
    found = []
    for path in files:
        pixels = read_image(path, spec, settings.max_upload_bytes)
        if isinstance(pixels, str):
            raise CalibrationError(f"{table}: {path} can't be read: {pixels}. Correct the table.")
        found.append(pixels)
    return np.concatenate(found)


def _advise_closest(report: Report, settings: Settings, wanted: TrainerScores, photos: Photos) -> None:
    """Find the settings whose scores are closest to the trainer's scores."""
    images = [LabelledImage(path, 0) for path in wanted.files]
    with progress("images", len(images), quiet=photos.quiet) as step:
        _, tried = try_choices(settings, images, step)
    largest = {
        choice: float(np.abs(scores[:, wanted.columns] - wanted.scores).max())
        for choice, scores in tried.items()
    }
    closest = min(largest, key=lambda choice: largest[choice])
    text = f"closest: {closest}, whose scores differ by at most {largest[closest]:.6f}"
    report.facts["against"] |= {"closest": closest.variables(), "closest_difference": largest[closest]}
    if largest[closest] > photos.tolerance:
        report.add(AGAINST, "note", f"{text}. The training used other preprocessing, or another model")
        return
    report.add(AGAINST, "warning", f"{text}. Set these values.")
    present = Choice.of(settings).variables()
    report.advised |= {name: each for name, each in closest.variables().items() if each != present[name]}
