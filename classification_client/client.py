"""The two clients: the same flows, with httpx' blocking and its asynchronous input and output."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import httpx

from classification_client.flows import Asked, Flow, Flows, Pause, Read, Send, Step, Submitted
from classification_client.photos import photos
from classification_client.results import Answer, Job, Outcome, Source
from classification_client.window import Window

T = TypeVar("T")

Squares = Iterable[tuple[int, int, int]]
"""Regions of a photo, `(x, y, side)` in pixels."""

WRONG = (httpx.TransportError, OSError)
"""What is thrown into a flow, which knows what to do."""


class _Base:
    """What both clients know: where the server is, and how patient to be.

    `key` is the API key. `timeout` is for how many seconds the server may give no sign of life; `patience`
    for how many to go on with what breaks or is put off (429, 503), before it is an error. An address or a
    key that can't be one is a ValueError.
    """

    def __init__(self, url: str, *, key: str = "", timeout: float = 30.0, patience: float = 60.0) -> None:
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the key has characters that no key has")
        self._timeout = timeout
        self._flows = Flows(patience)
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": {"Authorization": f"Bearer {key}"} if key else {},
            # A proxy that the environment names is not for our own machine.
            "trust_env": _host(url) not in ("localhost", "127.0.0.1", "::1"),
        }


def _host(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url!r} is no address of a server, such as http://localhost:8001")
    return parts.host


class Client(_Base):
    """Calls a server, and blocks meanwhile. Threads may share it."""

    def __init__(self, url: str, *, key: str = "", timeout: float = 30.0, patience: float = 60.0) -> None:
        super().__init__(url, key=key, timeout=timeout, patience=patience)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(
        self,
        source: Source,
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        timeout: float = 120.0,
    ) -> Answer:
        """Classify one photo, or squares `(x, y, side)` of it, ahead of all that was submitted.

        Raises:
            OSError: the file can't be read.
            ClientError: there is no answer; see `classification_client.errors`.
        """
        return self._run(self._flows.classify(source, Asked.of(regions, top_n, consolidate), timeout))

    def submit(
        self,
        sources: Iterable[Source],
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        submitted: Submitted | None = None,
    ) -> list[str]:
        """Queue photos, a job each; return the jobs' ids.

        Many photos are sent in several forms. `submitted` is called with each photo and the id of its job as
        soon as its form is taken: so these ids are known even if a later photo or form fails.

        Raises:
            OSError: a file can't be read.
            ClientError: photos were refused, or not taken.
        """
        return self._run(self._flows.submit_all(sources, Asked.of(regions, top_n, consolidate), submitted))

    def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Job]:
        """Return these jobs once all have ended, in the order of `ids`.

        Raises:
            TimedOut: they had not within `timeout` seconds; they live on.
        """
        return self._run(self._flows.wait(ids, timeout))

    def job(self, job_id: str) -> Job:
        """What is known of a job now."""
        return self._run(self._flows.job(job_id))

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that still waits; False if it was too late."""
        return self._run(self._flows.cancel(job_id))

    def config(self) -> dict[str, Any]:
        """What is served, as `/cfg` has it."""
        return dict(self._run(self._flows.get("/cfg")))

    def map(
        self,
        sources: Source | Iterable[Source],
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        in_flight: int = 64,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
    ) -> Iterator[Outcome]:
        """Classify any number of photos, or all files in and below a folder; yields them as they are done.

        At most `in_flight` jobs are open, and one form's photos in memory. A photo without an answer is an
        `Outcome` with an `error`, and the others go on.

        To go on from an earlier run, `jobs` has the ids of photos that were submitted then; `submitted` is
        called with each photo and the id of its job.

        Raises:
            ClientError: the server can't be reached, or refuses more than a single photo.
        """
        asked = Asked.of(regions, top_n, consolidate)
        options: dict[str, Any] = {"in_flight": in_flight, "jobs": jobs, "submitted": submitted}
        window = Window(self._flows, photos(sources), asked, **options)
        while outcomes := self._run(window.turn()):
            yield from outcomes

    def _run(self, flow: Flow[T]) -> T:
        answer: Any = None
        while True:
            try:
                step = flow.throw(answer) if isinstance(answer, WRONG) else flow.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer = self._do(step)

    def _do(self, step: Step) -> Any:
        try:
            match step:
                case Send():
                    return self._http.request(**step.arguments(self._timeout))
                case Pause():
                    return time.sleep(step.seconds)
                case Read():
                    return step.bytes()
        except WRONG as error:
            return error


class AsyncClient(_Base):
    """The same calls as `Client`'s, for asyncio."""

    def __init__(self, url: str, *, key: str = "", timeout: float = 30.0, patience: float = 60.0) -> None:
        super().__init__(url, key=key, timeout=timeout, patience=patience)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self,
        source: Source,
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        timeout: float = 120.0,
    ) -> Answer:
        """As `Client.classify`."""
        return await self._run(self._flows.classify(source, Asked.of(regions, top_n, consolidate), timeout))

    async def submit(
        self,
        sources: Iterable[Source],
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        submitted: Submitted | None = None,
    ) -> list[str]:
        """As `Client.submit`."""
        return await self._run(
            self._flows.submit_all(sources, Asked.of(regions, top_n, consolidate), submitted)
        )

    async def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Job]:
        """As `Client.wait`."""
        return await self._run(self._flows.wait(ids, timeout))

    async def job(self, job_id: str) -> Job:
        """As `Client.job`."""
        return await self._run(self._flows.job(job_id))

    async def cancel(self, job_id: str) -> bool:
        """As `Client.cancel`."""
        return await self._run(self._flows.cancel(job_id))

    async def config(self) -> dict[str, Any]:
        """As `Client.config`."""
        return dict(await self._run(self._flows.get("/cfg")))

    async def map(
        self,
        sources: Source | Iterable[Source],
        *,
        regions: Squares | None = None,
        top_n: int | None = None,
        consolidate: bool = False,
        in_flight: int = 64,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
    ) -> AsyncIterator[Outcome]:
        """As `Client.map`."""
        asked = Asked.of(regions, top_n, consolidate)
        options: dict[str, Any] = {"in_flight": in_flight, "jobs": jobs, "submitted": submitted}
        window = Window(self._flows, photos(sources), asked, **options)
        while outcomes := await self._run(window.turn()):
            for outcome in outcomes:
                yield outcome

    async def _run(self, flow: Flow[T]) -> T:
        answer: Any = None
        while True:
            try:
                step = flow.throw(answer) if isinstance(answer, WRONG) else flow.send(answer)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            answer = await self._do(step)

    async def _do(self, step: Step) -> Any:
        try:
            match step:
                case Send():
                    return await self._http.request(**step.arguments(self._timeout))
                case Pause():
                    return await asyncio.sleep(step.seconds)
                case Read():
                    return await asyncio.to_thread(step.bytes)
        except WRONG as error:
            return error
