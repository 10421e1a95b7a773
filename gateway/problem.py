"""The exception class for the error responses of all HTTP endpoints.

Each exception contains the HTTP status, the cause, and the action that the caller should take.
"""

RETRY_SECONDS = 5
"""Default value of the header `Retry-After`, in seconds."""


class Problem(Exception):
    """An exception that becomes an error response. `fields` maps each invalid form field to its error."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        fields: dict[str, str] | None = None,
        retry_after: int | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code = status, detail, code
        self.fields, self.retry_after = fields or {}, retry_after


def field_problem(status: int, field: str, detail: str) -> Problem:
    """Return the error response for one invalid form field or URL parameter."""
    return Problem(status, f"{field}: {detail}", fields={field: detail})


def no_worker(reasons: str = "") -> Problem:
    """Return the error 503, which reports that no worker is ready to classify images."""
    action = f"Send the request again in {RETRY_SECONDS} s."
    return Problem(503, f"No worker with a model is ready. {reasons or action}", retry_after=RETRY_SECONDS)
