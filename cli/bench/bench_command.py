"""`classification-server bench`: how fast the service is here, and what would make it faster."""

import argparse
import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import CommandError, echo, install_hint

if TYPE_CHECKING:
    from rich.console import Console

    from cli.bench.subjects import Subject

HELP = "measure the service with your model on this machine, or one that runs elsewhere"
DESCRIPTION = """\
Measures decoding and model alone, then the running service through HTTP on the same cores in the same
run: closed loops of 1 to 128 clients, then random arrivals at 50 and 80 % of capacity. Without a model
(INFERENCE_MODEL), an InceptionV3 with random weights and the light demo model are measured.

Prints a table; --json and --plot keep the figures and pictures. CPU is in milliseconds a request, split
by gateway, Redis and worker; p50, p95 and p99 are what callers waited.

  classification-server bench
  INFERENCE_MODEL=model.h5 INFERENCE_CLASSES_FILE=classes.txt classification-server bench --tune
  classification-server bench --url http://gpu-box:8001 --images photos --clients 1,16,64
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bench`."""
    parser.add_argument(
        "--model", choices=("light", "inception", "both"), help="which of the models to measure"
    )
    parser.add_argument("--url", help="measure the service that runs there")
    parser.add_argument("--key", default="", help="its API key")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="the images to send (default: made up)")
    parser.add_argument(
        "--clients", type=_counts, default=[1, 8, 32, 128], metavar="N,N,…", help="1,8,32,128"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw pictures there (PNG and SVG)")
    parser.add_argument(
        "--tune", action="store_true", help="try batch sizes and precisions; print what to set"
    )
    parser.add_argument("--quiet", action="store_true", help="tell no progress")


def run(options: argparse.Namespace) -> int:
    """Measure and report; return the exit status, 1 where an answer was wrong or missing.

    Raises:
        CommandError: the extra `bench` is not installed, there are no images, or a part did not start.
    """
    try:
        from cli.bench import measurement, tuning
    except ImportError as error:
        raise CommandError(f"{error}: {install_hint('bench')}") from None
    subjects = _subjects(options)
    steps = tuning.steps() if options.tune else measurement.steps(options.clients, bare=not options.url)
    try:
        with _progress(len(subjects) * steps, options.quiet) as step:
            results = [_measure(options, subject, step) for subject in subjects]
    except (OSError, RuntimeError) as error:
        raise CommandError(str(error)) from None
    _report(options, results)
    faults = [
        run[each] for result in results for run in result.get("runs", ()) for each in ("failed", "wrong")
    ]
    return 1 if any(faults) else 0


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
            console.print("drawn: " + ", ".join(map(str, plots.draw(result, options.plot))))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


def _subjects(options: argparse.Namespace) -> "list[Subject]":
    from cli.bench import subjects

    images = sorted(each for each in options.images.iterdir() if each.is_file()) if options.images else []
    if options.images and not images:
        raise CommandError(f"there are no images in {options.images}")
    if options.url or (os.environ.get("INFERENCE_MODEL") and not options.model):
        return [subjects.own(images)]
    chosen = {"light": [subjects.light], "inception": [subjects.inception]}
    return [make() for make in chosen.get(options.model, [subjects.inception, subjects.light])]


@contextlib.contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal, with what the step is called; a line for each elsewhere; nothing with --quiet."""
    from rich.console import Console

    console = Console(stderr=True)
    steps = itertools.count(1)
    if quiet:
        yield lambda what: None
    elif console.is_terminal and not console.is_dumb_terminal:
        with _bar(total, console) as step:
            yield step
    else:
        yield lambda what: echo(f"step {next(steps)} of {total}: {what}")


@contextlib.contextmanager
def _bar(total: int, console: "Console") -> Iterator[Callable[[str], None]]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = itertools.count()
        yield lambda what: progress.update(task, completed=next(begun), description=what)


def _counts(text: str) -> list[int]:
    try:
        counts = [int(each) for each in text.split(",")]
    except ValueError:
        counts = [0]
    if not all(1 <= each <= 1000 for each in counts):
        raise argparse.ArgumentTypeError("it takes numbers from 1 to 1000, separated by commas")
    return counts
