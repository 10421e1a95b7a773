"""The exceptions that the client raises.

ClientError
  Unreachable      for `patience` seconds, all attempts to reach the server failed
  Problem          the server answered with an HTTP error, which has a `status` and a `detail`
  JobFailed        the job ended without an answer: failed, canceled, expired, or unknown
  TimedOut         the job had not ended within the `timeout` of the call
"""

from collections.abc import Mapping
from typing import Any

import httpx


class ClientError(Exception):
    """The base class of all exceptions of this package."""


class Unreachable(ClientError):
    """All attempts to reach the server within `patience` seconds failed."""


class TimedOut(ClientError):
    """Within the `timeout` of the call, the job had not ended, or the server gave no answer."""


class Problem(ClientError):
    """The server answered with an HTTP error in the format of RFC 9457.

    `detail` has the cause and the remedy. `fields` has an error message for each invalid form field.
    `retry_after` is the value of the `Retry-After` header, in seconds.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail = status, title, detail
        self.fields, self.retry_after = dict(fields or {}), retry_after

    @classmethod
    def of(cls, response: httpx.Response) -> "Problem":
        """Build the exception from an HTTP error response; a proxy's response may have any format."""
        try:
            body: Any = response.json()
        except ValueError:
            body = None
        body = body if isinstance(body, dict) else {}
        default = f"{response.url} gave no reason for the error"
        if response.has_redirect_location:
            default = f"{response.url} redirects to {response.headers['Location']}. Use that address."
        return cls(
            response.status_code,
            str(body.get("title") or response.reason_phrase),
            str(body.get("detail") or default),
            {str(each["field"]): str(each["detail"]) for each in body.get("errors") or ()},
            _seconds(response.headers.get("Retry-After", "")),
        )


class JobFailed(ClientError):
    """A job ended without an answer; `code` is the server's short name for the reason."""

    def __init__(self, job_id: str, status: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.job_id, self.status, self.code, self.detail = job_id, status, code, detail


def _seconds(text: str) -> float | None:
    # The server sends `Retry-After` in seconds. A proxy may send a date, which is ignored.
    return float(text) if text.isdecimal() else None
