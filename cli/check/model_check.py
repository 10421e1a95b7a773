"""The check of a model: what its file says, whether it loads, and what its outputs and inputs ask for."""

from cli.check.findings import Report, warnings_of
from cli.check.model_file import ModelFile, read_model_file
from cli.check.preprocessing_guess import effect, guess, same_effect
from shared.settings import Settings
from worker.engine import Engine
from worker.model_allowlist import ModelError, inspect_model


def look_at_file(report: Report, settings: Settings) -> ModelFile | None:
    """Inspect the file as a start does, and tell what is in it, also where it is refused."""
    file = None
    with report.faults_of("model"):
        inspection = inspect_model(settings.model)
        report.facts["fingerprint"] = inspection.fingerprint
    if settings.model.exists():
        try:
            file = read_model_file(settings.model)
            _tell_file(report, file)
        except ModelError as error:
            # What matters of it, the inspection has said.
            if report.serves:
                report.add("model", "note", str(error))
    return file


def _tell_file(report: Report, file: ModelFile) -> None:
    report.facts |= {"form": file.form, "saved_by": file.saved_by}
    report.add("model", "ok", f"{file.form}, saved by {file.saved_by}")
    if not file.layers:
        return
    kinds = file.kinds
    count = sum(kinds.values())
    report.facts |= {"layers": dict(kinds), "parameters": file.parameters}
    common = [f"{number} {kind}" for kind, number in kinds.most_common(5)]
    listed = ", ".join(common + ["…"] * (len(kinds) > len(common)))
    parameters = "" if file.parameters is None else f", {file.parameters:,} parameters"
    report.add("model", "ok", f"{count} layers ({listed}){parameters}")
    if report.serves:
        report.add("model", "ok", "no Lambda or custom layers: loading it runs no code of the file's")


def look_at_engine(report: Report, settings: Settings, file: ModelFile | None) -> Engine | None:
    """Build the engine that would serve, unless there are faults already."""
    if not report.serves:
        return None
    engine = None
    with report.faults_of("model"), warnings_of("worker.engine") as warnings:
        engine = Engine.build(settings)
    if engine is None:
        return None
    report.facts |= {
        "input": [engine.height, engine.width, engine.channels],
        "outputs": engine.outputs,
        "loader": engine.loader,
    }
    size = f"{engine.height}×{engine.width} with {engine.channels} channels"
    report.add("model", "ok", f"loads ({engine.loader}); takes images of {size}")
    _look_at_activation(report, settings, file, engine.outputs, warnings)
    _look_at_preprocessing(report, settings, file, engine.channels)
    return engine


def _look_at_activation(
    report: Report, settings: Settings, file: ModelFile | None, outputs: int, warnings: list[str]
) -> None:
    last = file.activation if file else None
    report.facts["activation"] = last
    ends = f", from {last}" if last else ""
    report.add("model", "ok", f"gives {outputs} scores{ends}")
    if settings.activation == "none" and (last == "linear" or warnings):
        why = "its last layer has no activation" if last == "linear" else warnings[0].split(":")[0]
        report.add(
            "model", "warning", f"{why}: set INFERENCE_ACTIVATION=softmax if it was trained with logits"
        )
        report.advised["INFERENCE_ACTIVATION"] = "softmax"
    elif settings.activation == "softmax" and last in ("softmax", "sigmoid"):
        report.add("model", "warning", f"it ends in {last} already: unset INFERENCE_ACTIVATION")
        report.advised["INFERENCE_ACTIVATION"] = "none"
    elif last == "sigmoid":
        report.add("model", "note", "its scores are independent of each other, and need not sum to 1")


def _look_at_preprocessing(report: Report, settings: Settings, file: ModelFile | None, channels: int) -> None:
    found = guess(file.layers) if file else None
    chosen = settings.preprocess
    does = (
        f"INFERENCE_PREPROCESS={chosen} {effect(chosen)}"
        if channels == 3
        else f"INFERENCE_PREPROCESS={chosen}"
    )
    report.facts["preprocess"] = {"set": chosen, "guess": found.name if found else None}
    if found is None or channels != 3:
        report.add(
            "model",
            "note",
            f"nothing in it tells its preprocessing; {does}: if answers look random, look there first",
        )
    elif same_effect(found.name, chosen):
        report.add("model", "ok", f"{does}, as it should: {found.reason}")
    else:
        report.add(
            "model",
            "warning",
            f"{does}, but {found.reason}: set INFERENCE_PREPROCESS={found.name}, which {effect(found.name)}",
        )
        report.advised["INFERENCE_PREPROCESS"] = found.name
