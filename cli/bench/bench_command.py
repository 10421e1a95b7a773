"""`classification-server bench`: measures the speed of the service, and proposes faster settings."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import CommandError, install_hint
from cli.progress import step_progress

if TYPE_CHECKING:
    from cli.bench.measured_models import Subject

HELP = "measure the speed of the service with your model, or of a service that is already running"
DESCRIPTION = """\
First measures image decoding and the model without the service, then the whole service over HTTP, on the
same CPU cores. The service first gets requests from 1 to 128 clients, which each send one request at a time.
Then requests arrive at random times, at 50 and 80 % of the service's capacity (its highest measured speed).
If INFERENCE_MODEL is not set, two models are measured: an InceptionV3 with random weights, and the small
demo model.

Prints the measurements as tables; --json saves the measurements, and --plot draws charts. The columns
gateway, Redis, worker and CPU ms show CPU time per request in milliseconds. p50, p95 and p99 are percentiles
of the time from a client's request to its answer. The column GPU shows for which share of the time each
graphics card was busy; it is empty without a graphics card.

  classification-server bench
  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server bench --tune
  classification-server bench --url http://gpu-box:8001 --images photos --clients 1,16,64
  classification-server bench --gpu
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    add = parser.add_argument
    add(
        "--model",
        choices=("light", "inception", "both"),
        help="example model to measure (default: the model of INFERENCE_MODEL, or both examples)",
    )
    add("--url", help="address of a running service to measure")
    add("--key", default="", help="API key for the service at --url")
    add(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="folder of the images to send (default: generated images)",
    )
    clients = "numbers of simultaneous clients, one measurement for each number (default: 1,8,32,128)"
    add("--clients", type=_counts, default=[1, 8, 32, 128], metavar="N,N,…", help=clients)
    add("--seconds", type=float, default=10.0, help="duration of each measurement in seconds (default: 10)")
    add("--json", type=Path, metavar="FILE", help="write all measurements to this JSON file")
    add("--plot", type=Path, metavar="FOLDER", help="draw charts in this folder (PNG and SVG)")
    tune = "measure the model with several batch sizes, threads and precisions; print the fastest settings"
    add("--tune", action="store_true", help=tune)
    gpu = "measure start, scores, engine and service of the example models on a GPU, in about 15 minutes"
    add("--gpu", action="store_true", help=gpu)
    add("--device", choices=("auto", "cpu", "gpu"), default="auto", help="device for --gpu (default: auto)")
    add("--small", action="store_true", help="with --gpu, only make short measurements of the demo model")
    add("--quiet", action="store_true", help="print no progress")


def run(options: argparse.Namespace) -> int:
    """Print the measurements; return the exit status.

    The exit status is 1 if an answer was wrong or missing.

    Raises:
        CommandError: a package is missing, there are no images, or a process did not start.
    """
    try:
        from cli.bench import measurement  # noqa: F401
    except ImportError as error:
        raise CommandError(f"{error}. Install the package: {install_hint('bench')}.") from None
    if options.gpu and options.images:
        raise CommandError("--images: expected no --gpu, which measures with generated images. Remove one.")
    return _run_gpu_report(options) if options.gpu else _run_bench(options)


def _run_bench(options: argparse.Namespace) -> int:
    from cli.bench import measurement, tuning

    subjects = _subjects(options)
    steps = tuning.steps() if options.tune else measurement.steps(options.clients, bare=not options.url)
    try:
        with step_progress(len(subjects) * steps, quiet=options.quiet) as step:
            results = [_measure(options, subject, step) for subject in subjects]
    except (OSError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    _report(options, results)
    runs = [run for result in results for run in result.get("runs", ())]
    return int(any(run["failed"] + run["wrong"] for run in runs))


def _run_gpu_report(options: argparse.Namespace) -> int:
    from rich.console import Console

    from cli.bench import gpu_report

    scope = gpu_report.Scope.small() if options.small else gpu_report.Scope.full()
    try:
        with step_progress(scope.steps(), quiet=options.quiet) as step:
            report = gpu_report.measure(scope, options.device, step)
    except (OSError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    console = Console()
    console.width = max(console.width, 120)
    gpu_report.show(report, console)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return int(any(row["errors"] for row in report["service"]))


def _measure(options: argparse.Namespace, subject: "Subject", step: Callable[[str], None]) -> dict[str, Any]:
    from cli.bench import measurement, tuning

    if options.tune:
        return {"model": subject.name, "tried": tuning.tune(subject, options.seconds, step)}
    if options.url:
        where = (options.url, options.key, subject)
        return measurement.measure_elsewhere(*where, options.clients, options.seconds, step)
    return measurement.measure(subject, options.clients, options.seconds, step)


def _report(options: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from cli.bench import plots, result_tables, tuning

    console = Console()
    console.width = max(console.width, 120)
    for result in results:
        tuning.show(result["tried"], console) if options.tune else result_tables.show(result, console)
        if options.plot and not options.tune:
            console.print("charts: " + ", ".join(map(str, plots.draw(result, options.plot))))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def _subjects(options: argparse.Namespace) -> "list[Subject]":
    from cli.bench import measured_models

    images = _images(options.images)
    if options.url or (os.environ.get("INFERENCE_MODEL") and not options.model):
        return [measured_models.own(images)]
    chosen = {"light": [measured_models.light], "inception": [measured_models.inception]}
    makers = chosen.get(options.model, [measured_models.inception, measured_models.light])
    return [make(images) for make in makers]


def _images(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    images = sorted(each for each in folder.iterdir() if each.is_file())
    if not images:
        raise CommandError(f"--images: expected images in {folder}, got no files. Name a folder of images.")
    return images


def _counts(text: str) -> list[int]:
    counts = [int(each) if each.strip().isdecimal() else 0 for each in text.split(",")]
    if not all(1 <= each <= 1000 for each in counts):
        raise argparse.ArgumentTypeError(
            f"expected numbers from 1 to 1000, separated by commas, got {text!r}"
        )
    return counts
