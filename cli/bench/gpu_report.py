"""`classification-server bench --gpu`: measures what a GPU changes, in less than 15 minutes.

The report has four tables: the start, the scores of each precision, the engine's speed, and the speed of the
whole service. Without a GPU, the same measurements run on the CPU.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from cli.bench import measured_models
from cli.bench.engine_probe import ProbePlan, probe
from cli.bench.measured_models import Subject
from cli.bench.measured_service import started

CPU_PRECISIONS, GPU_PRECISIONS = ("float32", "bfloat16"), ("float32", "tf32", "float16", "bfloat16")

LARGE_QUEUE = {"SCHEDULER_QUEUE_SIZE": "1024", "MAX_QUEUE_BYTES": str(4 * 2**30)}
"""Settings with which 256 clients can send photos of 12 megapixels at the same time."""

Step = Callable[[str], None]


@dataclass(frozen=True)
class Scope:
    """What to measure: models, batch sizes, batches under way, duration in seconds, photos and clients."""

    subjects: list[Subject]
    sizes: list[int]
    under_way: list[int]
    seconds: float
    photos: dict[str, list[Path]]
    clients: list[int]

    @classmethod
    def full(cls) -> "Scope":
        """Return the measurements for a machine with a GPU."""
        subjects = [measured_models.inception(), measured_models.light()]
        photos = {"640×480": subjects[0].images, "4000×3000": measured_models.large_photos()}
        return cls(subjects, [1, 32, 64], [1, 2, 3], 8.0, photos, [32, 256])

    @classmethod
    def small(cls) -> "Scope":
        """Return a few short measurements of the small demo model, for a test of the report."""
        subject = measured_models.light()
        return cls([subject], [1, 8], [1, 2], 0.3, {"32×32": subject.images}, [2, 8])

    def steps(self) -> int:
        """Return the maximum number of measurements, for the progress bar."""
        loads = len(self.photos) * len(self.clients)
        return 2 + len(self.subjects) * (1 + len(GPU_PRECISIONS)) + loads


def measure(scope: Scope, device: str, step: Step) -> dict[str, Any]:
    """Measure everything; return the name of the device and the rows of each table.

    `device` is the value of INFERENCE_DEVICE for the measurements: auto, cpu or gpu.
    """
    with tempfile.TemporaryDirectory(prefix="classification-") as folder:
        # In an empty folder for compiled models, the first start compiles the model.
        environ = {
            "INFERENCE_DEVICE": device,
            "INFERENCE_CACHE_DIR": f"{folder}/compiled",
            "INPUT_BATCH": str(scope.sizes[-1]),
        }
        scope = replace(
            scope, subjects=[replace(each, environ=each.environ | environ) for each in scope.subjects]
        )
        name, starts = _starts(scope.subjects[0], step)
        scores, speeds = [], []
        for subject in scope.subjects:
            for row in _precisions(scope, subject, "(GPU)" in name, Path(folder), step):
                scores.append({each: row[each] for each in ("model", "precision", *SCORES) if each in row})
                speeds.append({"model": row["model"], "precision": row["precision"], **row["speeds"]})
        return {
            "device": name,
            "start": starts,
            "scores": scores,
            "engine": speeds,
            "service": list(_service(scope, step)),
        }


def _starts(subject: Subject, step: Step) -> tuple[str, list[dict[str, Any]]]:
    """Start the service twice; return the name of the device and the measurements of both starts."""
    rows, device = [], ""
    for start in ("first", "second"):
        step(f"{subject.name}: {start} start")
        begin = time.monotonic()
        with started(subject.environ) as service:
            seconds = time.monotonic() - begin
            device = service.devices() or "unknown device"
            run = service.load(subject.images, 1.0, clients=1)
        rows.append(
            {
                "start": start,
                "seconds until ready": round(seconds, 1),
                "worker MB": round(run["memory_mb"]["worker"]),
                "GPU MB": [round(card["memory_mb"]) for card in run["cards"]],
            }
        )
    return device, rows


SCORES = ("largest difference", "same best class", "problem")


def _precisions(
    scope: Scope, subject: Subject, on_gpu: bool, folder: Path, step: Step
) -> Iterator[dict[str, Any]]:
    """Yield the scores and the speed of each precision. A precision that the device refuses has a problem."""
    images = [str(each) for each in subject.images]
    exact = folder / "exact.npy"
    step(f"{subject.name}: scores in float32 on the CPU")
    cpu = {"INFERENCE_DEVICE": "cpu", "INFERENCE_PRECISION": "float32"}
    probe(subject.environ | cpu, ProbePlan(images, str(exact), [], [], 0))
    for precision in GPU_PRECISIONS if on_gpu else CPU_PRECISIONS:
        step(f"{subject.name}: scores and speed in {precision}")
        row: dict[str, Any] = {"model": subject.name, "precision": precision, "speeds": {}}
        found = folder / f"{precision}.npy"
        plan = ProbePlan(images, str(found), scope.sizes, scope.under_way, scope.seconds / 8)
        try:
            speeds = probe(subject.environ | {"INFERENCE_PRECISION": precision}, plan)
            row |= _compare(np.load(exact), np.load(found)) | {"speeds": _flat(speeds)}
        except RuntimeError as error:
            row["problem"] = str(error)
        yield row


def _compare(exact: Any, found: Any) -> dict[str, Any]:
    same = int((exact.argmax(1) == found.argmax(1)).sum())
    largest = float(np.abs(exact - found).max())
    return {"largest difference": f"{largest:.2g}", "same best class": f"{same} of {len(exact)}"}


def _flat(speeds: dict[str, dict[str, float]]) -> dict[str, float]:
    return {
        f"{size} × {count}": round(speed, 1) for size, row in speeds.items() for count, speed in row.items()
    }


def _service(scope: Scope, step: Step) -> Iterator[dict[str, Any]]:
    subject = scope.subjects[0]
    with started(subject.environ | LARGE_QUEUE) as service:
        for photos, images in scope.photos.items():
            service.load(images, min(scope.seconds, 2.0), clients=min(scope.clients))
            for clients in scope.clients:
                step(f"{subject.name}: {clients} clients, photos of {photos}")
                run = service.load(images, scope.seconds, clients=clients)
                yield {
                    "photos": photos,
                    "clients": clients,
                    "photos/s": round(run["per_second"], 1),
                    **{f"p{each} ms": round(run[f"p{each}_ms"] or 0, 1) for each in (50, 99)},
                    **{f"{part} cores": round(used, 2) for part, used in run["cores"].items()},
                    "mean batch": run["mean_batch"] and round(run["mean_batch"], 1),
                    "GPU busy": [f"{card['busy']:.0%}" for card in run["cards"]],
                    "errors": run["refused"] + run["failed"] + run["wrong"],
                }


TITLES = {
    "start": "Start of the service",
    "scores": "Scores, compared with float32 on the CPU",
    "engine": "Images/s of the engine, by batch size × batches under way",
    "service": "The whole service",
}


def show(report: dict[str, Any], console: Console) -> None:
    """Print the tables. Each title has the name of the device."""
    for name, title in TITLES.items():
        rows: list[dict[str, Any]] = report[name]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        table = Table(*columns)
        for row in rows:
            table.add_row(*(_text(row.get(column)) for column in columns))
        console.print(f"\n[bold]{title}[/] ({report['device']})", table, sep="\n")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "no GPU"
    return "" if value is None else str(value)
