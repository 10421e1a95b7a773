"""All settings of the service, read from environment variables into one typed object.

The file docs/settings.md repeats the variables, their defaults and their meanings (a test compares both
files). `Settings.from_environ` reports all invalid values in one `SettingsError`.
"""

import difflib
import os
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from shared.api_keys import ApiKey, parse_keys
from shared.job import MAX_REGIONS
from shared.redis_url import check_redis_url
from shared.webhook import Allowed

PREPROCESS_NAMES = (
    *("convnext", "densenet", "efficientnet", "efficientnet_v2", "imagenet_utils", "inception_resnet_v2"),
    *("inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3", "nasnet", "resnet", "resnet50"),
    *("resnet_v2", "vgg16", "vgg19", "xception"),
)
"""The modules of `tf.keras.applications` that have a function `preprocess_input` (a test checks this)."""

PREPROCESS_CHOICES = ("unit", "none", "normalize", *PREPROCESS_NAMES)
"""The values of `INFERENCE_PREPROCESS`: calculations that need no module of Keras, and Keras' modules."""

OUR_PREFIXES = (
    *("INFERENCE_", "INPUT_", "SCHEDULER_", "SERVER_", "JOB_", "RESULT_", "MAX_", "BULK_"),
    *("WEBHOOK_", "API_KEY", "RATE_LIMIT"),
)
"""Prefixes of the service's variables; an unknown variable with such a prefix is probably misspelt."""


class SettingsError(ValueError):
    """One or more variables have invalid values; the error message has one line for each variable."""


@dataclass(frozen=True)
class Setting:
    """One environment variable: its name, default value, parser and meaning."""

    name: str
    default: Any
    parse: Callable[[str], Any]
    """Function that converts the variable's text into the value.

    Raises a `ValueError` such as "expected X, got Y"; for a secret, the error omits the value.
    """
    secret: bool = False
    help: str = ""
    """Meaning of the variable; the text before the first semicolon completes the error "Set it to the …"."""

    def means(self, help: str) -> Any:
        """Return a field of `Settings` for this variable, with `help` as the variable's meaning."""
        setting = replace(self, help=help)
        return field(default=self.default, repr=not self.secret, metadata={"setting": setting})

    def read(self, environ: Mapping[str, str]) -> Any:
        """Return the value in `environ`, or the default if the variable is unset or empty.

        Raises:
            SettingsError: the value is invalid.
        """
        text = environ.get(self.name, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            purpose = self.help.partition(";")[0]
            raise SettingsError(f"{self.name}: {error}. Set it to the {purpose}.") from None


def _number(kind: type[int] | type[float], minimum: float, maximum: float) -> Callable[[str], Any]:
    noun = "a whole number" if kind is int else "a number"

    def parse(text: str) -> int | float:
        with suppress(ValueError):
            value = kind(text)
            if minimum <= value <= maximum:  # this comparison is false if the value is nan
                return value
        raise ValueError(f"expected {noun} from {minimum} to {maximum}, got {text!r}")

    return parse


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() in allowed:
            return text.lower()
        near = difflib.get_close_matches(text.lower(), allowed, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"expected one of {', '.join(allowed)}, got {text!r}{hint}")

    return parse


def _channels(text: str) -> int:
    if text not in ("1", "3"):
        raise ValueError(f"expected 1 (grey) or 3 (colour), got {text!r}")
    return int(text)


def _of_channels(minimum: float, hint: str) -> Callable[[str], tuple[float, ...]]:
    """Return a parser of one number, or of three numbers with commas: one for each colour channel."""
    number = _number(float, minimum, 10)

    def parse(text: str) -> tuple[float, ...]:
        cells = text.replace(",", " ").split()
        try:
            if len(cells) in (1, 3):
                return tuple(map(number, cells))
        except ValueError:
            large = max(map(_or_zero, cells)) > 10
            raise ValueError(
                f"expected numbers from {minimum} to 10, got {text!r}{hint if large else ''}"
            ) from None
        raise ValueError(f"expected 1 number, or 3 numbers with commas between them, got {text!r}")

    return parse


def _or_zero(text: str) -> float:
    with suppress(ValueError):
        return float(text)
    return 0.0


def _api_keys(text: str) -> tuple[ApiKey, ...]:
    return parse_keys(text.split(","), "key")


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origin.strip().rstrip("/") for origin in text.split(",") if origin.strip())


def _secrets(text: str) -> tuple[bytes, ...]:
    with suppress(ValueError):
        written = filter(None, map(str.strip, text.split(",")))
        secrets = tuple(b64decode(each.removeprefix("whsec_"), validate=True) for each in written)
        if secrets and min(map(len, secrets)) >= 16:
            return secrets
    raise ValueError("expected whsec_ followed by the base64 of at least 16 bytes (the value is not shown)")


_MEBI = 2**20


MAX_PIXELS, MAX_JPEG_PIXELS = 100_000_000, 200_000_000
"""Default maximum number of pixels of an image, and of a JPEG image.

Only a JPEG image can be decoded at a reduced scale. A worker decodes at most `MAX_PIXELS` pixels at once, for
which it needs 400 MB of memory."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's settings. Lengths are in pixels, times in seconds."""

    model: Path = Setting("INFERENCE_MODEL", Path("/model.h5"), Path).means(
        "path of the Keras model: a .h5, .hdf5 or .keras file, or a SavedModel folder"
    )
    classes_file: Path = Setting("INFERENCE_CLASSES_FILE", Path("/classes.txt"), Path).means(
        "path of the text file with the class names, one per line, in the order of the model's outputs"
    )
    thresholds_file: Path = Setting("INFERENCE_THRESHOLDS_FILE", Path("/thresholds.csv"), Path).means(
        "path of the CSV file with the threshold of each class"
    )
    minimum_threshold: float = Setting("INFERENCE_MINIMUM_THRESHOLD", 0.5, _number(float, 0, 1)).means(
        "minimum threshold of every class; a prediction with a score at or below it is never accepted"
    )
    preprocess: str = Setting("INFERENCE_PREPROCESS", "inception_v3", _one_of(*PREPROCESS_CHOICES)).means(
        "preprocessing that the model was trained with; unit: pixels / 255; none: pixels from 0 to 255; "
        "normalize: (pixels / 255 - INFERENCE_MEAN) / INFERENCE_STD; other values: the module in "
        "tf.keras.applications whose preprocess_input prepared the training images"
    )
    mean: tuple[float, ...] | None = Setting(
        "INFERENCE_MEAN", None, _of_channels(-10, "; divide means of pixels from 0 to 255 by 255")
    ).means(
        "mean of pixels / 255 in the training images, as 1 number, or as 3 numbers with commas in the order "
        "of the model's channels; only for INFERENCE_PREPROCESS=normalize"
    )
    std: tuple[float, ...] | None = Setting(
        "INFERENCE_STD", None, _of_channels(1e-4, "; divide deviations of pixels from 0 to 255 by 255")
    ).means(
        "standard deviation of pixels / 255 in the training images, as 1 number, or as 3 numbers with "
        "commas; only for INFERENCE_PREPROCESS=normalize"
    )
    activation: str = Setting("INFERENCE_ACTIVATION", "none", _one_of("none", "softmax", "sigmoid")).means(
        "activation function that the worker applies to the model's output; softmax: for models whose "
        "output is logits; sigmoid: for models whose only output is a logit, or whose classes are independent"
    )
    output: str | None = Setting("INFERENCE_OUTPUT", None, str).means(
        "name or index (from 0) of the model's output that has the scores; unset: the only output"
    )
    precision: str = Setting(
        "INFERENCE_PRECISION", "float32", _one_of("float32", "tf32", "float16", "bfloat16")
    ).means(
        "number format of the model's arithmetic; on a GPU, tf32, float16 and bfloat16 are faster than "
        "float32; a CPU supports only float32 and bfloat16, and some processors run bfloat16 faster"
    )
    threads: int = Setting("INFERENCE_THREADS", 0, _number(int, 0, 1024)).means(
        "number of CPU cores that the model uses; 0: all cores"
    )
    device: str = Setting("INFERENCE_DEVICE", "auto", _one_of("auto", "cpu", "gpu")).means(
        "device that runs the model; auto: the GPU, or the CPU if there is no GPU; gpu: without a usable "
        "GPU, the worker does not start"
    )
    gpu_memory: int | None = Setting("INFERENCE_GPU_MEMORY", None, _number(int, 64, 2**20)).means(
        "maximum GPU memory in MiB that the model of one worker uses; unset: no maximum"
    )
    cache_dir: Path | None = Setting("INFERENCE_CACHE_DIR", None, Path).means(
        "folder in which a worker with a GPU keeps its compiled models, so that its next start is faster; "
        "unset: classification-server/xla in XDG_CACHE_HOME (default: ~/.cache)"
    )
    input_height: int | None = Setting("INPUT_HEIGHT", None, _number(int, 1, 4096)).means(
        "height of the model's input in pixels; unset: the height in the model file, or 299 if the file "
        "specifies no height"
    )
    input_width: int | None = Setting("INPUT_WIDTH", None, _number(int, 1, 4096)).means(
        "width of the model's input in pixels; unset: the width in the model file, or 299 if the file "
        "specifies no width"
    )
    input_channels: int | None = Setting("INPUT_CHANNELS", None, _channels).means(
        "number of channels of the model's input, 1 or 3; unset: the number in the model file, or 3 if the "
        "file specifies no number"
    )
    input_color: str = Setting("INPUT_COLOR", "rgb", _one_of("rgb", "bgr")).means(
        "order of the colour channels in the model's input; bgr: the original server's order"
    )
    input_resize: str = Setting(
        "INPUT_RESIZE", "antialias", _one_of("antialias", "bilinear", "nearest")
    ).means(
        "filter that resizes images to the model's input size; bilinear: as OpenCV resizes; "
        "nearest: as Keras' image loader resizes by default"
    )
    input_truncated: str = Setting("INPUT_TRUNCATED", "refuse", _one_of("refuse", "accept")).means(
        "treatment of images whose end is missing; accept: the worker classifies the rest of a JPEG, PNG, "
        "GIF, BMP or uncompressed TIFF image, and marks the result with truncated"
    )
    input_batch: int = Setting("INPUT_BATCH", 32, _number(int, 1, 1024)).means(
        "maximum number of inputs (images and regions) in one run of the model"
    )
    region_order: str = Setting("REGION_ORDER", "xy", _one_of("xy", "yx")).means(
        "order of the numbers of a square region; xy = x, y, side length; "
        "yx = y, x, side length, for clients of the server that this project replaces"
    )
    flush_interval: float = Setting("SCHEDULER_FLUSH_INTERVAL", 0.0, _number(float, 0, 60)).means(
        "maximum number of seconds for which a batch that is not full waits for more inputs; 0: no wait"
    )
    queue_size: int = Setting("SCHEDULER_QUEUE_SIZE", 128, _number(int, 1, 100_000)).means(
        "maximum number of jobs from POST /classify that wait in the queue; above it, the answer is 429"
    )
    bulk_queue_size: int = Setting("BULK_QUEUE_SIZE", 10_000, _number(int, 1, 10_000_000)).means(
        "maximum number of jobs from POST /jobs that wait in the queue; above it, the answer is 429"
    )
    max_queue_bytes: int = Setting("MAX_QUEUE_BYTES", 1024 * _MEBI, _number(int, 1, 2**40)).means(
        "maximum total size in bytes of the images of all waiting and running jobs; "
        "above it, the answer is 429"
    )
    redis_url: str | None = Setting("REDIS_URL", None, check_redis_url, secret=True).means(
        "address of the Redis or Valkey server, or of its Sentinels; unset: make serve starts an embedded "
        "Redis server"
    )
    server_host: str = Setting("SERVER_HOST", "0.0.0.0", str).means(  # noqa: S104
        "address on which the HTTP server listens"
    )
    server_port: int = Setting("SERVER_PORT", 8001, _number(int, 1, 65535)).means(
        "port on which the HTTP server listens"
    )
    server_proxies: int = Setting("SERVER_PROXIES", 0, _number(int, 0, 16)).means(
        "number of proxies in front of the server; each proxy must append the address of its client to "
        "X-Forwarded-For; 0: the server ignores this header"
    )
    server_drain_seconds: float = Setting("SERVER_DRAIN_SECONDS", 0.0, _number(float, 0, 300)).means(
        "number of seconds for which a gateway still accepts new requests after the stop signal, so that "
        "load balancers can switch to other gateways"
    )
    keep_alive_seconds: int = Setting("SERVER_KEEP_ALIVE_SECONDS", 75, _number(int, 1, 3600)).means(
        "number of seconds after which a gateway closes an idle connection; more than a proxy in front of "
        "the gateway keeps its idle connections (many proxies: 60 s)"
    )
    gateway_processes: int | None = Setting("WEB_CONCURRENCY", None, _number(int, 1, 1024)).means(
        "number of processes of one gateway; unset: one process for every two CPU cores, from 1 to 8; "
        "gunicorn refuses an empty value, unless `serve` starts gunicorn"
    )
    data_dir: Path | None = Setting("SERVER_DATA_DIR", None, Path).means(
        "folder for the embedded Redis server's data; "
        "unset: classification-server/PORT in XDG_STATE_HOME (default: ~/.local/state)"
    )
    fsync: str = Setting("SERVER_FSYNC", "everysec", _one_of("everysec", "always")).means(
        "moment when the embedded Redis server writes a change to disk; everysec: within a second; always: "
        "before it confirms the change"
    )
    request_timeout: float = Setting("REQUEST_TIMEOUT", 55.0, _number(float, 0.1, 3600)).means(
        "maximum number of seconds for which a POST /classify request waits for its result; after this "
        "time, the answer is 504; less than a proxy in front of the gateway waits (many proxies: 60 s)"
    )
    batch_timeout: float = Setting("BATCH_TIMEOUT", 120.0, _number(float, 0, 86_400)).means(
        "maximum seconds for each of two steps: decoding a batch's images, and running the model on them; "
        "if one step takes longer, the worker ends; 0: no limit"
    )
    job_lease: float = Setting("JOB_LEASE", 15.0, _number(float, 1, 3600)).means(
        "number of seconds without a heartbeat after which a worker counts as dead, so that other workers "
        "run its jobs"
    )
    job_max_attempts: int = Setting("JOB_MAX_ATTEMPTS", 3, _number(int, 1, 100)).means(
        "maximum number of attempts at a job (another attempt follows if the worker dies); 1: no second "
        "attempt"
    )
    result_ttl: int = Setting("RESULT_TTL", 3600, _number(int, 1, 31_536_000)).means(
        "number of seconds for which the results and errors of ended jobs are stored"
    )
    result_cache_ttl: int = Setting("RESULT_CACHE_TTL", 0, _number(int, 0, 31_536_000)).means(
        "number of seconds for which a stored answer is reused for equal requests; 0: no result cache"
    )
    max_upload_bytes: int = Setting("MAX_UPLOAD_BYTES", 20 * _MEBI, _number(int, 1, 512 * _MEBI)).means(
        "maximum size of an image file in bytes; above it, the answer is 413"
    )
    max_image_pixels: int | None = Setting("MAX_IMAGE_PIXELS", None, _number(int, 1, 2**31)).means(
        "maximum number of pixels of an image; above it, the answer is 413; unset: 100 million, and 200 "
        "million for a JPEG image that the worker can decode at half its size or less; AVIF: always at most "
        "55 million"
    )
    max_regions: int = Setting("MAX_REGIONS", 100, _number(int, 1, MAX_REGIONS)).means(
        "maximum number of regions in one request; above it, the answer is 422"
    )
    max_jobs_per_request: int = Setting("MAX_JOBS_PER_REQUEST", 100, _number(int, 1, 1000)).means(
        "maximum number of images in one POST /jobs request, with at most 10 × MAX_UPLOAD_BYTES in total; "
        "above either maximum, the answer is 413"
    )
    webhook_secret: tuple[bytes, ...] | None = Setting("WEBHOOK_SECRET", None, _secrets, secret=True).means(
        "secret that signs webhooks, written as whsec_ and base64; commas separate several secrets; "
        "unset: no webhooks"
    )
    webhook_allow: Allowed = Setting("WEBHOOK_ALLOW", Allowed(), Allowed.parse).means(
        "hosts, IP addresses and networks that are not public but may receive webhooks, separated by commas"
    )
    webhook_workers: int = Setting("WEBHOOK_WORKERS", 4, _number(int, 1, 256)).means(
        "maximum number of webhooks that a sender process sends at the same time"
    )
    api_keys: tuple[ApiKey, ...] = Setting("API_KEYS", (), _api_keys, secret=True).means(
        "API keys that callers must send, separated by commas; unset: no key is needed"
    )
    api_keys_file: Path | None = Setting("API_KEYS_FILE", None, Path).means(
        "path of a file with API keys in addition to API_KEYS, one key per line; # starts a comment"
    )
    rate_limit: str | None = Setting("RATE_LIMIT", None, str).means(
        "maximum request rate of each API key (without API keys: of each IP address), "
        "for example 100/minute or 10/second;1000/hour"
    )
    cors_origins: tuple[str, ...] = Setting("CORS_ORIGINS", ("*",), _origins).means(
        "origins of web pages that may call the server, separated by commas; *: all origins"
    )
    log_format: str = Setting("LOG_FORMAT", "text", _one_of("text", "json")).means(
        "format of the log lines: text or json"
    )

    @property
    def pixel_limits(self) -> tuple[int, int]:
        """The maximum number of pixels of an image, and of a JPEG image decoded at a reduced scale."""
        if self.max_image_pixels is not None:
            return self.max_image_pixels, self.max_image_pixels
        return MAX_PIXELS, MAX_JPEG_PIXELS

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read all variables from `environ` (default: the process's environment).

        Raises:
            SettingsError: some variables have invalid values; the message names all of them.
        """
        environ = os.environ if environ is None else environ
        values, errors = {}, []
        for attribute, setting in table():
            try:
                values[attribute] = setting.read(environ)
            except SettingsError as error:
                errors.append(str(error))
        if errors:
            raise SettingsError("\n".join(errors))
        settings = cls(**values)
        if errors := _normalize_errors(settings):
            raise SettingsError("\n".join(errors))
        return settings


def _normalize_errors(settings: Settings) -> list[str]:
    """Return an error for each of `INFERENCE_MEAN` and `INFERENCE_STD` that is missing or has no use."""
    errors = []
    for name, value in (("INFERENCE_MEAN", settings.mean), ("INFERENCE_STD", settings.std)):
        if settings.preprocess == "normalize" and value is None:
            errors.append(
                f"{name}: expected 1 or 3 numbers for INFERENCE_PREPROCESS=normalize, got nothing. Set it to"
                " the value from the model's training."
            )
        elif settings.preprocess != "normalize" and value is not None:
            errors.append(
                f"{name}: expected no value for INFERENCE_PREPROCESS={settings.preprocess}, got"
                f" {','.join(f'{each:g}' for each in value)}. Set INFERENCE_PREPROCESS=normalize, or unset"
                f" {name}."
            )
    return errors


def is_set(name: str, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a variable has a value in `environ` (default: the process's environment)."""
    return bool((os.environ if environ is None else environ).get(name, "").strip())


def table() -> list[tuple[str, Setting]]:
    """Return the name and the `Setting` of each attribute of `Settings`, in the order of docs/settings.md."""
    return [(each.name, each.metadata["setting"]) for each in fields(Settings)]


def redis_url(settings: Settings) -> str:
    """Return the value of `REDIS_URL`; it must be set for every process that `serve` does not start.

    Raises:
        SettingsError: `REDIS_URL` is not set.
    """
    if settings.redis_url is None:
        raise SettingsError(
            "REDIS_URL is not set. Set it to the Redis server's address or run `classification-server serve`."
        )
    return settings.redis_url


def unknown_names(environ: Mapping[str, str]) -> list[str]:
    """Return a warning, with the most similar setting, for each unknown variable with our prefixes."""
    known = [setting.name for _, setting in table()]
    warnings = []
    for name in sorted(environ):
        if name.startswith(OUR_PREFIXES) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting of this service and is ignored{hint}")
    return warnings
