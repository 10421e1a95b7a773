"""Checks a model: its device, its file, and whether its input and output match the settings."""

from cli.check.findings import Report, captured_warnings
from cli.check.model_file import ModelFile, read_model_file
from shared.settings import Settings
from worker.devices import find_device
from worker.engine import Engine
from worker.first_layers import FirstLayers
from worker.model_allowlist import ModelError, inspect_model
from worker.preprocessing_guess import effect, guess, same_effect
from worker.tf_graph import ScoringGraph

PART = "model"

_ACTIVATION_ADVICE = {
    "softmax": "If the model returns logits, set INFERENCE_ACTIVATION=softmax. If its classes are independent"
    " of each other, set INFERENCE_ACTIVATION=sigmoid.",
    "sigmoid": "If the output is a logit, set INFERENCE_ACTIVATION=sigmoid.",
}


def check_device(report: Report, settings: Settings) -> None:
    """Find the device that would run the model."""
    with report.faults_in("device"), captured_warnings("worker.devices") as warnings:
        device = find_device(settings)
        report.facts["device"] = {"kind": device.kind, "name": device.name}
        memory = f", {device.memory_bytes // 2**20} MiB" if device.memory_bytes else ""
        report.add("device", "ok", f"{device.kind.upper()}: {device.name}{memory}")
    for warning in warnings:
        report.add("device", "warning", warning)


def check_file(report: Report, settings: Settings) -> ModelFile | None:
    """Inspect the model file as a worker does at its start.

    The function describes the file even if a worker would refuse the file.
    """
    with report.faults_in(PART):
        report.facts["fingerprint"] = inspect_model(settings.model).fingerprint
    if not settings.model.exists():
        return None
    try:
        file = read_model_file(settings.model)
    except ModelError as error:
        if report.serves:  # A fault means that `inspect_model` has already reported the error.
            report.add(PART, "note", str(error))
        return None
    _describe_file(report, file)
    return file


def _describe_file(report: Report, file: ModelFile) -> None:
    report.facts |= {"form": file.form, "saved_by": file.saved_by}
    report.add(PART, "ok", f"{file.form}, saved by {file.saved_by}")
    if not file.layers:
        return
    kinds = file.kinds
    report.facts |= {"layers": dict(kinds), "parameters": file.parameters}
    common = [f"{number} {kind}" for kind, number in kinds.most_common(5)]
    listed = ", ".join(common + ["…"] * (len(kinds) > len(common)))
    parameters = "" if file.parameters is None else f", {file.parameters:,} parameters"
    report.add(PART, "ok", f"{kinds.total()} layers ({listed}){parameters}")
    if report.serves:
        report.add(PART, "ok", "no Lambda or custom layers: loading the model runs no code from the file")


def check_engine(
    report: Report, settings: Settings, file: ModelFile | None, *, is_chosen: bool
) -> Engine | None:
    """Build the engine for the model, unless the check has already found a fault.

    `is_chosen` shows whether the preprocessing was set.
    """
    if not report.serves:
        return None
    engine = None
    with report.faults_in(PART), captured_warnings("worker.tf_graph") as warnings:
        engine = Engine.build(settings)
    if engine is None:
        return None
    height, width, channels = engine.graph.shape
    report.facts |= {
        "input": [height, width, channels],
        "outputs": engine.graph.outputs,
        "loader": engine.graph.loader,
    }
    report.add(
        PART, "ok", f"loaded by {engine.graph.loader}; input: {height}×{width} with {channels} channels"
    )
    last = file.activation if file else None
    report.facts["activation"] = last
    report.add(PART, "ok", f"output: {engine.graph.outputs} scores" + (f" from {last}" if last else ""))
    for warning in warnings:
        if "INFERENCE_ACTIVATION" not in warning:  # `_check_activation` reports the advice.
            report.add(PART, "warning", warning)
    _check_activation(report, engine.graph, last)
    _check_preprocessing(report, settings.preprocess, engine.graph.first_layers, is_chosen=is_chosen)
    return engine


def _check_activation(report: Report, graph: ScoringGraph, last: str | None) -> None:
    if advice := graph.activation_advice:
        text = "Unset INFERENCE_ACTIVATION." if advice.name == "none" else _ACTIVATION_ADVICE[advice.name]
        report.add(PART, "warning", f"{advice.reason}. {text}")
        report.advised["INFERENCE_ACTIVATION"] = advice.name
    elif graph.is_binary:
        text = "the model has one output: it is the score of the second class, and 1 - it of the first class"
        report.add(PART, "note", text)
    elif last == "sigmoid":
        text = "the model's scores are independent of each other (sigmoid), so their sum need not be 1"
        report.add(PART, "note", text)


def _check_preprocessing(report: Report, setting: str, first: FirstLayers | None, *, is_chosen: bool) -> None:
    """Compare the preprocessing with the model's layers. `is_chosen` is False if nothing was set."""
    found = guess(first)
    report.facts["preprocess"] = {"set": setting, "guess": found.name if found else None}
    chosen = f"INFERENCE_PREPROCESS={setting} {effect(setting)}"
    if found is None:
        text = (
            f"{chosen}; the model's layers do not show its preprocessing. Run `classification-server check"
            " FOLDER` with labelled images to find it."
        )
        report.add(PART, "note" if is_chosen else "warning", text)
    elif same_effect(found.name, setting):
        kind, ending = ("ok", "") if found.is_certain else ("note", ". Another training is possible")
        report.add(PART, kind, f"{chosen}, as expected because {found.reason}{ending}")
    elif found.is_certain or not is_chosen:
        advice = f"Set INFERENCE_PREPROCESS={found.name}, which {effect(found.name)}."
        report.add(PART, "warning", f"{chosen}, but {found.reason}. {advice}")
        report.advised["INFERENCE_PREPROCESS"] = found.name
    else:
        text = f"{chosen}, although {found.reason}. Such a model often needs {found.name}"
        report.add(PART, "note", text)
