"""Prints the measurements of `bench` as tables on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from cli.bench.card_usage import describe_cards

COLUMNS = (
    *("images/s", "p50 ms", "p95 ms", "p99 ms", "gateway", "Redis", "worker", "CPU ms", "batch", "busy"),
    "GPU",
)

ENGINES = {
    "float32": "engine, measured alternately with the rows below",
    "bfloat16": "engine in bfloat16",
    "predict": "model.predict",
}


def show(result: dict[str, Any], console: Console) -> None:
    """Print the measurements of one model."""
    if "bare" in result:
        for each in _bare(result["model"], result["bare"]):
            console.print(each)
    if result.get("devices"):
        console.print(f"device of the model: {result['devices']}")
    console.print(_runs(result["runs"]))
    if "served_to_bare" in result:
        for line in _comparison(result):
            console.print(line)
    if result.get("idle"):
        console.print(
            f"CPU use of the idle service, in % of one core: {_by_part(result['idle'], '.2f', '%')}"
        )
    if memory := result["runs"][-1]["memory_mb"]:
        console.print(f"memory: {_by_part(memory, '.0f', 'MB')}")
        console.print(f"graphics cards of this machine: {describe_cards(_busiest(result['runs'])['cards'])}")


def _busiest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the measurement during which the graphics cards were busiest."""
    return max(runs, key=lambda run: sum(card["busy"] for card in run["cards"]))


def _by_part(values: Mapping[str, float], digits: str, unit: str) -> str:
    return ", ".join(f"{part} {value:{digits}} {unit}" for part, value in values.items())


def _bare(model: str, bare: dict[str, Any]) -> Iterator[str | Table]:
    yield (
        f"\n[bold]{model}[/], decoding and model without the service:"
        f" {bare['images_per_second']:.1f} images/s, {bare['cpu_ms_per_image']:.1f} CPU ms per image;"
        f" {bare['lone_ms']:.1f} ms for a single image"
    )
    speeds = dict(bare.get("in_turn") or {})
    table = Table("images/s of the model, by batch size", *bare["sizes"])
    for name, row in {"engine": bare["sizes"], **speeds}.items():
        cells = (f"{row[size]:.1f}" if size in row else "" for size in bare["sizes"])
        table.add_row(ENGINES.get(name, name), *cells)
    yield table
    predict = speeds.pop("predict", {})
    for name, row in speeds.items():
        ratios = ", ".join(f"{speed / predict[size]:.1f} at batch size {size}" for size, speed in row.items())
        yield f"speed of the engine in {name} / speed of model.predict: {ratios}"


def _comparison(result: dict[str, Any]) -> Iterator[str]:
    turns = result["in_turn"]
    rounds = ", ".join(f"{each['served']:.1f} / {each['bare']:.1f}" for each in turns)
    yield f"speed of the service / engine: {result['served_to_bare']:.2f} (images/s in each round: {rounds})"
    rounds = ", ".join(f"{each['served_lone_ms']:.1f} - {each['bare_lone_ms']:.1f}" for each in turns)
    added = f"the service adds {result['lone_adds_ms']:.1f} ms to the time of a single image"
    yield f"{added} (ms in each round: {rounds})"


def _runs(runs: list[dict[str, Any]]) -> Table:
    table = Table(Column("load", no_wrap=True), *COLUMNS, "errors")
    for run in runs:
        cpu = run["cpu_ms"]
        table.add_row(
            f"{run['clients']} clients" if run["clients"] else f"{run['rate']:.0f}/s random",
            f"{run['per_second']:.1f}",
            *(_number(run[f"p{each}_ms"], 1) for each in (50, 95, 99)),
            *(_number(cpu.get(part), 2) for part in ("gateway", "redis", "worker")),
            _number(sum(cpu.values()) if cpu else None, 2),
            _number(run["mean_batch"], 1),
            f"{run['model_busy']:.0%}",
            ", ".join(f"{card['busy']:.0%}" for card in run["cards"]),
            _errors(run),
        )
    return table


def _errors(run: dict[str, Any]) -> str:
    return ", ".join(f"{run[each]} {each}" for each in ("refused", "failed", "wrong") if run[each]) or "none"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
