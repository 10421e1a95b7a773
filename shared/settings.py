"""Every setting of the service: one typed object, read once from environment variables.

`SETTINGS` is the table that the README repeats (a test compares the two). A wrong value stops the
start: `Settings.from_environ` raises one `SettingsError` that names every wrong variable, its value
and what is allowed.
"""

import difflib
import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from shared.api_keys import ApiKey, parse_keys
from shared.job import MAX_REGIONS
from shared.redis_url import check_redis_url
from shared.webhook import Allowed

PREPROCESS_NAMES = (
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_v2",
    "imagenet_utils",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "nasnet",
    "resnet",
    "resnet50",
    "resnet_v2",
    "vgg16",
    "vgg19",
    "xception",
)
"""The modules of `tf.keras.applications` that have a `preprocess_input` (a test compares)."""

OUR_PREFIXES = (
    *("INFERENCE_", "INPUT_", "SCHEDULER_", "SERVER_", "JOB_", "RESULT_", "MAX_", "BULK_"),
    *("WEBHOOK_", "API_KEY", "RATE_LIMIT"),
)


class SettingsError(ValueError):
    """One or more variables hold values that are not allowed; the message has a line for each."""


class Setting:
    """How one variable is read: its name, default, parser and one line of help.

    A secret one's value is in no message; its parser must keep it out of its own.
    """

    def __init__(
        self, name: str, default: Any, parse: Callable[[str], Any], help: str, *, secret: bool = False
    ) -> None:
        self.name, self.default, self.parse, self.help = name, default, parse, help
        self.secret = secret

    def read(self, environ: Mapping[str, str]) -> Any:
        """Return the value in `environ`, or the default where it is unset or empty.

        Raises:
            SettingsError: the value is not allowed.
        """
        text = environ.get(self.name, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            value = "" if self.secret else f"={text!r}"
            raise SettingsError(f"{self.name}{value} is not allowed: {error}") from None


def _setting(name: str, default: Any, parse: Callable[[str], Any], help: str, *, secret: bool = False) -> Any:
    setting = Setting(name, default, parse, help, secret=secret)
    return field(default=default, repr=not secret, metadata={"setting": setting})


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], Any]:
    word = "a whole number" if kind is int else "a number"

    def parse(text: str) -> int | float:
        allowed = f"it takes {word} from {least:g} to {most:g}"
        try:
            value = kind(text)
        except ValueError:
            raise ValueError(allowed) from None
        if not least <= value <= most:  # also refuses nan
            raise ValueError(allowed)
        return value

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() in allowed:
            return text.lower()
        near = difflib.get_close_matches(text.lower(), allowed, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"it takes one of {', '.join(allowed)}{hint}")

    return parse


def _channels(text: str) -> int:
    if text not in ("1", "3"):
        raise ValueError("it takes 1 (grey) or 3 (colour)")
    return int(text)


def _api_keys(text: str) -> tuple[ApiKey, ...]:
    return parse_keys(text.split(","), "key")


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


def _secrets(text: str) -> tuple[bytes, ...]:
    secrets = []
    for each in filter(None, map(str.strip, text.split(","))):
        try:
            secrets.append(b64decode(each.removeprefix("whsec_"), validate=True))
        except ValueError:
            secrets.append(b"")
    if not secrets or min(map(len, secrets)) < 16:
        raise ValueError("it takes whsec_ and base64 of at least 16 bytes; several are separated by commas")
    return tuple(secrets)


_MEBI = 2**20


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's settings; sizes in bytes or pixels, times in seconds."""

    model: Path = _setting(
        "INFERENCE_MODEL",
        Path("/model.h5"),
        Path,
        "path of the Keras model (.h5, .hdf5, .keras or a SavedModel folder)",
    )
    classes_file: Path = _setting(
        "INFERENCE_CLASSES_FILE",
        Path("/classes.txt"),
        Path,
        "one class name a line, in the order of the model's outputs",
    )
    thresholds_file: Path = _setting(
        "INFERENCE_THRESHOLDS_FILE", Path("/thresholds.csv"), Path, "per-class thresholds (CSV)"
    )
    minimum_threshold: float = _setting(
        "INFERENCE_MINIMUM_THRESHOLD", 0.5, _number(float, 0, 1), "scores at or below it are never accepted"
    )
    preprocess: str = _setting(
        "INFERENCE_PREPROCESS",
        "inception_v3",
        _one_of(*PREPROCESS_NAMES),
        "the module of tf.keras.applications whose preprocess_input is applied",
    )
    activation: str = _setting(
        "INFERENCE_ACTIVATION", "none", _one_of("none", "softmax"), "softmax for a model that ends in logits"
    )
    precision: str = _setting(
        "INFERENCE_PRECISION",
        "float32",
        _one_of("float32", "bfloat16"),
        "arithmetic of the model; bfloat16 is faster where the processor has it",
    )
    threads: int = _setting(
        "INFERENCE_THREADS",
        0,
        _number(int, 0, 1024),
        "cores that the model uses on a CPU; 0 is all of them",
    )
    input_height: int | None = _setting(
        "INPUT_HEIGHT",
        None,
        _number(int, 1, 4096),
        "height of the model's input; unset: the model's own, or 299 where it has none",
    )
    input_width: int | None = _setting(
        "INPUT_WIDTH", None, _number(int, 1, 4096), "width of the model's input; likewise"
    )
    input_channels: int | None = _setting(
        "INPUT_CHANNELS",
        None,
        _channels,
        "channels of the model's input (1 or 3); unset: the model's own, or 3",
    )
    input_color: str = _setting(
        "INPUT_COLOR", "rgb", _one_of("rgb", "bgr"), "order of the channels; bgr gives the original's scores"
    )
    input_resize: str = _setting(
        "INPUT_RESIZE",
        "antialias",
        _one_of("antialias", "bilinear", "nearest"),
        "filter that resizes to the model's input; bilinear is OpenCV's, nearest Keras' loader's",
    )
    input_batch: int = _setting(
        "INPUT_BATCH", 32, _number(int, 1, 1024), "most inputs (images and regions) in one run of the model"
    )
    region_order: str = _setting(
        "REGION_ORDER",
        "xy",
        _one_of("xy", "yx"),
        "order of a region's numbers: x,y,side, or y,x,side as the original's code read",
    )
    flush_interval: float = _setting(
        "SCHEDULER_FLUSH_INTERVAL",
        0.0,
        _number(float, 0, 60),
        "longest time to hold a partial batch open for more",
    )
    queue_size: int = _setting(
        "SCHEDULER_QUEUE_SIZE", 128, _number(int, 1, 100_000), "most waiting synchronous jobs; past it 429"
    )
    bulk_queue_size: int = _setting(
        "BULK_QUEUE_SIZE", 10_000, _number(int, 1, 10_000_000), "most waiting asynchronous jobs; past it 429"
    )
    max_queue_bytes: int = _setting(
        "MAX_QUEUE_BYTES",
        1024 * _MEBI,
        _number(int, 1, 2**40),
        "most bytes of images that wait or run, both kinds of job together",
    )
    redis_url: str | None = _setting(
        "REDIS_URL",
        None,
        check_redis_url,
        "the Redis or Valkey server, or its Sentinels; unset: the embedded one",
        secret=True,
    )
    server_host: str = _setting("SERVER_HOST", "0.0.0.0", str, "address the HTTP server listens on")  # noqa: S104
    server_port: int = _setting(
        "SERVER_PORT", 8001, _number(int, 1, 65535), "port the HTTP server listens on"
    )
    server_proxies: int = _setting(
        "SERVER_PROXIES",
        0,
        _number(int, 0, 16),
        "proxies in front, each of which adds the address it sees to X-Forwarded-For; with 0 it is ignored",
    )
    server_drain_seconds: float = _setting(
        "SERVER_DRAIN_SECONDS",
        0.0,
        _number(float, 0, 300),
        "how long a gateway that is told to stop takes requests yet, for a balancer to notice",
    )
    data_dir: Path | None = _setting(
        "SERVER_DATA_DIR",
        None,
        Path,
        "where the embedded Redis server keeps its data; unset: a folder of the user's, one a port",
    )
    fsync: str = _setting(
        "SERVER_FSYNC",
        "everysec",
        _one_of("everysec", "always"),
        "when the embedded Redis server's data are on disk: within a second, or before each answer",
    )
    request_timeout: float = _setting(
        "REQUEST_TIMEOUT",
        60.0,
        _number(float, 0.1, 3600),
        "longest wait of a synchronous request; past it 504",
    )
    batch_timeout: float = _setting(
        "BATCH_TIMEOUT",
        120.0,
        _number(float, 0, 86_400),
        "seconds in the model, or to decode its batch, after which a worker is hung and ended; 0 is never",
    )
    job_lease: float = _setting(
        "JOB_LEASE",
        15.0,
        _number(float, 1, 3600),
        "seconds without a sign of life after which a worker's jobs go to another",
    )
    job_max_attempts: int = _setting(
        "JOB_MAX_ATTEMPTS",
        3,
        _number(int, 1, 100),
        "times a job is begun, if workers die of it, before it fails; 1: nothing is run again",
    )
    result_ttl: int = _setting(
        "RESULT_TTL", 3600, _number(int, 1, 31_536_000), "seconds for which results and failures are kept"
    )
    result_cache_ttl: int = _setting(
        "RESULT_CACHE_TTL",
        0,
        _number(int, 0, 31_536_000),
        "seconds for which an answer serves equal requests, which then share one run; 0: never",
    )
    max_upload_bytes: int = _setting(
        "MAX_UPLOAD_BYTES", 20 * _MEBI, _number(int, 1, 512 * _MEBI), "largest image; past it 413"
    )
    max_image_pixels: int = _setting(
        "MAX_IMAGE_PIXELS", 100_000_000, _number(int, 1, 2**31), "most pixels of an image; past it 413"
    )
    max_regions: int = _setting(
        "MAX_REGIONS", 100, _number(int, 1, MAX_REGIONS), "most regions in one request"
    )
    max_jobs_per_request: int = _setting(
        "MAX_JOBS_PER_REQUEST",
        100,
        _number(int, 1, 1000),
        "most images in one asynchronous request, in all ten MAX_UPLOAD_BYTES",
    )
    webhook_secret: tuple[bytes, ...] | None = _setting(
        "WEBHOOK_SECRET",
        None,
        _secrets,
        "signs webhooks: whsec_ and base64, several with commas; unset: no webhooks",
        secret=True,
    )
    webhook_allow: Allowed = _setting(
        "WEBHOOK_ALLOW",
        Allowed(),
        Allowed.parse,
        "hosts, addresses and networks that webhooks may go to although they are not public",
    )
    webhook_workers: int = _setting(
        "WEBHOOK_WORKERS", 4, _number(int, 1, 256), "webhooks that are sent at the same time"
    )
    api_keys: tuple[ApiKey, ...] = _setting(
        "API_KEYS",
        (),
        _api_keys,
        "keys that callers must send, separated by commas (see Keys and limits); unset: anyone may call",
        secret=True,
    )
    api_keys_file: Path | None = _setting(
        "API_KEYS_FILE", None, Path, "a file with more keys, one a line, # before comments"
    )
    rate_limit: str | None = _setting(
        "RATE_LIMIT",
        None,
        str,
        "most requests of a key, or without keys of an address: 100/minute, or 10/second;1000/hour",
    )
    cors_origins: tuple[str, ...] = _setting(
        "CORS_ORIGINS", ("*",), _origins, "web pages' origins that may call, separated by commas; * is any"
    )
    log_format: str = _setting("LOG_FORMAT", "text", _one_of("text", "json"), "form of the log lines")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read all variables from `environ` (default: the process's).

        Raises:
            SettingsError: naming every variable that holds a value that is not allowed.
        """
        environ = os.environ if environ is None else environ
        values, wrong = {}, []
        for attribute, setting in table():
            try:
                values[attribute] = setting.read(environ)
            except SettingsError as error:
                wrong.append(str(error))
        if wrong:
            raise SettingsError("\n".join(wrong))
        return cls(**values)


def table() -> list[tuple[str, Setting]]:
    """The attribute and the `Setting` behind it, in the order of the documentation."""
    return [(each.name, each.metadata["setting"]) for each in fields(Settings)]


def redis_url(settings: Settings) -> str:
    """The Redis server's address, for a part that is started by hand.

    Raises:
        SettingsError: none is set.
    """
    if settings.redis_url is None:
        raise SettingsError(
            "REDIS_URL is not set: name the Redis server, or run `classification-server serve`"
        )
    return settings.redis_url


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """A warning for each variable that starts like ours but is none of ours, with the nearest name."""
    known = [setting.name for _, setting in table()]
    warnings = []
    for name in sorted(environ):
        if name.startswith(OUR_PREFIXES) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting of this service and is ignored{hint}")
    return warnings
