"""What a client does, without doing any I/O: generators that yield what they need and are sent the answer.

`Client` and `AsyncClient` perform the same steps, each in its own way, and throw into the flow what goes
wrong (`OSError`, `httpx.TransportError`). So retries, forms and answers are written once.
"""

import contextlib
import itertools
import math
import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from classification_client.errors import ClientError, Problem, TimedOut, Unreachable
from classification_client.results import Answer, Job, Source

T = TypeVar("T")

Submitted = Callable[[Source, str], None]
"""Is told of each photo that was taken, and of its job's id."""

NOT_NOW = frozenset({429, 502, 503, 504})
"""Statuses that say: the same again, later."""

ABOUT_THE_IMAGE = frozenset({400, 413, 415, 422, 500})
"""Statuses that another image might not have got."""

GROUP_IMAGES = 16
GROUP_BYTES = 8 * 2**20
"""Most images and bytes that are sent together; an image that is larger goes alone."""

LARGEST_BYTES = 512 * 2**20
"""No server takes a larger image, so that it is not read either."""

MAX_IDS = 100
"""Jobs that one request may ask for."""

POLL_SECONDS = 20.0
"""How long the server holds a question for jobs that have not ended; proxies cut longer ones off."""

GRACE_SECONDS = 1.0
"""How much later than the caller's time the last answer may come; the server holds it until then."""

CANCEL_SECONDS = 5.0
"""How long to try to cancel a job that nobody waits for any more."""


@dataclass(frozen=True)
class Send:
    """Send a request; the answer is the `httpx.Response`, read."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    form: dict[str, str] = field(default_factory=dict)
    images: Sequence[bytes] = ()
    held: float = 0.0
    """Seconds that the server may take longer than usual."""
    left: float = math.inf
    """Seconds that the caller still has."""

    def arguments(self, timeout: float) -> dict[str, Any]:
        """What both of httpx' clients take."""
        # A file needs a name to be a file. The photo's own is nobody's business, and need not be UTF-8.
        files = [("blob", ("image", image)) for image in self.images]
        return {
            "method": self.method,
            "url": self.path,
            "headers": self.headers,
            "params": self.params,
            "data": self.form,
            "files": files,
            "timeout": httpx.Timeout(
                min(timeout, self.left + GRACE_SECONDS),
                read=min(timeout + self.held, self.left + GRACE_SECONDS),
            ),
        }


@dataclass(frozen=True)
class Pause:
    """Wait; there is no answer."""

    seconds: float


@dataclass(frozen=True)
class Read:
    """Read a file; the answer is its bytes."""

    path: Path

    def bytes(self) -> bytes:
        """Do it.

        Raises:
            OSError: the file can't be read, or is larger than any server takes.
        """
        if self.path.stat().st_size > LARGEST_BYTES:
            raise OSError(f"it is larger than {LARGEST_BYTES // 2**20} MiB, which no server takes")
        return self.path.read_bytes()


Step = Send | Pause | Read
Flow = Generator[Step, Any, T]


@dataclass(frozen=True)
class Asked:
    """What is asked of each image, as the form's fields."""

    form: dict[str, str]

    @classmethod
    def of(
        cls, regions: Iterable[tuple[int, int, int]] | None, top_n: int | None, consolidate: bool
    ) -> "Asked":
        """What is None is left to the server."""
        form = {}
        if regions is not None:
            form["regions"] = ";".join(",".join(map(str, each)) for each in regions)
        if top_n is not None:
            form["top_n"] = str(top_n)
        if consolidate:
            form["consolidate"] = "1"
        return cls(form)


@dataclass(frozen=True)
class Flight:
    """A photo, and how often it was sent."""

    source: Source
    sent: int = 0


@dataclass
class Group:
    """Photos that are sent together."""

    flights: list[Flight] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)

    def takes(self, image: bytes) -> bool:
        """Whether there is room for one more; an empty group takes any."""
        size = sum(map(len, self.images)) + len(image)
        return not self.images or (len(self.images) < GROUP_IMAGES and size <= GROUP_BYTES)

    def add(self, flight: Flight, image: bytes) -> None:
        """Add a photo."""
        self.flights.append(flight)
        self.images.append(image)

    def halves(self) -> Iterator["Group"]:
        """Two groups with the photos of this one."""
        middle = len(self.images) // 2
        for part in (slice(None, middle), slice(middle, None)):
            yield Group(self.flights[part], self.images[part])


@dataclass(frozen=True)
class Flows:
    """The calls. `patience` is for how many seconds to go on with what breaks or is put off."""

    patience: float

    def call(self, send: Send, until: float = math.inf) -> Flow[httpx.Response]:
        """Send it until it is answered with other than "not now", or the caller's time is over.

        Raises:
            Problem: the answer is an error.
            Unreachable: there was none.
            TimedOut: there is none by `until`, by the monotonic clock.
        """
        end = time.monotonic() + self.patience
        for attempt in itertools.count():
            failure, seconds = yield from _attempt(replace(send, left=_left(until)), attempt)
            if isinstance(failure, httpx.Response):
                return failure
            if time.monotonic() + seconds > end:
                raise failure
            if seconds > _left(until):
                raise TimedOut(f"there was no answer in the time given: {failure}") from failure
            yield Pause(seconds)
        raise AssertionError("not reached")

    def classify(self, source: Source, asked: Asked, timeout: float) -> Flow[Answer]:
        """One image, before those of `submit`.

        Raises:
            TimedOut: the time is over; the job is canceled.
        """
        until = time.monotonic() + timeout
        image = yield from read(source)
        # An answer that is kept comes at once all the same; it, too, has a job, which has the whole result.
        prefer = {"Prefer": "respond-async"}
        send = Send("POST", "/classify", prefer, form=asked.form, images=[image])
        response = yield from self.call(send, until)
        job_id = response.headers["X-Job-Id"]
        try:
            while _left(until) > 0:
                job = yield from self.job(job_id, min(_left(until), POLL_SECONDS), until)
                if job.ended:
                    return job.result()
            raise TimedOut(f"there was no answer within {timeout:g} s")
        except TimedOut:
            yield from self._let_go(job_id)
            raise

    def submit(self, images: Sequence[bytes], asked: Asked) -> Flow[list[str]]:
        """One form of images, a job each; sent twice, it still makes each job once."""
        key = {"Idempotency-Key": uuid4().hex}
        response = yield from self.call(Send("POST", "/jobs", key, form=asked.form, images=images))
        return [str(each["id"]) for each in response.json()["jobs"]]

    def submit_all(
        self, sources: Iterable[Source], asked: Asked, submitted: Submitted | None = None
    ) -> Flow[list[str]]:
        """Any number of images, in forms of bounded size."""
        ids: list[str] = []
        group = Group()
        for source in sources:
            image = yield from read(source)
            if not group.takes(image):
                ids += yield from self._submit_group(group, asked, submitted)
                group = Group()
            group.add(Flight(source), image)
        if group.images:
            ids += yield from self._submit_group(group, asked, submitted)
        return ids

    def _submit_group(self, group: Group, asked: Asked, submitted: Submitted | None) -> Flow[list[str]]:
        ids = yield from self.submit(group.images, asked)
        if submitted is not None:
            for flight, job_id in zip(group.flights, ids, strict=True):
                submitted(flight.source, job_id)
        return ids

    def job(self, job_id: str, wait: float = 0.0, until: float = math.inf) -> Flow[Job]:
        """What is known of a job, after `wait` seconds or when it has ended."""
        response = yield from self.call(Send("GET", f"/jobs/{job_id}", params=_wait(wait), held=wait), until)
        return Job.of(response.json())

    def jobs(self, ids: Sequence[str], wait: float = 0.0, until: float = math.inf) -> Flow[list[Job]]:
        """The same for up to `MAX_IDS` jobs, as soon as any of them has ended."""
        params = {"ids": ",".join(ids), **_wait(wait)}
        response = yield from self.call(Send("GET", "/jobs", params=params, held=wait), until)
        return [Job.of(each) for each in response.json()["jobs"]]

    def wait(self, ids: Sequence[str], timeout: float | None) -> Flow[list[Job]]:
        """All of these jobs, ended, in the order of `ids`.

        Raises:
            TimedOut: the time is over; the jobs live on.
        """
        until = math.inf if timeout is None else time.monotonic() + timeout
        ended: dict[str, Job] = {}
        while open_ids := [each for each in dict.fromkeys(ids) if each not in ended]:
            if _left(until) <= 0:
                raise TimedOut(f"{len(open_ids)} of {len(ids)} jobs had not ended within {timeout:g} s")
            found = yield from self.jobs(open_ids[:MAX_IDS], min(_left(until), POLL_SECONDS), until)
            ended |= {job.id: job for job in found if job.ended}
        return [ended[each] for each in ids]

    def cancel(self, job_id: str, until: float = math.inf) -> Flow[bool]:
        """Cancel a job that still waits; False if it was too late."""
        try:
            yield from self.call(Send("DELETE", f"/jobs/{job_id}"), until)
        except Problem as problem:
            if problem.status != 409:
                raise
            return False
        return True

    def _let_go(self, job_id: str) -> Flow[None]:
        """Cancel a job if that is possible; the caller hears of another error."""
        with contextlib.suppress(ClientError):
            yield from self.cancel(job_id, time.monotonic() + CANCEL_SECONDS)

    def get(self, path: str) -> Flow[Any]:
        """The JSON at a path."""
        return (yield from self.call(Send("GET", path))).json()


def read(source: Source) -> Flow[bytes]:
    """A photo's bytes."""
    if isinstance(source, bytes):
        return source
    image = yield Read(Path(source))
    assert isinstance(image, bytes)  # noqa: S101 (for the type checker)
    return image


def _attempt(send: Send, attempt: int) -> Flow[tuple[Any, float]]:
    """The good answer, or what was wrong and how long to wait before the next attempt.

    Raises:
        Problem: there should be no next attempt.
    """
    pause = min(0.2 * 2**attempt, 15.0) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
    try:
        response: httpx.Response = yield send
    except httpx.TransportError as error:
        return Unreachable(str(error) or type(error).__name__), pause
    if response.is_success:
        return response, 0.0
    problem = Problem.of(response)
    if problem.status not in NOT_NOW:
        raise problem
    return problem, pause if problem.retry_after is None else problem.retry_after


def _left(until: float) -> float:
    return until - time.monotonic()


def _wait(seconds: float) -> dict[str, str]:
    return {"wait": f"{seconds:.3f}"} if seconds > 0 else {}
