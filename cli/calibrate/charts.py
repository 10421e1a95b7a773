"""Draws the report's charts as SVG data URLs.

The HTML page contains these charts, so the page loads no other file.
"""

import io
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cli.calibrate.evaluation import Evaluation, precision_by_coverage
from cli.calibrate.scoring import Answers

BLUE, ORANGE, GREY = "#1667c1", "#c8520c", "#8a94a3"
MAX_CLASSES = 40
"""Maximum number of classes in the confusion matrix.

If there are more classes, the matrix shows those with the most errors.
"""

POINTS: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 5, "capsize": 2, "linewidth": 1.2}
CHOSEN: dict[str, Any] = {"color": BLUE, "markersize": 8, "clip_on": False, "label": "the chosen thresholds"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333b47",
    "xtick.color": "#333b47",
    "ytick.color": "#333b47",
    "svg.hashsalt": "calibration",  # With a fixed salt, equal results give identical files.
}


def reliability(bins: Sequence[dict[str, Any]]) -> str:
    """Draw a reliability diagram.

    The diagram shows the share of correct answers and the number of images for each range of scores.
    """
    with _figure(4.4, 4.2) as (figure, data_url):
        upper, lower = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        upper.plot((0, 1), (0, 1), color=GREY, linewidth=1, linestyle="--", label="perfect calibration")
        keys = ("score", "value", "low", "high")
        x, y, low, high = np.array([[each[key] for key in keys] for each in bins if each["of"]]).T
        spread = np.maximum([y - low, high - y], 0)
        upper.errorbar(x, y, yerr=spread, label="measured, with 95 % interval", **POINTS)
        upper.set(ylabel="share of correct answers", xlim=(0, 1.02), ylim=(0, 1.02))
        figure.legend(frameon=False, loc="outside upper left", ncols=2)
        starts, counts = ([each[key] for each in bins] for key in ("from", "of"))
        lower.bar(starts, counts, 1 / len(bins), align="edge", color=BLUE)
        lower.set(xlabel="score of the best answer", ylabel="images")
        return data_url()


def thresholds(answers: Answers, evaluation: Evaluation) -> str:
    """Draw the precision for each share of accepted answers.

    The chart shows thresholds that all classes have in common, and the chosen thresholds.
    """
    with _figure(4.4, 4.2) as (figure, data_url):
        axes = figure.subplots()
        x, y = precision_by_coverage(answers)
        axes.plot(100 * x, 100 * y, color=GREY, linewidth=1.5, label="one threshold for all classes")
        if evaluation.accepted.any():
            share = 100 * evaluation.accepted.mean()
            precision = 100 * evaluation.answers.right[evaluation.accepted].mean()
            axes.plot(share, precision, "o", **CHOSEN)
        axes.plot(100, 100 * answers.right.mean(), "s", color=ORANGE, label="all answers accepted")
        axes.set(
            xlabel="accepted answers, % of the images",
            ylabel="correct among accepted answers, %",
            xlim=(0, 102),
        )
        low = min(float(y.min()), float(answers.right.mean()))
        axes.set_ylim(100 * max(0.0, low - 0.1 * (1 - low) - 0.005), 100)
        figure.legend(frameon=False, loc="outside upper left")
        return data_url()


def confusions(answers: Answers, names: Sequence[str]) -> str:
    """Draw the confusion matrix: a row for each true class, and a column for each predicted class."""
    chosen = _most_confused(answers, len(names))
    counts = np.zeros((len(chosen), len(chosen)))
    place = {index: at for at, index in enumerate(chosen)}
    for truth, answer in zip(answers.truth.tolist(), answers.best[:, 0].tolist(), strict=True):
        if truth in place and answer in place:
            counts[place[truth], place[answer]] += 1
    totals = np.array([max((answers.truth == index).sum(), 1) for index in chosen])
    side = 2.6 + 0.24 * len(chosen)
    with _figure(side, side) as (figure, data_url):
        axes = figure.subplots()
        axes.imshow(counts / totals[:, None], cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        _write_counts(axes, counts, totals)
        labels = [names[index] for index in chosen]
        axes.set_xticks(range(len(chosen)), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(len(chosen)), labels, fontsize=8)
        axes.set_xticks(np.arange(len(chosen) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(chosen) + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#e3e8ee", linewidth=0.6)
        axes.tick_params(which="both", length=0)
        axes.set(xlabel="answer", ylabel="class")
        axes.spines[:].set_visible(False)
        return data_url()


def _write_counts(axes: Axes, counts: NDArray[Any], totals: NDArray[Any]) -> None:
    for row, column in np.argwhere(counts > 0):
        dark = counts[row, column] / totals[row] > 0.5
        color = "white" if dark else ORANGE if row != column else "#333b47"
        axes.text(
            column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=color
        )


def _most_confused(answers: Answers, classes: int) -> list[int]:
    if classes <= MAX_CLASSES:
        return list(range(classes))
    wrong = ~answers.right
    count = np.bincount(answers.truth[wrong], minlength=classes)
    count += np.bincount(answers.best[wrong, 0], minlength=classes)
    return sorted(np.argsort(-count, kind="stable")[:MAX_CLASSES].tolist())


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")

        def data_url() -> str:
            file = io.BytesIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            return "data:image/svg+xml;base64," + b64encode(file.getvalue()).decode()

        yield figure, data_url
