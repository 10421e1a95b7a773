"""Classifies any number of photos through the job API, with a limited number of jobs in flight."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from classification_client.calls import (
    IMAGE_ERRORS,
    MAX_FORM_IMAGES,
    MAX_IDS,
    MAX_WAIT_SECONDS,
    Call,
    Calls,
    Options,
    Photo,
    Submitted,
    form_fields,
    has_room,
    read,
)
from classification_client.errors import JobFailed, Problem
from classification_client.results import Job, Outcome, Source

MAX_SENT = 3
"""Maximum number of submissions of a photo; a photo is submitted again if the server has lost its job."""


class PhotoStream:
    """Submits more photos whenever earlier jobs end, and collects the outcome of each photo.

    At most `in_flight` jobs are queued or running at a time. The photos of only one request at a time are in
    memory. `jobs` has the job ids of photos that an earlier, interrupted stream submitted. A photo in `jobs`
    is submitted again only if the server no longer knows its job. `submitted` is called with each submitted
    photo and its job's id.
    """

    def __init__(
        self,
        calls: Calls,
        sources: Iterable[Source],
        options: Options,
        in_flight: int,
        jobs: Mapping[Source, str] | None = None,
        submitted: Submitted | None = None,
    ) -> None:
        if in_flight < 1:
            raise ValueError(f"in_flight: expected at least 1 job, got {in_flight}. Set a larger number.")
        self._calls, self._fields, self._in_flight = calls, form_fields(options), in_flight
        self._sources, self._has_more = iter(sources), True
        self._jobs, self._submitted = jobs or {}, submitted
        self._open: dict[str, Photo] = {}
        self._lost: list[Photo] = []

    def next_outcomes(self) -> Call[list[Outcome]]:
        """Return the outcomes of the next jobs that end; return an empty list after the last outcome.

        Raises:
            Problem: the server answered with an error that is not due to a single photo.
            Unreachable: the server could not be reached in all attempts within `patience` seconds.
        """
        while self._has_more or self._open or self._lost:
            outcomes = yield from self._fill()
            if self._open and not outcomes:
                outcomes = yield from self._collect()
            if outcomes:
                return outcomes
        return []

    def _fill(self) -> Call[list[Outcome]]:
        """Submit photos if `in_flight` permits a full request; return outcomes of photos without a job."""
        outcomes: list[Outcome] = []
        if self._open and self._in_flight - len(self._open) < min(MAX_FORM_IMAGES, self._in_flight):
            return outcomes
        form: list[Photo] = []
        while len(self._open) + len(form) < self._in_flight and (photo := self._next()):
            try:
                image = yield from read(photo.source)
            except OSError as error:
                outcomes.append(Outcome(photo.source, error=error))
                continue
            if not has_room(form, image):
                outcomes += yield from self._send(form)
                form = []
            form.append(replace(photo, image=image))
        if form:
            outcomes += yield from self._send(form)
        return outcomes

    def _next(self) -> Photo | None:
        """Return the next photo to submit; skip photos in `jobs`, whose jobs already exist."""
        if self._lost:
            return self._lost.pop()
        while len(self._open) < self._in_flight:
            source = next(self._sources, None)
            if source is None:
                self._has_more = False
                return None
            if source not in self._jobs:
                return Photo(source)
            self._open[self._jobs[source]] = Photo(source)
        return None

    def _send(self, form: list[Photo]) -> Call[list[Outcome]]:
        """Submit photos in one request; return the outcomes of refused photos.

        If the server refuses a request, each half of its photos is sent separately, until the invalid photo
        is alone in a request.
        """
        try:
            ids = yield from self._calls.submit_form(form, self._fields, self._submitted)
        except Problem as problem:
            if problem.status not in IMAGE_ERRORS:
                raise
            if len(form) == 1:
                return [Outcome(form[0].source, error=problem)]
            middle = len(form) // 2
            first = yield from self._send(form[:middle])
            return first + (yield from self._send(form[middle:]))
        for job_id, photo in zip(ids, form, strict=True):
            self._open[job_id] = Photo(photo.source, sent=photo.sent + 1)
        return []

    def _collect(self) -> Call[list[Outcome]]:
        """Wait up to `MAX_WAIT_SECONDS` until one of the oldest jobs ends; return ended jobs' outcomes."""
        oldest = [job_id for job_id, _ in zip(self._open, range(MAX_IDS), strict=False)]
        jobs = yield from self._calls.jobs(oldest, MAX_WAIT_SECONDS)
        return [outcome for job in jobs if job.ended and (outcome := self._outcome(job))]

    def _outcome(self, job: Job) -> Outcome | None:
        """Return the outcome of an ended job, or None if the photo must be submitted again."""
        photo = self._open.pop(job.id)
        if job.status == "unknown" and photo.sent < MAX_SENT:
            self._lost.append(photo)
            return None
        try:
            return Outcome(photo.source, answer=job.result())
        except JobFailed as failed:
            return Outcome(photo.source, error=failed)
