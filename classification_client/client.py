"""The two clients: `Client` with blocking methods, and `AsyncClient` with the same methods as coroutines."""

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
"""Errors that a step may raise. The client throws such an error into the generator that yielded the step."""


class _Base(Generic[HttpClient]):
    """The settings and the HTTP connections of a client.

    `url` is the server's address, and `key` is the API key. `timeout` is the maximum number of seconds to
    connect, or to wait for more data from the server. `patience` is the maximum number of seconds for which
    the client retries a request. The client retries a request after a broken connection or an HTTP status
    429, 502, 503 or 504.

    Raises:
        ValueError: `url` or `key` is malformed.
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
            # Requests to this machine must not go through a proxy from variables such as HTTP_PROXY.
            trust_env=_host(url) not in ("localhost", "127.0.0.1", "::1"),
        )


def _host(url: str) -> str:
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        parts = httpx.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(
            f"url: expected an address such as http://localhost:8001, got {url!r}. Correct the address."
        )
    return parts.host


def _advance(call: Call[T], result: Any) -> Step:
    """Resume the generator `call` with the last step's result or error; return the next step."""
    return call.throw(result) if isinstance(result, TRANSPORT_ERRORS) else call.send(result)


class Client(_Base[httpx.Client]):
    """A client with blocking methods. Several threads may share one client.

    A classification has three options: `regions` (squares `(x, y, side)` in pixels), `top_n` and
    `consolidate`. If an option is not set, the server's default applies.
    """

    _http_class = httpx.Client

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the server."""
        self._http.close()

    def classify(self, source: Source, *, timeout: float = 120.0, **options: Unpack[Options]) -> Answer:
        """Classify one photo, or regions of the photo; return the answer.

        The job is put into the interactive queue, which has priority over the bulk queue.

        Raises:
            OSError: the file cannot be read.
            ClientError: the photo got no answer. Each subclass of `ClientError` stands for one reason.
        """
        return self._run(self._calls.classify(source, options, timeout))

    def submit(
        self, sources: Iterable[Source], *, submitted: Submitted | None = None, **options: Unpack[Options]
    ) -> list[str]:
        """Submit a job for each photo; return the jobs' ids.

        If there are many photos, the client sends several requests. After the server has accepted a request,
        the client calls `submitted` once for each photo in the request. The arguments are the photo and the
        id of the photo's job. In this way, the caller knows the ids of all accepted jobs even if a later
        request fails.

        Raises:
            OSError: a file cannot be read.
            ClientError: the server refused photos, or did not answer.
        """
        return self._run(self._calls.submit(sources, options, submitted))

    def wait(self, ids: Sequence[str], *, timeout: float | None = None) -> list[Job]:
        """Wait until all jobs have ended; return the jobs in the order of `ids`.

        Raises:
            TimedOut: some jobs had not ended within `timeout` seconds; these jobs are not canceled.
        """
        return self._run(self._calls.wait(ids, timeout))

    def job(self, job_id: str) -> Job:
        """Return the state of a job."""
        return self._run(self._calls.job(job_id))

    def cancel(self, job_id: str) -> bool:
        """Cancel a queued job; return False if the job has already started or ended."""
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

        Yields an `Outcome` for each photo, in the order in which the jobs end. If a photo has no answer, the
        `error` of its `Outcome` has the reason. At most `in_flight` jobs are queued or running at a time. To
        save memory, the client loads only the photos of one request at a time.

        After each submission of a photo, the client calls `submitted` with the photo and the job's id. `jobs`
        maps photos to the job ids of an earlier, interrupted call of `map`. With `jobs`, a new call continues
        the interrupted call.

        Raises:
            ClientError: the server can't be reached, or answered with an error that no single photo caused.
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
    """A client for asyncio with the methods of `Client` as coroutines."""

    _http_class = httpx.AsyncClient

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to the server."""
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
