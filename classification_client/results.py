"""The server's answers as Python objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classification_client.errors import ClientError, JobFailed

Source = str | Path | bytes
"""A photo: its path, or its bytes."""

ENDED = frozenset({"finished", "failed", "canceled", "expired", "unknown"})
"""Statuses of ended jobs; an ended job's status no longer changes."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class with its score; `accepted` is true if the score is above the threshold of the class."""

    class_name: str
    score: float
    accepted: bool
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Region:
    """The predictions for the whole photo or for a square region `(x, y, side)`, best score first."""

    square: tuple[int, int, int] | None
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class Species:
    """A species in a consolidated answer; `score` is None if no prediction was accepted."""

    name: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer for a photo.

    `model` and `thresholds` are the SHA-256 fingerprints of the model file and of the thresholds file. `data`
    is the server's answer as parsed JSON. `precision` is the number format of the model's arithmetic, such as
    `float32`. It is empty in answers of servers that do not report it. `truncated` is true if a part of the
    photo is missing.
    """

    regions: tuple[Region, ...]
    consolidated: tuple[Species, ...] | None
    model: str
    thresholds: str
    data: dict[str, Any]
    precision: str = ""
    truncated: bool = False

    @property
    def best(self) -> Prediction:
        """The best prediction of the first region."""
        return self.regions[0].predictions[0]

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Answer":
        """Build an answer from the `result` field of a job's JSON."""
        pairs = data.get("consolidated")
        return cls(
            regions=tuple(_region(each) for each in data["regions"]),
            consolidated=None if pairs is None else tuple(Species(name, score) for name, score in pairs),
            model=data.get("model", ""),
            thresholds=data.get("thresholds", ""),
            data=data,
            precision=data.get("precision", ""),
            truncated=data.get("truncated", False),
        )


def _region(data: dict[str, Any]) -> Region:
    square = data["region"]
    predictions = (
        Prediction(each["class"], each["score"], each["accepted"], each["threshold"])
        for each in data["predictions"]
    )
    return Region(tuple(square) if square else None, tuple(predictions))


@dataclass(frozen=True, slots=True)
class Job:
    """The state of a job. All times are strings in ISO 8601 format, in UTC."""

    id: str
    status: str
    position: int | None = None
    estimated_wait: float | None = None
    submitted_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    attempts: int = 0
    answer: Answer | None = None
    error: JobFailed | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended; the status of an ended job no longer changes."""
        return self.status in ENDED

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            JobFailed: the job has no answer.
        """
        if self.answer is None:
            raise self.error or JobFailed(self.id, self.status, self.status, f"the job is {self.status}")
        return self.answer

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Job":
        """Build a job from the server's JSON."""
        job_id, status, result = data["id"], data["status"], data.get("result")
        error = data.get("error")
        if status == "unknown":
            error = {"code": "unknown", "detail": "the server does not know the job, or no longer stores it"}
        equal = ("position", "estimated_wait", "submitted_at", "started_at", "ended_at")
        return cls(
            job_id,
            status,
            **{name: data.get(name) for name in equal},
            attempts=data.get("attempts") or 0,
            answer=Answer.of(result) if result else None,
            error=JobFailed(job_id, status, error["code"], error["detail"]) if error else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one photo: an answer, or the reason why the photo has no answer."""

    source: Source
    answer: Answer | None = None
    error: ClientError | OSError | None = None

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            ClientError: the server refused the photo, or its job failed.
            OSError: the file could not be read.
        """
        if self.answer is None:
            raise self.error or ClientError("the photo has no answer")
        return self.answer
