"""Writes the summary of a calibration, and notes on the limits of the results."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from cli.calibrate.choose_thresholds import MAX_INTERVAL

MAX_NAMES = 12
"""Maximum number of class names in one note."""

SEEN_IN_TRAINING = (
    "All results of this calibration are too optimistic if the model was trained on these images, or if"
    " these images contain copies or series of the same scene."
)


def summary(facts: dict[str, Any]) -> list[str]:
    """Return the summary: two sentences with the results, then the notes."""
    return [
        f"{facts['images']} images: the best answer is correct for {percent(facts['top1'])}; one of the best"
        f" five answers is correct for {percent(facts['top5'])}",
        f"the thresholds accept {percent(facts['accepted'])} of the best answers; correct among the accepted"
        f" answers: {percent(facts['precision'])}, evaluated {evaluated_by(facts)}",
        *facts["notes"],
    ]


def evaluated_by(facts: dict[str, Any]) -> str:
    """Describe how the thresholds were evaluated: by cross-validation, or on hold-out images."""
    method = facts["method"]
    if method["folds"]:
        return f"by {method['folds']}-fold cross-validation"
    return f"on the {facts['judged']} hold-out images"


def percent(share: dict[str, Any]) -> str:
    """Format a share and its 95 % confidence interval, for example "97.5 % (94.1 to 99.0)"."""
    if share["value"] is None:
        return "none"
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def notes(facts: dict[str, Any]) -> list[str]:
    """Return notes that explain to users how far the thresholds can be trusted."""
    parts = (_unreadable, _missing_images, _few_answers, _unreachable, _missed_precision)
    return [*chain.from_iterable(part(facts) for part in parts), SEEN_IN_TRAINING]


def _unreadable(facts: dict[str, Any]) -> Iterator[str]:
    if count := len(facts["unreadable"]):
        yield f"{_count(count, 'file')} could not be read; the calibration does not include these files."


def _missing_images(facts: dict[str, Any]) -> Iterator[str]:
    if missing := [each["class"] for each in facts["classes"] if not each["images"]]:
        yield f"{_count(len(missing), 'class')} without images: {_listed(missing)}."


def _few_answers(facts: dict[str, Any]) -> Iterator[str]:
    common = [each for each in facts["classes"] if each["basis"] == "common"]
    if few := [each["class"] for each in common if each["images"]]:
        yield (
            f"{_count(len(few), 'class')} with too few answers: {_listed(few)}. The 95 % interval of such a"
            f" class's precision is wider than {MAX_INTERVAL:g}; 16 correct answers make the interval"
            " narrow enough."
        )
    if common:
        yield (
            "Classes with too few answers get the common threshold of all classes. If wrong"
            " answers name such a class, its threshold can be above the common threshold."
        )


def _unreachable(facts: dict[str, Any]) -> Iterator[str]:
    if names := [each["class"] for each in facts["classes"] if each["basis"] == "shut"]:
        yield (
            f"No threshold reaches the precision for {_listed(names)}. The threshold of these classes is 1,"
            " so their answers are never accepted."
        )


def _missed_precision(facts: dict[str, Any]) -> Iterator[str]:
    goal, found = facts["method"]["precision"], facts["precision"]
    if facts["method"]["rule"] == "precision" and found["of"] and found["high"] < goal:
        yield (
            f"On images that were not used to choose the thresholds, {100 * found['value']:.1f} % of the"
            f" accepted answers are correct, less than the requested {100 * goal:g} %. If there are few"
            " images per class, add --confidence or raise --precision."
        )


def _count(number: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{number} {noun if number == 1 else plural}"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
