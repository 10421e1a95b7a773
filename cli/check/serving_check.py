"""Looks at model, classes, thresholds and settings as a worker's start does, and tells all that it finds.

A start stops at the first fault; here each part is looked at, as far as the others leave it possible.
"""

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from cli.check.findings import Report
from cli.check.model_check import look_at_engine, look_at_file
from shared.image_header import ImageError
from shared.job import Options
from shared.settings import Settings, SettingsError, table, unknown_names
from worker.classes_file import check_class_count, read_classes
from worker.decide import Decider, species
from worker.decode import PixelSpec, decode
from worker.engine import Engine
from worker.thresholds_file import Threshold, read_thresholds


def check(environ: Mapping[str, str], image: Path) -> Report:
    """Look at everything that these variables name, and classify the image."""
    report = Report()
    for warning in unknown_names(environ):
        report.add("settings", "warning", warning)
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            report.add("settings", "fault", line)
        return report
    file = look_at_file(report, settings)
    engine = look_at_engine(report, settings, file)
    classes = _look_at_classes(report, settings, engine)
    thresholds = _look_at_thresholds(report, settings, classes)
    if engine and classes and thresholds is not None and report.serves:
        values = {name: each.value for name, each in thresholds.items()}
        decider = Decider(classes, values, settings.minimum_threshold)
        with report.faults_of("sample"):
            _classify(report, settings, engine, decider, image)
    report.command = _command(environ, report.advised)
    return report


def _look_at_classes(report: Report, settings: Settings, engine: Engine | None) -> tuple[str, ...]:
    classes: tuple[str, ...] = ()
    with report.faults_of("classes"):
        classes = read_classes(settings.classes_file)
        report.facts["classes"] = len(classes)
        three = sum(len(name.split()) == 3 for name in classes)
        report.add("classes", "ok", f"{len(classes)} names, from {classes[0]!r} to {classes[-1]!r}")
        if three:
            merged = len({species(name) for name in classes})
            report.add("classes", "note", f"`consolidate` merges them into {merged} species")
        if engine:
            check_class_count(engine.outputs, classes, settings.classes_file)
            report.add("classes", "ok", "as many as the model has outputs")
    return classes


def _look_at_thresholds(
    report: Report, settings: Settings, classes: tuple[str, ...]
) -> dict[str, Threshold] | None:
    if not settings.thresholds_file.exists():
        report.add(
            "thresholds",
            "fault",
            f"INFERENCE_THRESHOLDS_FILE: there is no file {settings.thresholds_file}: make one with"
            " `classification-server calibrate FOLDER`; the header line alone does, too",
        )
        return None
    if not classes:
        return None
    found = None
    with report.faults_of("thresholds"):
        found = read_thresholds(settings.thresholds_file, classes)
        _tell_thresholds(report, settings, classes, found)
    return found


def _tell_thresholds(
    report: Report, settings: Settings, classes: tuple[str, ...], found: Mapping[str, Threshold]
) -> None:
    minimum = settings.minimum_threshold
    values = [max(each.value, minimum) for each in found.values()]
    report.facts["thresholds"] = len(found)
    if not values:
        report.add("thresholds", "note", f"none: answers count from a score of {minimum:g} on")
        return
    report.add(
        "thresholds",
        "ok",
        f"of {len(found)} of {len(classes)} classes, from {min(values):.3f} to {max(values):.3f}"
        f" (INFERENCE_MINIMUM_THRESHOLD is {minimum:g})",
    )
    if without := [name for name in classes if name not in found]:
        report.add("thresholds", "note", f"for {_some(without)} the minimum alone holds")
    if shut := [name for name, each in found.items() if each.value >= 1]:
        report.add("thresholds", "warning", f"{_some(shut)} can never be accepted: no score exceeds 1")


def _classify(report: Report, settings: Settings, engine: Engine, decider: Decider, image: Path) -> None:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ImageError("unsupported", f"{image} can't be read: {error.strerror}") from None
    spec = PixelSpec.of((engine.height, engine.width, engine.channels), settings)
    started = time.perf_counter()
    pixels = decode(data, None, spec)
    decoded = time.perf_counter()
    engine.run(pixels)  # the first one is slower, and no request meets it
    began = time.perf_counter()
    scores = engine.run(pixels)
    ended = time.perf_counter()
    predictions = decider.decide(scores, Options())["regions"][0]["predictions"]
    times = {"decode_ms": 1000 * (decoded - started), "model_ms": 1000 * (ended - began)}
    report.facts["sample"] = {
        "image": str(image),
        "predictions": predictions,
        "sum": float(scores.sum()),
        **times,
    }
    report.add(
        "sample",
        "ok",
        f"{image}: decoded in {times['decode_ms']:.1f} ms, through the model in {times['model_ms']:.1f} ms,"
        f" its scores sum to {scores.sum():.3f}",
    )
    for each in predictions:
        verdict = "counts" if each["accepted"] else "does not count"
        report.add(
            "sample",
            "note",
            f"{each['score']:.6f} {each['class']} ({verdict}: its threshold is {each['threshold']:.4f})",
        )


def _command(environ: Mapping[str, str], advised: Mapping[str, str]) -> str:
    """What serves this: all settings that are set, but for secrets, which no history should have."""
    named = {
        setting.name: environ[setting.name].strip()
        for _, setting in table()
        if environ.get(setting.name, "").strip() and not setting.secret
    }
    for name in ("INFERENCE_MODEL", "INFERENCE_CLASSES_FILE", "INFERENCE_THRESHOLDS_FILE"):
        if name in named:
            named[name] = os.path.abspath(named[name])
    words = [f"{name}={shlex.quote(value)}" for name, value in (named | dict(advised)).items()]
    return " ".join([*words, "classification-server serve"])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
