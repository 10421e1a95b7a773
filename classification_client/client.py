"""The two clients, which perform the same calls: one blocks, the other uses asyncio."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar, Unpack

import httpx

from classification_client.calls import Call, Calls, Options, Pause, Read, Send, Step, Submitted
from classification_client.photo_stream import PhotoStream
from classification_client.photos import photos
from classification_client.results import Answer, Job, Outcome, Source

T = TypeVar("T")
HttpClient = TypeVar("HttpClient", httpx.Client, httpx.AsyncClient)

TRANSPORT_ERRORS = (httpx.TransportError, OSError)
"""Errors of a step that are thrown into the call, which handles them."""


class _Base(Generic[HttpClient]):
    """The properties of both clients.

    `key` is the API key. `timeout` is the maximum time without a sign of life from the server, in seconds.
    `patience` is for how many seconds broken connections and refusals (429, 503) are retried.

    Raises:
        ValueError: the address or the key is malformed.
    """

    _http_class: type[HttpClient]

    def __init__(self, url: str, *, key: str = "", timeout: float = 30.0, patience: float = 60.0) -> None:
        if not (key.isascii() and key.isprintable()):
            raise ValueError("key: expected printable ASCII characters, got others. Check the API key.")
        self._timeout = timeout
        self._calls = Calls(patience)
        self._http: HttpClient = self._http_class(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # A proxy that the environment names must not receive requests to this machine.
            trust_env=_host(url) not in ("localhost", "127.0.0.1", "::1"),
        )


def _host(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"url: expected an address such as http://localhost:8001, got {url!r}")
    return parts.host


def _advance(call: Call[T], result: Any) -> Step:
    """Give the result of the last step to the call, or throw its error; return the next step."""
    return call.throw(result) if isinstance(result, TRANSPORT_ERRORS) else call.send(result)


class Client(_Base[httpx.Client]):
    """A client whose calls block. Threads may share it.

    Options of a classification are `regions`, squares `(x, y, side)` in pixels, `top_n` and `consolidate`.
    For options that are not set, the server's defaults hold.
    """

    _http_class = httpx.Client

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, source: Source, *, timeout: float = 120.0, **options: Unpack[Options]) -> Answer:
        """Classify one photo, or regions of it, ahead of all submitted jobs.

        Raises:
            OSError: the file cannot be read.
            ClientError: there is no answer; see `classification_client.errors`.
        """
        return self._run(self._calls.classify(source, options, timeout))

    def submit(
        self, sources: Iterable[Source], *, submitted: Submitted | None = None, **options: Unpack[Options]
    ) -> list[str]:
        """Submit a job for each photo; return the jobs' ids.

        Many photos are sent in several forms. When the server has accepted a form, `submitted` is called with
        each photo and the id of its job, so these ids are known even if a later form fails.

        Raises:
            OSError: a file cannot be read.
            ClientError: the server refused photos, or did not answer.
        """
        return self._run(self._calls.submit(sources, options, submitted))

    def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Job]:
        """Return these jobs in the order of `ids` when all have ended.

        Raises:
            TimedOut: some had not ended within `timeout` seconds; they continue.
        """
        return self._run(self._calls.wait(ids, timeout))

    def job(self, job_id: str) -> Job:
        """Return the state of a job."""
        return self._run(self._calls.job(job_id))

    def cancel(self, job_id: str) -> bool:
        """Cancel a waiting job; False if it no longer waits."""
        return self._run(self._calls.cancel(job_id))

    def config(self) -> dict[str, Any]:
        """Return the server's configuration (`/cfg`)."""
        return dict(self._run(self._calls.get("/cfg")))

    def map(
        self,
        sources: Source | Iterable[Source],
        *,
        in_flight: int = 64,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
        **options: Unpack[Options],
    ) -> Iterator[Outcome]:
        """Classify any number of photos, or all photos in a folder and its subfolders.

        Yields the outcomes in the order in which the jobs end. A photo without an answer has an `error`. At
        most `in_flight` jobs are open, and one form's photos are in memory.

        `submitted` is called with each photo and the id of its job. To continue an earlier run, set `jobs` to
        the ids that were submitted then.

        Raises:
            ClientError: the server cannot be reached, or its error concerns more than a single photo.
        """
        stream = PhotoStream(self._calls, photos(sources), options, in_flight, jobs, submitted)
        while outcomes := self._run(stream.next_outcomes()):
            yield from outcomes

    def _run(self, call: Call[T]) -> T:
        result: Any = None
        while True:
            try:
                step = _advance(call, result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            result = self._do(step)

    def _do(self, step: Step) -> Any:
        try:
            match step:
                case Send():
                    return self._http.request(**step.arguments(self._timeout))
                case Pause():
                    return time.sleep(step.seconds)
                case Read():
                    return step.bytes()
        except TRANSPORT_ERRORS as error:
            return error


class AsyncClient(_Base[httpx.AsyncClient]):
    """A client with the same calls as coroutines, for asyncio."""

    _http_class = httpx.AsyncClient

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(self, source: Source, *, timeout: float = 120.0, **options: Unpack[Options]) -> Answer:
        """See `Client.classify`."""
        return await self._run(self._calls.classify(source, options, timeout))

    async def submit(
        self, sources: Iterable[Source], *, submitted: Submitted | None = None, **options: Unpack[Options]
    ) -> list[str]:
        """See `Client.submit`."""
        return await self._run(self._calls.submit(sources, options, submitted))

    async def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Job]:
        """See `Client.wait`."""
        return await self._run(self._calls.wait(ids, timeout))

    async def job(self, job_id: str) -> Job:
        """See `Client.job`."""
        return await self._run(self._calls.job(job_id))

    async def cancel(self, job_id: str) -> bool:
        """See `Client.cancel`."""
        return await self._run(self._calls.cancel(job_id))

    async def config(self) -> dict[str, Any]:
        """See `Client.config`."""
        return dict(await self._run(self._calls.get("/cfg")))

    async def map(
        self,
        sources: Source | Iterable[Source],
        *,
        in_flight: int = 64,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
        **options: Unpack[Options],
    ) -> AsyncIterator[Outcome]:
        """See `Client.map`."""
        stream = PhotoStream(self._calls, photos(sources), options, in_flight, jobs, submitted)
        while outcomes := await self._run(stream.next_outcomes()):
            for outcome in outcomes:
                yield outcome

    async def _run(self, call: Call[T]) -> T:
        result: Any = None
        while True:
            try:
                step = _advance(call, result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            result = await self._do(step)

    async def _do(self, step: Step) -> Any:
        try:
            match step:
                case Send():
                    return await self._http.request(**step.arguments(self._timeout))
                case Pause():
                    return await asyncio.sleep(step.seconds)
                case Read():
                    return await asyncio.to_thread(step.bytes)
        except TRANSPORT_ERRORS as error:
            return error
