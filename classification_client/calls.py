"""The client's operations as generators. `Client` and `AsyncClient` send the requests and read the files.

A generator yields a step, for example an HTTP request, and receives the step's result. `Client` performs the
steps with blocking calls. `AsyncClient` performs the steps with asyncio. If a step raises `OSError` or
`httpx.TransportError`, the client throws the error into the generator. In this way, both clients share the
code for retries, upload forms and answers.
"""

import contextlib
import itertools
import math
import random
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from uuid import uuid4

import httpx

from classification_client.errors import ClientError, Problem, TimedOut, Unreachable
from classification_client.results import Answer, Job, Source

T = TypeVar("T")

Submitted = Callable[[Source, str], None]
"""Callback that receives each submitted photo and the id of the photo's job."""

RETRIED = frozenset({429, 502, 503, 504})
"""HTTP statuses after which the client sends the same request again."""

IMAGE_ERRORS = frozenset({400, 413, 415, 422, 500})
"""HTTP error statuses with which the server may refuse a whole request because of one of its images."""

MAX_FORM_IMAGES = 16
MAX_FORM_BYTES = 8 * 2**20
"""Maximum total size of the images in one upload form, in bytes.

An image that is larger than this maximum is sent alone."""

MAX_IMAGE_BYTES = 512 * 2**20
"""Maximum size of an image file, in bytes.

The client does not read a larger file, because the server's upload limit is at most 512 MiB."""

MAX_IDS = 100
"""Maximum number of job ids in one status request."""

MAX_WAIT_SECONDS = 20.0
"""Maximum number of seconds for which a status request waits for a job's end.

A proxy between client and server may abort a longer wait."""

GRACE_SECONDS = 1.0
"""Number of seconds that the client still waits for the server's answer after the caller's deadline."""

CANCEL_SECONDS = 5.0
"""Maximum number of seconds for canceling a job after its caller's timeout."""


@dataclass(frozen=True)
class Send:
    """A step that sends an HTTP request; the step's result is the `httpx.Response`."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    images: Sequence[bytes] = ()
    wait: float = 0.0
    """Maximum number of seconds that the server may wait for a job's end before its answer."""
    left: float = math.inf
    """Seconds until the caller's deadline."""

    def arguments(self, timeout: float) -> dict[str, Any]:
        """Return this request as keyword arguments of `httpx.Client.request`."""
        # A file field of a form needs a file name. The photo's own name is private, and is possibly not valid
        # UTF-8.
        files = [("blob", ("image", image)) for image in self.images]
        limit = self.left + GRACE_SECONDS
        return {
            "method": self.method,
            "url": self.path,
            "headers": self.headers,
            "params": self.params,
            "data": self.fields,
            "files": files,
            "timeout": httpx.Timeout(min(timeout, limit), read=min(timeout + self.wait, limit)),
        }


@dataclass(frozen=True)
class Pause:
    """A step that waits for a number of seconds; the step has no result."""

    seconds: float


@dataclass(frozen=True)
class Read:
    """A step that reads a file; the step's result is the file's bytes."""

    path: Path

    def bytes(self) -> bytes:
        """Read the file.

        Raises:
            OSError: the file cannot be read, or is larger than `MAX_IMAGE_BYTES`.
        """
        if self.path.stat().st_size > MAX_IMAGE_BYTES:
            raise OSError(f"expected at most {MAX_IMAGE_BYTES // 2**20} MiB, got more. Shrink the image.")
        return self.path.read_bytes()


Step = Send | Pause | Read
Call = Generator[Step, Any, T]


class Options(TypedDict, total=False):
    """The options of a classification request.

    The server's default applies to an option that is missing or None.
    """

    regions: Iterable[tuple[int, int, int]] | None
    top_n: int | None
    consolidate: bool


def form_fields(options: Options) -> dict[str, str]:
    """Return the options as form fields of a request."""
    form = {}
    if (regions := options.get("regions")) is not None:
        form["regions"] = ";".join(",".join(map(str, each)) for each in regions)
    if (top_n := options.get("top_n")) is not None:
        form["top_n"] = str(top_n)
    if options.get("consolidate"):
        form["consolidate"] = "1"
    return form


@dataclass(frozen=True)
class Photo:
    """A photo, its bytes, and the number of its submissions. After the upload, the bytes are empty."""

    source: Source
    image: bytes = b""
    sent: int = 0


def has_room(form: Sequence[Photo], image: bytes) -> bool:
    """Return whether an upload form has room for one more image.

    An empty form has room for an image of any size.
    """
    size = sum(len(each.image) for each in form) + len(image)
    return not form or (len(form) < MAX_FORM_IMAGES and size <= MAX_FORM_BYTES)


@dataclass(frozen=True)
class Calls:
    """The operations that both clients offer, as generators of steps.

    `patience` is the maximum number of seconds for which the client retries a request. The client retries a
    request after a broken connection or an HTTP status in `RETRIED`.
    """

    patience: float

    def call(self, send: Send, deadline: float = math.inf) -> Call[httpx.Response]:
        """Send a request and return the response.

        If the server is unreachable or overloaded, the request is retried for up to `patience` seconds.

        Raises:
            Problem: the server answered with an error.
            Unreachable: the server could not be reached within `patience` seconds.
            TimedOut: the server gave no answer before `deadline`, a value of `time.monotonic()`.
        """
        end = time.monotonic() + self.patience
        for attempt in itertools.count():
            outcome, pause = yield from _attempt(replace(send, left=_left(deadline)), attempt)
            if isinstance(outcome, httpx.Response):
                return outcome
            if time.monotonic() + pause > end:
                raise outcome
            if pause > _left(deadline):
                raise TimedOut(f"no answer before the deadline; the last error: {outcome}") from outcome
            yield Pause(pause)
        raise AssertionError("not reached")

    def classify(self, source: Source, options: Options, timeout: float) -> Call[Answer]:
        """Classify one photo through the interactive queue.

        Raises:
            TimedOut: the photo had no answer within `timeout` seconds; the photo's job is canceled.
        """
        deadline = time.monotonic() + timeout
        image = yield from read(source)
        # With `respond-async`, the server returns the job's id, and the client then requests the job's full
        # result. An answer from the result cache also has a job id; this job has already ended.
        prefer = {"Prefer": "respond-async"}
        send = Send("POST", "/classify", prefer, fields=form_fields(options), images=[image])
        response = yield from self.call(send, deadline)
        job_id = response.headers["X-Job-Id"]
        try:
            while _left(deadline) > 0:
                job = yield from self.job(job_id, min(_left(deadline), MAX_WAIT_SECONDS), deadline)
                if job.ended:
                    return job.result()
            raise TimedOut(
                f"timeout: expected an answer within {timeout:g} s, got none. Set a longer timeout."
            )
        except TimedOut:
            with contextlib.suppress(ClientError):
                yield from self.cancel(job_id, time.monotonic() + CANCEL_SECONDS)
            raise

    def submit(
        self, sources: Iterable[Source], options: Options, submitted: Submitted | None = None
    ) -> Call[list[str]]:
        """Submit any number of photos in one or more requests; return the ids of the photos' jobs."""
        ids: list[str] = []
        form: list[Photo] = []
        fields = form_fields(options)
        for source in sources:
            image = yield from read(source)
            if not has_room(form, image):
                ids += yield from self.submit_form(form, fields, submitted)
                form = []
            form.append(Photo(source, image))
        if form:
            ids += yield from self.submit_form(form, fields, submitted)
        return ids

    def submit_form(
        self, form: Sequence[Photo], fields: dict[str, str], submitted: Submitted | None
    ) -> Call[list[str]]:
        """Submit photos in one request; return the ids of the photos' jobs.

        The request has an idempotency key, so a retry creates no second job for a photo.
        """
        key = {"Idempotency-Key": uuid4().hex}
        send = Send("POST", "/jobs", key, fields=fields, images=[photo.image for photo in form])
        jobs = (yield from self.call(send)).json()["jobs"]
        ids = [str(job["id"]) for job in jobs]
        if submitted is not None:
            for photo, job_id in zip(form, ids, strict=True):
                submitted(photo.source, job_id)
        return ids

    def job(self, job_id: str, wait: float = 0.0, deadline: float = math.inf) -> Call[Job]:
        """Wait until a job has ended, or until `wait` seconds have passed; return the job's state."""
        send = Send("GET", f"/jobs/{job_id}", params=_wait(wait), wait=wait)
        return Job.of((yield from self.call(send, deadline)).json())

    def jobs(self, ids: Sequence[str], wait: float = 0.0, deadline: float = math.inf) -> Call[list[Job]]:
        """Wait until a job ends, or until `wait` seconds have passed; return the states of all given jobs.

        A call accepts at most `MAX_IDS` job ids.
        """
        send = Send("GET", "/jobs", params={"ids": ",".join(ids), **_wait(wait)}, wait=wait)
        response = yield from self.call(send, deadline)
        return [Job.of(each) for each in response.json()["jobs"]]

    def wait(self, ids: Sequence[str], timeout: float | None) -> Call[list[Job]]:
        """Wait until all jobs have ended; return the jobs in the order of `ids`.

        Raises:
            TimedOut: some jobs had not ended within `timeout` seconds; these jobs are not canceled.
        """
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        ended: dict[str, Job] = {}
        remaining = dict.fromkeys(ids)
        while remaining:
            if _left(deadline) <= 0:
                raise TimedOut(f"{len(remaining)} of {len(ids)} jobs had not ended within {timeout:g} s")
            some = list(remaining)[:MAX_IDS]
            for job in (yield from self.jobs(some, min(_left(deadline), MAX_WAIT_SECONDS), deadline)):
                if job.ended:
                    ended[job.id] = job
                    remaining.pop(job.id, None)
        return [ended[each] for each in ids]

    def cancel(self, job_id: str, deadline: float = math.inf) -> Call[bool]:
        """Cancel a queued job; return False if the job has already started or ended."""
        try:
            yield from self.call(Send("DELETE", f"/jobs/{job_id}"), deadline)
        except Problem as problem:
            if problem.status != 409:
                raise
            return False
        return True

    def get(self, path: str) -> Call[Any]:
        """Send a GET request for a path; return the answer's parsed JSON."""
        return (yield from self.call(Send("GET", path))).json()


def read(source: Source) -> Call[bytes]:
    """Return a photo's bytes."""
    if isinstance(source, bytes):
        return source
    image = yield Read(Path(source))
    assert isinstance(image, bytes)  # noqa: S101 (for the type checker)
    return image


def _attempt(send: Send, attempt: int) -> Call[tuple[Any, float]]:
    """Send a request once; return the result and the number of seconds until the next attempt.

    The result is the response, or the error if the attempt failed.

    Raises:
        Problem: the server answered with an error that a retry would not change.
    """
    pause = min(0.2 * 2**attempt, 15.0) * random.uniform(0.5, 1.0)  # noqa: S311 (not a secret)
    try:
        response: httpx.Response = yield send
    except httpx.TransportError as error:
        return Unreachable(str(error) or type(error).__name__), pause
    if response.is_success:
        return response, 0.0
    problem = Problem.of(response)
    if problem.status not in RETRIED:
        raise problem
    return problem, pause if problem.retry_after is None else problem.retry_after


def _left(deadline: float) -> float:
    return deadline - time.monotonic()


def _wait(seconds: float) -> dict[str, str]:
    return {"wait": f"{seconds:.3f}"} if seconds > 0 else {}
