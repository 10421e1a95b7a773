"""Classifies a folder: sends the photos, records the answers in a journal, and writes the output."""

import argparse
import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import CommandError, echo
from cli.classify import answer_tables, contact_sheet
from cli.classify.journal import Journal
from cli.classify.summary import Summary
from cli.progress import progress

if TYPE_CHECKING:
    from classification_client import Client, Outcome

CONNECT_SECONDS = 10.0
"""Number of seconds during which the first request to the server is repeated if it fails.

For later requests, the option --patience sets this time.
"""

IDENTITY = ("model", "thresholds", "precision")
"""Names of the fingerprints and of the precision in the answer of `/cfg` and in each classification.

None of these values may change during a run.
"""


class FolderRun:
    """One run of `classify` with these options, on the server at `url`."""

    def __init__(self, options: argparse.Namespace, url: str) -> None:
        self._options, self._url, self._folder = options, url, options.folder
        self._journal_path = options.output.with_name(f"{options.output.name}.journal")
        outputs = [options.output, self._journal_path]
        if options.html:
            outputs += [options.html, contact_sheet.thumbnail_folder(options.html)]
        self._outputs = {each.absolute() for each in outputs}

    def run(self) -> int:
        """Classify the photos, write the output, and return the exit status.

        Photos with a result or an error in the journal are not classified again.

        Raises:
            CommandError: the server cannot be used, there are no photos, or the output cannot be written.
        """
        request = self._request()
        total = self._count_photos()
        if self._options.restart:
            self._journal_path.unlink(missing_ok=True)
        with contextlib.closing(Journal(self._journal_path, request)) as journal:
            status = self._classify(journal, total)
            return self._write_output(journal) if status is None else status

    def _request(self) -> dict[str, Any]:
        """Return the options and the identity with which all photos of one output file must be classified."""
        from classification_client import ClientError

        try:
            with self._client(CONNECT_SECONDS) as client:
                config = client.config()
            identity = {name: str(config[name]) for name in IDENTITY}
        except (KeyError, TypeError, JSONDecodeError):
            raise CommandError(
                f"--url: {self._url} answers, but is not a classification-server. Check the address."
            ) from None
        except (ClientError, ValueError) as error:
            raise CommandError(f"the server {self._url} cannot be used: {error}") from None
        return {
            "folder": os.path.abspath(self._folder),
            "regions": self._options.regions and [list(each) for each in self._options.regions],
            "top_n": self._options.top_n,
            **identity,
        }

    def _client(self, patience: float) -> "Client":
        from classification_client import Client

        return Client(self._url, key=self._options.key, patience=patience)

    def _count_photos(self) -> int:
        from classification_client.photos import listed

        counts = Counter[str]()
        total = sum(1 for _ in self._photos(counts))
        others = listed(counts)
        if not total:
            found = f", only {others}" if others else ""
            raise CommandError(
                f"FOLDER: there are no photos in {self._folder}{found}. Name a folder with photos."
            )
        if others and not self._options.quiet:
            echo(f"files left out because they are no photos: {others}")
        return total

    def _classify(self, journal: Journal, total: int) -> int | None:
        """Classify the photos that have neither a result nor an error in the journal.

        If the run ends early, the function returns an exit status.
        """
        from classification_client import ClientError

        if journal.done:
            echo(f"continuing an earlier run: {len(journal.done)} of {total} photos are done")
        began, before = time.monotonic(), len(journal.done)
        try:
            with progress("photos", total, quiet=self._options.quiet, done=before) as advance:
                for outcome in self._outcomes(journal):
                    self._check_identity(outcome, journal)
                    journal.ended(self._name(outcome.source), _journal_entry(outcome))
                    advance(1)
        except (KeyboardInterrupt, ClientError) as error:
            stopped = isinstance(error, KeyboardInterrupt)
            echo(f"{'stopped' if stopped else error}\n{len(journal.done)} of {total} photos are done.")
            echo("Run the same command to continue.")
            return 130 if stopped else 1
        self._seconds, self._classified = time.monotonic() - began, len(journal.done) - before
        return None

    def _check_identity(self, outcome: "Outcome", journal: Journal) -> None:
        for name in IDENTITY if outcome.answer else ():
            # The answers of older servers do not contain the precision.
            if getattr(outcome.answer, name) not in ("", journal.request[name]):
                raise CommandError(
                    f"the server's {name} changed during the run. Restore the {name} and run the same"
                    " command, or start again with --restart."
                )

    def _outcomes(self, journal: Journal) -> "Iterator[Outcome]":
        options = self._options
        with self._client(options.patience) as client:
            yield from client.map(
                (each for each in self._photos() if self._name(each) not in journal.done),
                regions=options.regions,
                top_n=options.top_n,
                in_flight=options.in_flight,
                jobs={self._folder / name: job for name, job in journal.jobs.items()},
                submitted=lambda photo, job: journal.submitted(self._name(photo), job),
            )

    def _photos(self, others: Counter[str] | None = None) -> Iterator[Path]:
        """Yield the photos of the folder, without this run's output files.

        `others` counts the files that are no photos, by extension.
        """
        from classification_client.photos import files

        for photo in files(self._folder, others):
            path = photo.absolute()
            if path not in self._outputs and path.parent not in self._outputs:
                yield photo

    def _name(self, photo: Any) -> str:
        return str(photo.relative_to(self._folder).as_posix())

    def _write_output(self, journal: Journal) -> int:
        options = self._options
        summary = Summary()
        for record in journal.records():
            summary.add(record)
        try:
            answer_tables.write(options.output, journal.records())
            if options.html:
                with progress("contact sheet", len(journal.done), quiet=options.quiet) as advance:
                    contact_sheet.write(options.html, self._folder, journal.records(), summary, advance)
        except OSError as error:
            raise CommandError(
                f"the output cannot be written: {error}. Run the same command to try again."
            ) from None
        self._journal_path.unlink()
        if not options.quiet:
            written = [each for each in (options.output, options.html) if each]
            summary.show(self._classified, self._seconds, written)
        return 1 if summary.failed else 0


def _journal_entry(outcome: "Outcome") -> dict[str, Any]:
    """Return a photo's result or error as a line of the journal.

    The line contains the server's `result`, or an `error` with `code` and `detail`.
    """
    from classification_client import JobFailed, Problem

    match outcome.error:
        case None:
            return {"result": outcome.result().data}
        case Problem() as problem:
            code, detail = str(problem.status), problem.detail
        case JobFailed() as failed:
            code, detail = failed.code, failed.detail
        case OSError() as error:
            code, detail = "unreadable", error.strerror or str(error)
        case error:
            code, detail = "failed", str(error)
    return {"error": {"code": code, "detail": detail}}
