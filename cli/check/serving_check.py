"""Checks model, classes, thresholds and settings as a worker does at its start, and reports all findings.

A worker stops at the first fault. The check continues after a fault. It examines everything that does not
depend on the faulty file or setting.
"""

import os
import shlex
import time
from collections.abc import Callable, Mapping
from itertools import filterfalse
from pathlib import Path
from typing import TypeVar

from cli.check.findings import Report
from cli.check.model_check import check_device, check_engine, check_file
from cli.check.photos_check import Photos, check_photos
from shared.image_header import ImageError
from shared.job import Options
from shared.settings import Settings, SettingsError, is_set, table, unknown_names
from worker.classes_file import check_class_count, read_classes_file
from worker.decide import Decider, species
from worker.decode import PixelSpec, decode
from worker.engine import Engine
from worker.text_file import listed
from worker.thresholds_file import (
    Threshold,
    provenance,
    provenance_warnings,
    read_provenance,
    read_thresholds_file,
)

T = TypeVar("T")


def check(environ: Mapping[str, str], image: Path, photos: Photos) -> Report:
    """Check the settings in `environ` and the files that these settings name; run the model on the images."""
    report = Report()
    for warning in unknown_names(environ):
        report.add("settings", "warning", warning)
    try:
        settings = Settings.from_environ(environ)
    except SettingsError as error:
        for line in str(error).splitlines():
            report.add("settings", "fault", line)
        return report
    file = check_file(report, settings)
    check_device(report, settings)
    engine = check_engine(report, settings, file, is_chosen=is_set("INFERENCE_PREPROCESS", environ))
    classes = _check_classes(report, settings, engine)
    thresholds = _check_thresholds(report, settings, classes)
    _check_provenance(report, settings, engine if thresholds else None)
    if engine and report.serves:
        values = {name: each.value for name, each in thresholds.items()}
        with report.faults_in("sample"):
            _classify(report, settings, engine, Decider(classes, values, settings.minimum_threshold), image)
        check_photos(report, settings, engine, classes, photos)
    report.command = _command(environ, report.advised)
    return report


def _check_classes(report: Report, settings: Settings, engine: Engine | None) -> tuple[str, ...]:
    classes: tuple[str, ...] = ()
    with report.faults_in("classes"):
        found = read_classes_file(settings.classes_file)
        classes = found.names
        report.add_remarks("classes", found.remarks)
        report.facts["classes"] = len(classes)
        report.add("classes", "ok", f"{len(classes)} names, from {classes[0]!r} to {classes[-1]!r}")
        if any(len(name.split()) == 3 for name in classes):
            merged = len({species(name) for name in classes})
            report.add("classes", "note", f"`consolidate` merges the classes into {merged} species")
        if engine:
            check_class_count(engine.graph.outputs, classes, settings.classes_file)
            report.add("classes", "ok", "there are as many names as outputs of the model")
    return classes


def _check_thresholds(report: Report, settings: Settings, classes: tuple[str, ...]) -> dict[str, Threshold]:
    if not settings.thresholds_file.exists():
        advice = (
            "Create the file with `classification-server calibrate FOLDER`, or write a file that has only the"
            " header."
        )
        text = f"INFERENCE_THRESHOLDS_FILE: there is no file {settings.thresholds_file}. {advice}"
        report.add("thresholds", "fault", text)
    elif classes:
        with report.faults_in("thresholds"):
            file = read_thresholds_file(settings.thresholds_file, classes)
            report.facts["thresholds"] = len(file.thresholds)
            _describe_thresholds(report, settings.minimum_threshold, classes, file.thresholds)
            report.add_remarks("thresholds", file.remarks)
            return file.thresholds
    return {}


def _check_provenance(report: Report, settings: Settings, engine: Engine | None) -> None:
    """Check that the thresholds were calibrated with this model and with settings that give equal scores."""
    if engine is None:
        return
    running = provenance(settings, engine.fingerprint, engine.graph.shape)
    with report.faults_in("thresholds"):
        report.facts["provenance"] = read_provenance(settings.thresholds_file)
        warnings = provenance_warnings(settings.thresholds_file, running)
        for warning in warnings:
            report.add("thresholds", "warning", warning)
        if not report.facts["provenance"]:
            text = "the header contains no model and no precision, so they are not compared with this model"
            report.add("thresholds", "note", text)
        elif not warnings:
            text = f"calibrated with this model, the precision {settings.precision} and these settings"
            report.add("thresholds", "ok", text)


def _describe_thresholds(
    report: Report, minimum: float, classes: tuple[str, ...], found: Mapping[str, Threshold]
) -> None:
    if not found:
        text = f"the file has no thresholds: the minimum threshold of {minimum:g} applies to all classes"
        report.add("thresholds", "note", text)
        return
    values = [max(each.value, minimum) for each in found.values()]
    span = f"from {min(values):.3f} to {max(values):.3f} (INFERENCE_MINIMUM_THRESHOLD is {minimum:g})"
    report.add("thresholds", "ok", f"thresholds of {len(found)} of {len(classes)} classes, {span}")
    if missing := list(filterfalse(found.__contains__, classes)):
        report.add("thresholds", "note", f"only the minimum threshold applies to {listed(missing)}")


def _classify(report: Report, settings: Settings, engine: Engine, decider: Decider, image: Path) -> None:
    try:
        data = image.read_bytes()
    except OSError as error:
        raise ImageError("unsupported", f"--image: {image} can't be read: {error.strerror}.") from None
    spec = PixelSpec.of(engine.graph.shape, settings)
    pixels, decode_ms = _timed(lambda: decode(data, None, spec))
    engine.run(pixels)  # The slower first run is not timed; a worker does it during its warm-up.
    scores, model_ms = _timed(lambda: engine.run(pixels))
    predictions = decider.decide(scores, Options())["regions"][0]["predictions"]
    total = float(scores.sum())
    report.facts["sample"] = {
        **{"image": str(image), "predictions": predictions, "sum": total},
        **{"decode_ms": decode_ms, "model_ms": model_ms},
    }
    times = f"decoded in {decode_ms:.1f} ms, run in {model_ms:.1f} ms"
    report.add("sample", "ok", f"{image}: {times}, sum of the scores {total:.3f}")
    for each in predictions:
        verdict = "accepted" if each["accepted"] else "not accepted"
        text = f"{each['score']:.6f} {each['class']} ({verdict}, threshold {each['threshold']:.4f})"
        report.add("sample", "note", text)


def _timed(function: Callable[[], T]) -> tuple[T, float]:
    """Call a function; return its result and its duration in milliseconds."""
    started = time.perf_counter()
    result = function()
    return result, 1000 * (time.perf_counter() - started)


def _command(environ: Mapping[str, str], advised: Mapping[str, str]) -> str:
    """Return the command that serves the model.

    The command contains no secrets, because the shell's history would store the secrets.
    """
    values = {
        setting.name: environ[setting.name].strip()
        for _, setting in table()
        if environ.get(setting.name, "").strip() and not setting.secret
    }
    for name in ("INFERENCE_MODEL", "INFERENCE_CLASSES_FILE", "INFERENCE_THRESHOLDS_FILE"):
        if name in values:
            values[name] = os.path.abspath(values[name])
    variables = [f"{name}={shlex.quote(value)}" for name, value in (values | dict(advised)).items()]
    return " ".join([*variables, "classification-server serve"])
