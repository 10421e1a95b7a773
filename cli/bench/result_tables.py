"""What was measured, as tables for a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Column, Table

COLUMNS = (
    "load",
    "images/s",
    "p50 ms",
    "p95 ms",
    "p99 ms",
    "gateway",
    "Redis",
    "worker",
    "CPU ms",
    "batch",
    "busy",
)


def show(result: dict[str, Any], console: Console) -> None:
    """Print one model's figures."""
    if "bare" in result:
        bare = result["bare"]
        console.print(
            f"\n[bold]{result['model']}[/]: decoding and model alone {bare['images_per_second']:.1f} images/s"
            f" ({bare['cpu_ms_per_image']:.1f} CPU ms each), a lone image {bare['lone_ms']:.1f} ms"
        )
        console.print(_sizes(bare))
        for line in _against_predict(bare):
            console.print(line)
    console.print(_runs(result))
    if "served_to_bare" in result:
        turns = result["in_turn"]
        rounds = ", ".join(f"{each['served']:.1f} / {each['bare']:.1f}" for each in turns)
        console.print(f"served / bare: {result['served_to_bare']:.2f} (in turn: {rounds})")
        rounds = ", ".join(f"{each['served_lone_ms']:.1f} - {each['bare_lone_ms']:.1f}" for each in turns)
        console.print(f"a lone image: {result['lone_adds_ms']:.1f} ms more (in turn: {rounds})")
    if result.get("idle"):
        idle = ", ".join(f"{part} {share:.2f} %" for part, share in result["idle"].items())
        console.print(f"of a core while idle: {idle}")
    memory = result["runs"][-1]["memory_mb"]
    if memory:
        console.print(
            "memory: " + ", ".join(f"{part} {megabytes:.0f} MB" for part, megabytes in memory.items())
        )


def _sizes(bare: dict[str, Any]) -> Table:
    table = Table("images/s of the model", *bare["sizes"])
    table.add_row("here", *(f"{speed:.1f}" for speed in bare["sizes"].values()))
    rows = {
        "float32": "here, in turn with the next",
        "bfloat16": "here, in bfloat16",
        "predict": "model.predict",
    }
    for name, speeds in (bare.get("in_turn") or {}).items():
        table.add_row(
            rows[name], *(f"{speeds[size]:.1f}" if size in speeds else "" for size in bare["sizes"])
        )
    return table


def _against_predict(bare: dict[str, Any]) -> list[str]:
    """How many times as fast as Keras' own `model.predict` the engine is, at the sizes that both ran."""
    in_turn = dict(bare.get("in_turn") or {})
    predict = in_turn.pop("predict", {})
    return [
        f"{name} / model.predict: "
        + ", ".join(f"{speeds[size] / predict[size]:.1f} at {size}" for size in speeds)
        for name, speeds in in_turn.items()
    ]


def _runs(result: dict[str, Any]) -> Table:
    table = Table(Column(COLUMNS[0], no_wrap=True), *COLUMNS[1:], "faults")
    for run in result["runs"]:
        load = f"{run['clients']} clients" if run["clients"] else f"{run['rate']:.0f}/s random"
        times = [_figure(run[f"p{each}_ms"], 1) for each in (50, 95, 99)]
        cpu = [_figure(run["cpu_ms"].get(part), 2) for part in ("gateway", "redis", "worker")]
        total = _figure(sum(run["cpu_ms"].values()) if run["cpu_ms"] else None, 2)
        faults = ", ".join(f"{run[each]} {each}" for each in ("refused", "failed", "wrong") if run[each])
        table.add_row(
            load,
            f"{run['per_second']:.1f}",
            *times,
            *cpu,
            total,
            _figure(run["mean_batch"], 1),
            f"{run['model_busy']:.0%}",
            faults or "none",
        )
    return table


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
