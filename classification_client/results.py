"""What the server answers, as plain objects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classification_client.errors import ClientError, JobFailed

Source = str | Path | bytes
"""A photo: its path, or its bytes."""

ENDED = frozenset({"finished", "failed", "canceled", "expired", "unknown"})


@dataclass(frozen=True, slots=True)
class Prediction:
    """A class and its score; `accepted` if it passed its class's threshold."""

    class_name: str
    score: float
    accepted: bool
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Region:
    """The predictions for a square `(x, y, side)` of the photo, or for all of it; the best one first."""

    square: tuple[int, int, int] | None
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class Species:
    """A consolidated answer; `score` is None where no prediction was accepted."""

    name: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of a photo.

    `model` and `thresholds` are the fingerprints of what it was answered with. `data` is the server's JSON.
    """

    regions: tuple[Region, ...]
    consolidated: tuple[Species, ...] | None
    model: str
    thresholds: str
    data: dict[str, Any]

    @property
    def best(self) -> Prediction:
        """The best prediction of the first region."""
        return self.regions[0].predictions[0]

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Answer":
        """Read a job's `result`."""
        pairs = data.get("consolidated")
        return cls(
            regions=tuple(_region(each) for each in data["regions"]),
            consolidated=None if pairs is None else tuple(Species(name, score) for name, score in pairs),
            model=data.get("model", ""),
            thresholds=data.get("thresholds", ""),
            data=data,
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
    """What is known of a job; times are as the server writes them (ISO 8601, UTC)."""

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
        """Whether nothing more will become of it."""
        return self.status in ENDED

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            JobFailed: there is none.
        """
        if self.answer is None:
            raise self.error or JobFailed(self.id, self.status, self.status, f"the job is {self.status}")
        return self.answer

    @classmethod
    def of(cls, data: dict[str, Any]) -> "Job":
        """Read the server's JSON."""
        job_id, status, result = data["id"], data["status"], data.get("result")
        why = data.get("error")
        if status == "unknown":
            why = {"code": "unknown", "detail": "the server does not know the job, or no longer"}
        kept = ("position", "estimated_wait", "submitted_at", "started_at", "ended_at")
        return cls(
            job_id,
            status,
            **{name: data.get(name) for name in kept},
            attempts=data.get("attempts") or 0,
            answer=Answer.of(result) if result else None,
            error=JobFailed(job_id, status, why["code"], why["detail"]) if why else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo of many: an answer, or the reason why there is none."""

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
            raise self.error or ClientError("there is no answer")
        return self.answer
