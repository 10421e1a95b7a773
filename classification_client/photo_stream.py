"""Classifies any number of photos through the job API, with a limited number of jobs at a time."""

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
"""Maximum number of submissions of a photo.

If the server has lost a photo's job, the client submits the photo again."""


class PhotoStream:
    """Submits more photos whenever earlier jobs end, and collects the outcome of each photo.

    At most `in_flight` jobs are queued or running at a time. To save memory, the stream loads only the photos
    of one request at a time. `jobs` has the job ids of photos that an earlier, interrupted stream submitted.
    A photo in `jobs` is submitted again only if the server no longer knows its job. After each submission of
    a photo, the stream calls `submitted` with the photo and the job's id.
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
        """Return the outcomes of the next jobs that end.

        The returned list is empty if there are no more photos.

        Raises:
            Problem: the server answered with an error that no single photo caused.
            Unreachable: all attempts to reach the server within `patience` seconds failed.
        """
        while self._has_more or self._open or self._lost:
            outcomes = yield from self._fill()
            if self._open and not outcomes:
                outcomes = yield from self._collect()
            if outcomes:
                return outcomes
        return []

    def _fill(self) -> Call[list[Outcome]]:
        """Submit photos if `in_flight` permits a full request.

        Returns the outcomes of photos that could not be read or were refused by the server.
        """
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
        """Return the next photo to submit. Photos in `jobs` are skipped, because their jobs already exist."""
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

        If the server refuses a request, the client sends each half of its photos in a separate request. This
        is repeated until each invalid photo is alone in a request.
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
        """Wait until one of the oldest jobs ends, but at most `MAX_WAIT_SECONDS`.

        Returns the outcomes of the jobs that have ended.
        """
        oldest = [job_id for job_id, _ in zip(self._open, range(MAX_IDS), strict=False)]
        jobs = yield from self._calls.jobs(oldest, MAX_WAIT_SECONDS)
        return [outcome for job in jobs if job.ended and (outcome := self._outcome(job))]

    def _outcome(self, job: Job) -> Outcome | None:
        """Return the outcome of an ended job.

        Returns None if the server has lost the job, so that the photo must be submitted again.
        """
        photo = self._open.pop(job.id)
        if job.status == "unknown" and photo.sent < MAX_SENT:
            self._lost.append(photo)
            return None
        try:
            return Outcome(photo.source, answer=job.result())
        except JobFailed as failed:
            return Outcome(photo.source, error=failed)
