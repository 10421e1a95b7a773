"""Any number of photos through the job API, a bounded number of them at a time."""

from collections.abc import Iterable, Mapping

from classification_client.errors import JobFailed, Problem
from classification_client.flows import (
    ABOUT_THE_IMAGE,
    GROUP_IMAGES,
    MAX_IDS,
    POLL_SECONDS,
    Asked,
    Flight,
    Flow,
    Flows,
    Group,
    Submitted,
    read,
)
from classification_client.results import Job, Outcome, Source

MAX_LOST = 3
"""Times that a photo is sent, if the server forgets its job."""


class Window:
    """The photos that are on their way, and those that are not yet.

    No more than `in_flight` jobs are open at once, and no more bytes in memory than one form's. A photo with
    an id in `jobs` was sent by an earlier run: it is sent again only if the server no longer knows that job.
    `submitted` is told of each new job.
    """

    def __init__(
        self,
        flows: Flows,
        sources: Iterable[Source],
        asked: Asked,
        *,
        in_flight: int,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
    ) -> None:
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}, and must be at least 1")
        self._flows, self._asked, self._in_flight = flows, asked, in_flight
        self._sources, self._more = iter(sources), True
        self._jobs, self._submitted = jobs or {}, submitted
        self._open: dict[str, Flight] = {}
        self._lost: list[Flight] = []

    def turn(self) -> Flow[list[Outcome]]:
        """The next outcomes, in the order in which they come; none when all have come.

        Raises:
            Problem: the server refuses more than a single photo.
            Unreachable: the line is broken.
        """
        while self._more or self._open or self._lost:
            outcomes = yield from self._fill()
            if self._open and not outcomes:
                outcomes = yield from self._collect()
            if outcomes:
                return outcomes
        return []

    def _fill(self) -> Flow[list[Outcome]]:
        """Send photos, once there is room for a whole form."""
        outcomes: list[Outcome] = []
        if self._open and self._in_flight - len(self._open) < min(GROUP_IMAGES, self._in_flight):
            return outcomes
        group = Group()
        while len(self._open) + len(group.images) < self._in_flight and (flight := self._next()):
            try:
                image = yield from read(flight.source)
            except OSError as error:
                outcomes.append(Outcome(flight.source, error=error))
                continue
            if not group.takes(image):
                outcomes += yield from self._send(group)
                group = Group()
            group.add(flight, image)
        if group.images:
            outcomes += yield from self._send(group)
        return outcomes

    def _next(self) -> Flight | None:
        """The next photo to send; those that have a job already are waited for instead."""
        if self._lost:
            return self._lost.pop()
        while len(self._open) < self._in_flight:
            source = next(self._sources, None)
            if source is None:
                self._more = False
                return None
            if source not in self._jobs:
                return Flight(source, 0)
            self._open[self._jobs[source]] = Flight(source, 0)
        return None

    def _send(self, group: Group) -> Flow[list[Outcome]]:
        """Send a form; if it is refused for one of its photos, send its halves, down to that one."""
        try:
            ids = yield from self._flows.submit(group.images, self._asked)
        except Problem as problem:
            if problem.status not in ABOUT_THE_IMAGE:
                raise
            if len(group.images) == 1:
                return [Outcome(group.flights[0].source, error=problem)]
            outcomes: list[Outcome] = []
            for half in group.halves():
                outcomes += yield from self._send(half)
            return outcomes
        for job_id, flight in zip(ids, group.flights, strict=True):
            self._open[job_id] = Flight(flight.source, flight.sent + 1)
            if self._submitted is not None:
                self._submitted(flight.source, job_id)
        return []

    def _collect(self) -> Flow[list[Outcome]]:
        """Wait until some of the oldest jobs have ended; none if it takes long."""
        oldest = [job_id for job_id, _ in zip(self._open, range(MAX_IDS), strict=False)]
        jobs = yield from self._flows.jobs(oldest, POLL_SECONDS)
        return [outcome for job in jobs if job.ended and (outcome := self._outcome(job))]

    def _outcome(self, job: Job) -> Outcome | None:
        """What an ended job says of its photo; none if the photo is to be sent again."""
        flight = self._open.pop(job.id)
        if job.status == "unknown" and flight.sent < MAX_LOST:
            self._lost.append(flight)
            return None
        try:
            return Outcome(flight.source, answer=job.result())
        except JobFailed as failed:
            return Outcome(flight.source, error=failed)
