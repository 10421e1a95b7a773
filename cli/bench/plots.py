"""Draws charts of the measurements of `bench`, as PNG and SVG."""

import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

COLORS = {
    "gateway": "#4477aa",
    "queue": "#ccbb44",
    "decode": "#66ccee",
    "infer": "#228833",
    "network": "#bbbbbb",
}
"""Colours that colour-blind readers can distinguish, from the colour schemes of Paul Tol."""

LABELS = {"infer": "model", "gateway": "gateway and Redis", "network": "client and network"}


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the charts; return their paths.

    The charts show the throughput and latency by load, and the time of each stage of a request.
    """
    figure, (rates, latency, stages) = pyplot.subplots(1, 3, figsize=(15, 4.6), constrained_layout=True)
    figure.suptitle(f"classification-server, {result['model']}", fontweight="bold")
    closed = [run for run in result["runs"] if run["clients"]]
    _throughput(rates, closed, result.get("bare"))
    _latency(latency, closed, [run for run in result["runs"] if not run["clients"]])
    _stages(stages, closed)
    name = re.sub(r"[\W_]", "-", result["model"])
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"bench-{name}.{kind}" for kind in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return paths


def _throughput(axes: Axes, closed: list[dict[str, Any]], bare: dict[str, Any] | None) -> None:
    clients = [run["clients"] for run in closed]
    axes.plot(clients, [run["per_second"] for run in closed], "o-", color=COLORS["infer"], label="service")
    if bare:
        speed, label = bare["images_per_second"], "decoding and model without the service"
        axes.axhline(speed, color="#888888", linestyle="--", label=label)
    xlabel = "clients, each with one request at a time"
    axes.set(title="Throughput", xlabel=xlabel, ylabel="images/s", ylim=(0, None))
    _log_clients(axes, clients)
    axes.legend(frameon=False)


def _latency(axes: Axes, closed: list[dict[str, Any]], opened: list[dict[str, Any]]) -> None:
    for percent, color in ((50, "#4477aa"), (95, "#ccbb44"), (99, "#aa3377")):
        times = [run[f"p{percent}_ms"] for run in closed]
        speeds = [run["per_second"] for run in closed]
        axes.plot(speeds, times, "o-", color=color, label=f"p{percent}, closed loop")
        times = [run[f"p{percent}_ms"] for run in opened]
        rates = [run["rate"] for run in opened]
        axes.plot(rates, times, "x", color=color, label=f"p{percent}, random arrivals")
    axes.set(title="Latency", xlabel="images/s", ylabel="ms", ylim=(0, None), xlim=(0, None))
    axes.legend(frameon=False, fontsize=8)


def _stages(axes: Axes, closed: list[dict[str, Any]]) -> None:
    """Draw the mean time of each stage of a request. The stage `network` is the time outside the server."""
    labels = [str(run["clients"]) for run in closed]
    bottom = [0.0] * len(closed)
    for name in ("queue", "decode", "infer", "gateway", "network"):
        heights = [_stage(run, name) for run in closed]
        axes.bar(labels, heights, bottom=bottom, color=COLORS[name], label=LABELS.get(name, name), width=0.6)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set(title="Where a request's time goes", xlabel="clients", ylabel="ms")
    handles, names = axes.get_legend_handles_labels()
    # The legend lists the stages in the order of the bars, from top to bottom.
    axes.legend(handles[::-1], names[::-1], frameon=False)


def _stage(run: dict[str, Any], name: str) -> float:
    stages = run["stages_ms"]
    inside = sum(stages.get(each, 0.0) for each in ("queue", "decode", "infer"))
    total = stages.get("total", inside)
    if name == "gateway":
        return max(float(total - inside), 0.0)
    return max((run["p50_ms"] or 0.0) - total, 0.0) if name == "network" else float(stages.get(name, 0.0))


def _log_clients(axes: Axes, clients: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(clients, [str(each) for each in clients])
