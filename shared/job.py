"""The form of a job: what a caller asks of one image, and what comes back.

Both travel as JSON inside RQ's records; the image's bytes travel beside them, never inside.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_REGIONS = 10_000
"""Of one image, whatever the setting says."""


class Region(NamedTuple):
    """A square of the upright (EXIF-oriented) image, in pixels from its top left corner."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Options:
    """What a caller asks of one image."""

    regions: tuple[Region, ...] | None = None
    top_n: int = 5
    consolidate: bool = False

    @property
    def inputs(self) -> int:
        """How many inputs of the model the job takes: its regions, or the whole image."""
        return len(self.regions) if self.regions else 1

    def to_json(self) -> dict[str, Any]:
        """The JSON form, as it stands in the job's record."""
        regions = [list(region) for region in self.regions] if self.regions else None
        return {"regions": regions, "top_n": self.top_n, "consolidate": self.consolidate}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Options":
        """Read the JSON form.

        Raises:
            ValueError: the form is not one that `to_json` writes.
        """
        try:
            regions = data["regions"] or ()
            if len(regions) > MAX_REGIONS or int(data["top_n"]) < 1:
                raise ValueError("its numbers are out of range")
            return cls(
                regions=tuple(Region(*(int(n) for n in each)) for each in regions) or None,
                top_n=int(data["top_n"]),
                consolidate=bool(data["consolidate"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a job of this service: {error!r:.200}") from None


class JobFailure(Exception):
    """Why a job has no answer; it crosses from worker to gateway as data.

    `code` is one of `FAILURES`, `detail` a sentence for the caller.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail

    def to_json(self) -> dict[str, str]:
        """The JSON form."""
        return {"code": self.code, "detail": self.detail}


FAILURES = {
    "canceled": 409,
    "image-damaged": 422,
    "expired": 504,
    "image-lost": 500,
    "not-ours": 500,
    "attempts-exhausted": 500,
    "model-failed": 500,
}
"""The HTTP status that each failure's code is answered with."""
