"""Stores the state of a `classify` run in a file, so that a later run can continue the first run.

The file is next to the run's output.
"""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import CommandError


class Journal:
    """A file of JSON lines, which contains the state of a run.

    The first line contains the run's options. Each other line contains the job id of a photo, or the photo's
    result or error. New lines are appended. Existing lines are never changed. The answers stay in the file.
    Only the names of the photos are in memory. When a journal is opened, an incomplete last line is removed.
    A full disk or a power failure can cause such a line.
    """

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        """Begin a journal, or continue the journal that the file contains.

        Raises:
            CommandError: the file cannot be written, another run uses it, or its run had other options.
        """
        self.path, self.request = path, request
        self.jobs: dict[str, str] = {}
        """The names of the photos that have a job, but neither a result nor an error yet; their job ids."""
        self.done: dict[str, int] = {}
        """The names of the photos with a result or an error, and the byte position of each photo's line."""
        try:
            self._file = path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"{path} is in use by another run. Wait until that run ends, or set another --output."
            ) from None
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}. Set another --output.") from None
        self._read()

    def submitted(self, name: str, job: str) -> None:
        """Record the id of a photo's job."""
        self.jobs[name] = job
        self._append({"file": name, "job": job})

    def ended(self, name: str, outcome: dict[str, Any]) -> None:
        """Record the result or the error of a photo."""
        self.jobs.pop(name, None)
        self.done[name] = self._append({"file": name, **outcome})

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield each photo's result or error, in the order of the photos' names."""
        for name in sorted(self.done):
            self._file.seek(self.done[name])
            yield json.loads(self._file.readline())

    def close(self) -> None:
        """Close and unlock the file."""
        self._file.close()

    def _append(self, entry: dict[str, Any]) -> int:
        position = self._end
        # JSON's ASCII escapes preserve file names even if their bytes are not UTF-8.
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._end += len(line)
        return position

    def _read(self) -> None:
        self._end = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._read_line(line)
            self._end += len(line)
        self._file.truncate(self._end)
        if self._end == 0:
            self._append({"asked": self.request})

    def _read_line(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
            if self._end == 0:
                self._check(entry["asked"])
            elif "job" in entry:
                self.jobs[entry["file"]] = entry["job"]
            else:
                self.jobs.pop(entry["file"], None)
                self.done[entry["file"]] = self._end
        except (ValueError, KeyError, TypeError):
            raise CommandError(
                f"{self.path} is not a journal of this command. Remove or rename the file."
            ) from None

    def _check(self, before: dict[str, Any]) -> None:
        # The journals of older versions do not contain the precision.
        before = {"precision": self.request.get("precision")} | before
        for name, value in self.request.items():
            if before[name] != value:
                raise CommandError(
                    f"{self.path} belongs to an unfinished run with another {name}"
                    f" (before: {before[name]}, now: {value}). Finish that run, or discard it with --restart."
                )
