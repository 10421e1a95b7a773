"""What is known of a run over many photos, in a file beside its output, so that another run can go on."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli import CommandError


class Journal:
    """JSON lines: what was asked, then what became of each photo; lines are only ever added.

    In memory there are the photos' names alone. A last line that is cut off, as when the disk was full or the
    machine lost its power, is dropped.
    """

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        """Begin it, or go on with the one that is there.

        Raises:
            CommandError: it can't be written, another run has it, or other things were asked in it.
        """
        self.path, self.asked = path, asked
        self.jobs: dict[str, str] = {}
        """Photos that were submitted and have not ended, with their jobs' ids."""
        self.done: dict[str, int] = {}
        """Photos that have ended, and where in the file their line is."""
        try:
            self._file = path.open("a+b")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another run is at work on {path}") from None
        except OSError as error:
            raise CommandError(f"{path} can't be written: {error.strerror}") from None
        self._read(asked)

    def submitted(self, name: str, job: str) -> None:
        """A photo has a job now."""
        self.jobs[name] = job
        self._add({"file": name, "job": job})

    def ended(self, name: str, outcome: dict[str, Any]) -> None:
        """A photo has its answer, or will have none."""
        self.jobs.pop(name, None)
        self.done[name] = self._add({"file": name, **outcome})

    def records(self) -> Iterator[dict[str, Any]]:
        """What became of the photos, in the order of their names."""
        for name in sorted(self.done):
            self._file.seek(self.done[name])
            yield json.loads(self._file.readline())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _add(self, line: dict[str, Any]) -> int:
        at = self._end
        # ASCII, so that names of any bytes come back as they were.
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._file.write(data)
        self._file.flush()
        self._end += len(data)
        return at

    def _read(self, asked: dict[str, Any]) -> None:
        self._end = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            self._take(line, asked)
            self._end += len(line)
        self._file.truncate(self._end)
        if self._end == 0:
            self._add({"asked": asked})

    def _take(self, line: bytes, asked: dict[str, Any]) -> None:
        try:
            entry = json.loads(line)
            if self._end == 0:
                self._check(entry["asked"], asked)
            elif "job" in entry:
                self.jobs[entry["file"]] = entry["job"]
            else:
                self.jobs.pop(entry["file"], None)
                self.done[entry["file"]] = self._end
        except (ValueError, KeyError, TypeError):
            raise CommandError(f"{self.path} is no journal of this command: remove or rename it") from None

    def _check(self, before: dict[str, Any], asked: dict[str, Any]) -> None:
        for name, value in asked.items():
            if before[name] != value:
                raise CommandError(
                    f"{self.path} is of an unfinished run with another {name} ({before[name]}, now {value}): "
                    "finish that one, or begin anew with --restart"
                )
