"""What the figures of a calibration say, in plain words."""

from collections.abc import Sequence
from typing import Any

from cli.calibrate.choose_thresholds import WIDEST


def summary(facts: dict[str, Any]) -> list[str]:
    """The figures in a few sentences, then the notes."""
    return [
        f"{facts['images']} images: the best answer is right for {percent(facts['top1'])}, one of the best"
        f" five for {percent(facts['top5'])}",
        f"with the thresholds, {percent(facts['accepted'])} get an answer that counts, and of these answers"
        f" {percent(facts['precision'])} are right (judged {judged_by(facts)})",
        *facts["notes"],
    ]


def judged_by(facts: dict[str, Any]) -> str:
    """How the images that judge the thresholds were kept apart from those that chose them."""
    method = facts["method"]
    if method["folds"]:
        return f"by {method['folds']}-fold cross-validation"
    return f"on the {facts['judged']} images that were held out"


def percent(share: dict[str, Any]) -> str:
    """A share and its 95 % interval: 97.5 % (94.1 to 99.0)."""
    if share["value"] is None:
        return "none"
    return f"{100 * share['value']:.1f} % ({100 * share['low']:.1f} to {100 * share['high']:.1f})"


def notes(facts: dict[str, Any]) -> list[str]:
    """What whoever uses the thresholds should know, in plain words."""
    classes = facts["classes"]
    told = []
    if facts["unreadable"]:
        told.append(f"{_count(len(facts['unreadable']), 'file')} could not be read and took no part.")
    if without := [each["class"] for each in classes if not each["images"]]:
        told.append(f"{_count(len(without), 'class')} without images: {_listed(without)}.")
    if few := [each["class"] for each in classes if each["basis"] == "common" and each["images"]]:
        told.append(
            f"{_count(len(few), 'class')} with too few answers to trust: {_listed(few)}. The 95 % interval of"
            f" the precision is wider than {WIDEST:g}; 16 right answers make it narrow enough."
        )
    if without or few:
        told.append(
            "Classes with too few answers have the threshold that all classes' answers together give, or a"
            " higher one where their own few answers ask for it."
        )
    if shut := [each["class"] for each in classes if each["basis"] == "shut"]:
        told.append(
            f"No score reaches the precision for {_listed(shut)}: the threshold is 1, which no score exceeds."
        )
    asked, judged = facts["method"]["precision"], facts["precision"]
    if facts["method"]["rule"] == "precision" and judged["of"] and judged["high"] < asked:
        told.append(
            f"On images that had no part in choosing, {100 * judged['value']:.1f} % of the answers that count"
            f" are right, less than the {100 * asked:g} % asked for: with few images a class, add"
            " --confidence, or ask for a higher --precision."
        )
    told.append(
        "Images that the model has learned from flatter every figure here; so do copies and series of one"
        " scene, which stand on both sides of the judging."
    )
    return told


def _count(number: int, what: str) -> str:
    plural = what + ("es" if what.endswith("s") else "s")
    return f"{number} {what if number == 1 else plural}"


def _listed(names: Sequence[str], most: int = 12) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
