"""What a call may raise.

ClientError
  Unreachable      no connection, or it broke, for as long as the client's patience
  Problem          the server's answer is an error: its `status` and `detail`
  JobFailed        the job ended without an answer: failed, canceled, expired, or unknown
  TimedOut         the job had not ended in the time given
"""

from collections.abc import Mapping
from typing import Any

import httpx


class ClientError(Exception):
    """What every other error here is."""


class Unreachable(ClientError):
    """The server could not be reached, or the connection broke, until the client's patience was over."""


class TimedOut(ClientError):
    """There was no answer in the time given."""


class Problem(ClientError):
    """The server's answer is an error (RFC 9457): what was wrong, where, what to do.

    `fields` has the fault of each form field that is wrong; `retry_after` the seconds to wait, if it said.
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
        """Read the server's answer, or that of a proxy in between, which words it as it likes."""
        try:
            body: Any = response.json()
        except ValueError:
            body = None
        body = body if isinstance(body, dict) else {}
        named = body.get("errors") or ()
        silent = f"{response.url} gave no reason"
        if response.has_redirect_location:
            silent = f"{response.url} sends on to {response.headers['Location']}: use that address"
        return cls(
            response.status_code,
            str(body.get("title") or response.reason_phrase),
            str(body.get("detail") or silent),
            {str(each["field"]): str(each["detail"]) for each in named},
            _seconds(response.headers.get("Retry-After", "")),
        )


class JobFailed(ClientError):
    """A job ended without an answer; `code` is the server's word for why."""

    def __init__(self, job_id: str, status: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.job_id, self.status, self.code, self.detail = job_id, status, code, detail


def _seconds(text: str) -> float | None:
    # The server says seconds. A proxy may send a date; that one is treated as if it had said nothing.
    return float(text) if text.isdecimal() else None
