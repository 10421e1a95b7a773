"""Computes thresholds from labelled images; measures the accuracy of the model and of the thresholds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cli.calibrate import evaluation
from cli.calibrate.choose_thresholds import Goal, Row
from cli.calibrate.labelled_images import CalibrationError, LabelledImage
from cli.calibrate.report_notes import notes
from cli.calibrate.scoring import ScoredImages, score
from cli.calibrate.settings_trial import Trial
from shared.settings import Settings
from worker.classes_file import check_class_count
from worker.decode import PixelSpec
from worker.engine import Engine
from worker.output_kind import ActivationAdvice
from worker.preprocessing import normalization
from worker.thresholds_file import provenance


@dataclass(frozen=True)
class Method:
    """The goal that the thresholds must reach, and the method by which the thresholds are evaluated.

    The method is cross-validation or an evaluation on hold-out images.
    """

    goal: Goal
    folds: int = 5
    hold_out: float | None = None


@dataclass(frozen=True)
class Calibration:
    """The results of a calibration. The report shows these results.

    The option `--json` prints only `facts`. `provenance` is for the header of the thresholds file.
    """

    classes: Sequence[str]
    scored: ScoredImages
    evaluation: evaluation.Evaluation
    rows: list[Row]
    provenance: dict[str, str]
    facts: dict[str, Any]

    def with_trial(self, trial: Trial) -> "Calibration":
        """Return the calibration with the results of a trial of other settings."""
        advice = trial.advice()
        again = [f"{advice[:-1]}, and calibrate again."] if advice else []
        found = {"trial": trial.facts(), "notes": [*trial.lines(), *again, *self.facts["notes"]]}
        return replace(self, facts=self.facts | found)


def calibrate(
    settings: Settings,
    classes: Sequence[str],
    images: Sequence[LabelledImage],
    method: Method,
    step: Callable[[int], None],
) -> Calibration:
    """Run the model on the images, choose thresholds, and evaluate the model and the thresholds.

    Raises:
        ModelError: the model is not supported.
        CalibrationError: no image is readable, or a score is not between 0 and 1.
    """
    engine = Engine.build(settings)
    check_class_count(engine.graph.outputs, tuple(classes), settings.classes_file)
    spec = PixelSpec.of(engine.graph.shape, settings)
    scored = score(images, engine, spec, settings.max_upload_bytes, step)
    _check_scores(scored, engine.graph.activation_advice)
    if method.hold_out is None:
        rows, found = evaluation.cross_validate(scored.answers, classes, method.goal, method.folds)
    else:
        rows, found = evaluation.hold_out(scored.answers, classes, method.goal, method.hold_out)
    facts = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": _model_facts(settings, engine),
        "settings": _settings_facts(settings, engine),
        "method": _method_facts(method),
        **evaluation.metrics(scored.answers, found, rows, method.goal),
        "unreadable": [{"file": str(path), "reason": reason} for path, reason in scored.unreadable],
    }
    origin = provenance(settings, engine.fingerprint, engine.graph.shape)
    return Calibration(classes, scored, found, rows, origin, facts | {"notes": notes(facts)})


def _check_scores(scored: ScoredImages, advised: ActivationAdvice | None) -> None:
    if not scored.images:
        path, reason = scored.unreadable[0]
        raise CalibrationError(
            f"images: expected readable files, got {len(scored.unreadable)} unreadable files. The first"
            f" unreadable file is {path}: {reason}"
        )
    low, high = scored.answers.scores.min(), scored.answers.scores.max()
    if low < -1e-3 or high > 1 + 1e-3:
        advice = f" Set INFERENCE_ACTIVATION={advised.name}." if advised else ""
        raise CalibrationError(f"scores: expected values from 0 to 1, got {low:.3g} to {high:.3g}.{advice}")


def _model_facts(settings: Settings, engine: Engine) -> dict[str, str]:
    return {
        "file": str(settings.model),
        "fingerprint": engine.fingerprint,
        "precision": settings.precision,
        "device": engine.device.name,
    }


def _settings_facts(settings: Settings, engine: Engine) -> dict[str, Any]:
    """Return the settings on which the thresholds depend.

    If one of these settings changes, the thresholds are no longer valid.
    """
    return {
        "INPUT_HEIGHT": engine.graph.shape[0],
        "INPUT_WIDTH": engine.graph.shape[1],
        "INPUT_CHANNELS": engine.graph.shape[2],
        "INFERENCE_PREPROCESS": settings.preprocess,
        **{f"INFERENCE_{name.upper()}": each for name, each in normalization(settings).items()},
        "INFERENCE_ACTIVATION": settings.activation,
        **({"INFERENCE_OUTPUT": settings.output} if settings.output else {}),
        "INFERENCE_PRECISION": settings.precision,
        "INPUT_COLOR": settings.input_color,
        "INPUT_RESIZE": settings.input_resize,
        "INFERENCE_MINIMUM_THRESHOLD": settings.minimum_threshold,
    }


def _method_facts(method: Method) -> dict[str, Any]:
    return {
        "rule": "plain" if method.goal.plain else "precision",
        "precision": method.goal.precision,
        "confidence": method.goal.confidence,
        "folds": None if method.hold_out else method.folds,
        "holdout": method.hold_out,
    }
