"""`python -m worker`: load the model, then run jobs until a signal stops the worker.

Exit status 2 means that the settings or the model are invalid; standard error has the reason.
"""

import hashlib
import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from shared.logs import setup_logging
from shared.queue.worker_client import WorkerQueue
from shared.redis_connection import connect
from shared.settings import Settings, SettingsError, is_set, redis_url
from shared.startup import refuse_start
from shared.version import version

if TYPE_CHECKING:
    from worker.engine import Engine
    from worker.pipeline import Service

logger = logging.getLogger("worker")

WARM_UP_SHARE = 0.03
"""Duration of the warm-up before the worker is ready, as a share of the time for loading the model.

The rest of the warm-up follows while the worker runs jobs."""


def main() -> int:
    """Run the worker; return the process's exit status."""
    try:
        settings = Settings.from_environ()
        url = redis_url(settings)
    except SettingsError as error:
        return refuse_start(str(error))
    setup_logging(settings.log_format)
    from worker.model_allowlist import ModelError

    redis = connect(url)
    queue = WorkerQueue(redis, settings)
    try:
        service = _load(settings)
    except ModelError as error:
        with suppress(RedisError):  # /health/ready also shows the error, for users who can't see this output
            queue.fleet.fail_start(socket.gethostname(), str(error))
        return refuse_start(str(error))
    from worker.worker import BatchWorker, wait_for_redis

    wait_for_redis(redis)
    _announce_start(queue, service.description)
    threading.Thread(target=service.warm_up, name="warm-up", daemon=True).start()
    BatchWorker(redis, settings, service).serve()
    return 0


def _announce_start(queue: WorkerQueue, description: dict[str, Any]) -> None:
    """Log the version, the model and the description's warnings.

    If other workers have another model or other settings, a warning is logged too.
    """
    model = description["fingerprint"][:12]
    logger.info("version %s, model %s, thresholds %s", version(), model, description["thresholds"][:12])
    for warning in description["warnings"]:
        logger.warning("%s", warning)
    with suppress(RedisError):
        queue.fleet.started(socket.gethostname())
        served = queue.fleet.served()
        others = [each for each, _ in (served.models if served else ()) if each["id"] != description["id"]]
        if others:
            logger.warning(
                "other workers have other settings or another model (%s). Every answer has the fingerprint of"
                " its model. Stop the other workers, unless you are replacing the model",
                ", ".join(each["fingerprint"][:12] for each in others),
            )


def _load(settings: Settings) -> "Service":
    """Read the classes and thresholds files; then load and warm up the model.

    The files are read first, because reading them is fast and may already show an error.

    Raises:
        ModelError: the model, classes or thresholds are invalid, or do not match each other or the settings;
            or TensorFlow cannot use the device.
    """
    from worker.classes_file import check_class_count
    from worker.decide import Decider
    from worker.decode import PixelSpec
    from worker.engine import Engine
    from worker.pipeline import Service
    from worker.warm_up import warm_up

    start = time.monotonic()
    classes, thresholds = _read_label_files(settings)
    engine = Engine.build(settings)
    check_class_count(engine.graph.outputs, classes, settings.classes_file)
    rest = warm_up(engine, WARM_UP_SHARE * (time.monotonic() - start))
    return Service(
        model=engine,
        decider=Decider(classes, thresholds, settings.minimum_threshold),
        spec=PixelSpec.of(engine.graph.shape, settings),
        description=_describe(settings, engine, classes),
        jobs_per_second=engine.plan.inputs_per_second(),
        warm_up=rest,
        device=engine.device,
        is_device_lost=engine.graph.is_device_lost,
    )


def _read_label_files(settings: Settings) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return the classes and their thresholds, and log the remarks about their files.

    Raises:
        ModelError: a file is invalid.
    """
    from worker.classes_file import read_classes_file
    from worker.thresholds_file import read_thresholds_file

    classes = read_classes_file(settings.classes_file)
    thresholds = read_thresholds_file(settings.thresholds_file, classes.names)
    for remark in (*classes.remarks, *thresholds.remarks):
        logger.log(logging.WARNING if remark.kind == "warning" else logging.INFO, "%s", remark.text)
    return classes.names, {name: each.value for name, each in thresholds.thresholds.items()}


def _describe(settings: Settings, engine: "Engine", classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the model's description, which the gateways read.

    The description's `id` is a hash of all other values except the `warnings`.
    """
    from worker.preprocessing import normalization
    from worker.thresholds_file import provenance, provenance_warnings

    description = {
        "classes": list(classes),
        "height": engine.graph.shape[0],
        "width": engine.graph.shape[1],
        "channels": engine.graph.shape[2],
        "batch": settings.input_batch,
        "preprocess": settings.preprocess,
        **normalization(settings),
        **({"output": settings.output} if settings.output else {}),
        "activation": settings.activation,
        "precision": settings.precision,
        "color": settings.input_color,
        "resize": settings.input_resize,
        "minimum_threshold": settings.minimum_threshold,
        "fingerprint": engine.fingerprint,
        "thresholds": hashlib.sha256(settings.thresholds_file.read_bytes()).hexdigest(),
        "framework": engine.graph.loader,
    }
    running = provenance(settings, engine.fingerprint, engine.graph.shape)
    return {
        **description,
        "id": hashlib.sha256(repr(sorted(description.items())).encode()).hexdigest()[:16],
        "warnings": provenance_warnings(settings.thresholds_file, running)
        + _preprocess_warnings(settings, engine),
    }


def _preprocess_warnings(settings: Settings, engine: "Engine") -> list[str]:
    """Return a warning if nothing shows that the default preprocessing is the model's own.

    The thresholds file of a calibration with this model names the preprocessing too.
    """
    from worker.preprocessing_guess import default_warning
    from worker.thresholds_file import read_provenance

    calibrated = read_provenance(settings.thresholds_file)
    if is_set("INFERENCE_PREPROCESS") or calibrated.get("model") == engine.fingerprint:
        return []
    warning = default_warning(settings, engine.graph.first_layers)
    return [warning] if warning else []


if __name__ == "__main__":
    sys.exit(main())
