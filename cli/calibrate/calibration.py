"""The calibration: labelled images in; thresholds, and figures that say how far to trust them, out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.calibrate import evaluation
from cli.calibrate.choose_thresholds import Goal, Row
from cli.calibrate.labelled_images import CalibrationError, Labelled
from cli.calibrate.report_notes import notes
from cli.calibrate.scoring import Scored, score
from shared.settings import Settings
from worker.classes_file import check_class_count
from worker.decode import PixelSpec
from worker.engine import Engine


@dataclass(frozen=True)
class Method:
    """What thresholds are chosen for, and which images judge them: a share held out, or each fold in turn."""

    goal: Goal
    folds: int = 5
    hold_out: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Everything that the report tells; `facts` is what JSON gets of it."""

    classes: Sequence[str]
    scored: Scored
    judged: evaluation.Judged
    rows: list[Row]
    facts: dict[str, Any]


def calibrate(
    settings: Settings,
    classes: Sequence[str],
    images: Sequence[Labelled],
    method: Method,
    step: Callable[[int], None],
) -> Calibration:
    """Score the images with the settings' model, choose thresholds, and judge both.

    Raises:
        ModelError: the model can't be served.
        CalibrationError: no image can be read, or the scores are no probabilities.
    """
    engine = Engine.build(settings)
    check_class_count(engine.outputs, tuple(classes), settings.classes_file)
    spec = PixelSpec.of((engine.height, engine.width, engine.channels), settings)
    scored = score(images, engine, spec, settings.max_upload_bytes, step)
    _check(scored, settings)
    if method.hold_out is None:
        rows, judged = evaluation.cross_validate(scored.answers, classes, method.goal, method.folds)
    else:
        rows, judged = evaluation.hold_out(scored.answers, classes, method.goal, method.hold_out)
    figures = evaluation.metrics(scored.answers, judged, rows, method.goal)
    facts = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {"file": str(settings.model), "fingerprint": engine.fingerprint},
        "settings": _shaping(settings, engine),
        "method": _in_facts(method),
        **figures,
        "unreadable": [{"file": str(path), "reason": reason} for path, reason in scored.unreadable],
    }
    return Calibration(classes, scored, judged, rows, facts | {"notes": notes(facts)})


def _check(scored: Scored, settings: Settings) -> None:
    if not scored.images:
        path, reason = scored.unreadable[0]
        raise CalibrationError(
            f"none of the {len(scored.unreadable)} files can be read; the first, {path}: {reason}"
        )
    low, high = scored.answers.scores.min(), scored.answers.scores.max()
    if low < -1e-3 or high > 1 + 1e-3:
        advice = ": set INFERENCE_ACTIVATION=softmax" if settings.activation == "none" else ""
        raise CalibrationError(
            f"the scores are no probabilities, they reach from {low:.3g} to {high:.3g}{advice}"
        )


def _shaping(settings: Settings, engine: Engine) -> dict[str, Any]:
    """The settings that shape scores, as they turned out: thresholds hold for these alone."""
    return {
        "INPUT_HEIGHT": engine.height,
        "INPUT_WIDTH": engine.width,
        "INPUT_CHANNELS": engine.channels,
        "INFERENCE_PREPROCESS": settings.preprocess,
        "INFERENCE_ACTIVATION": settings.activation,
        "INFERENCE_PRECISION": settings.precision,
        "INPUT_COLOR": settings.input_color,
        "INPUT_RESIZE": settings.input_resize,
        "INFERENCE_MINIMUM_THRESHOLD": settings.minimum_threshold,
    }


def _in_facts(method: Method) -> dict[str, Any]:
    return {
        "rule": "plain" if method.goal.plain else "precision",
        "precision": method.goal.precision,
        "confidence": method.goal.confidence,
        "folds": None if method.hold_out else method.folds,
        "holdout": method.hold_out,
    }


def report_path(thresholds: Path) -> Path:
    """Where the report of a thresholds file stands: beside it."""
    return thresholds.with_suffix(".html")
