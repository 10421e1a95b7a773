"""A run over a folder: photos to the server, answers into the journal, and from there into the output."""

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

HELLO_SECONDS = 10.0
"""How long to try to reach a server at first; later, --patience."""

SERVED = ("model", "thresholds")
"""Fingerprints of what answers: in `/cfg`, and in each answer."""


class FolderRun:
    """One run of `classify`, with its options, on the server at `url`."""

    def __init__(self, options: argparse.Namespace, url: str) -> None:
        self._options, self._url, self._folder = options, url, options.folder
        self._journal_path = options.output.with_name(f"{options.output.name}.journal")
        outputs = [options.output, self._journal_path]
        if options.html:
            outputs += [options.html, contact_sheet.files_folder(options.html)]
        self._outputs = {each.absolute() for each in outputs}

    def run(self) -> int:
        """Classify what is not yet, then write the output; return the exit status.

        Raises:
            CommandError: the server can't be had, there are no photos, or the output can't be written.
        """
        asked = self._hello()
        others = Counter[str]()
        total = sum(1 for _ in self._photos(others))
        told = ", ".join(f"{count} {ending}" for ending, count in others.most_common())
        if not total:
            found = f", but {told}" if told else ""
            raise CommandError(f"there are no photos in {self._folder}{found}")
        if told and not self._options.quiet:
            echo(f"left out, being no photos by their names: {told}")
        if self._options.restart:
            self._journal_path.unlink(missing_ok=True)
        with contextlib.closing(Journal(self._journal_path, asked)) as journal:
            status = self._classify(journal, total)
            return self._finish(journal) if status is None else status

    def _hello(self) -> dict[str, Any]:
        """What is asked, of which model; all photos of an output are to have the same."""
        from classification_client import ClientError

        try:
            with self._client(HELLO_SECONDS) as client:
                served = client.config()
            serves = {name: str(served[name]) for name in SERVED}
        except (KeyError, TypeError, JSONDecodeError):
            raise CommandError(f"{self._url} answers, but is no classification-server") from None
        except (ClientError, ValueError) as error:
            raise CommandError(f"{self._url} can't be used: {error}") from None
        return {
            "folder": os.path.abspath(self._folder),
            "regions": self._options.regions and [list(each) for each in self._options.regions],
            "top_n": self._options.top_n,
            **serves,
        }

    def _client(self, patience: float) -> "Client":
        from classification_client import Client

        return Client(self._url, key=self._options.key, patience=patience)

    def _classify(self, journal: Journal, total: int) -> int | None:
        """Classify what the journal lacks; None, or the exit status where that was cut short."""
        from classification_client import ClientError

        if journal.done:
            echo(f"{len(journal.done)} of {total} photos are done; going on with the others")
        began, before = time.monotonic(), len(journal.done)
        try:
            with progress("photos", total, quiet=self._options.quiet, done=before) as advance:
                for outcome in self._outcomes(journal):
                    self._check_served(outcome, journal)
                    journal.ended(self._name(outcome.source), _told(outcome))
                    advance(1)
        except KeyboardInterrupt:
            echo(f"stopped; {self._how_to_go_on(journal, total)}")
            return 130
        except ClientError as error:
            echo(f"{error}\n{self._how_to_go_on(journal, total)}")
            return 1
        self._seconds, self._classified = time.monotonic() - began, len(journal.done) - before
        return None

    def _check_served(self, outcome: "Outcome", journal: Journal) -> None:
        """See that the answer is of the model that the others are of."""
        for name in SERVED if outcome.answer else ():
            if getattr(outcome.answer, name) != journal.asked[name]:
                raise CommandError(
                    f"the server's {name} changed during the run: begin anew with --restart, "
                    "or put back what was and give the same command"
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
        """All photos but our own; `others` counts, by ending, what is none."""
        from classification_client.photos import files

        for photo in files(self._folder, others):
            here = photo.absolute()
            if here not in self._outputs and here.parent not in self._outputs:
                yield photo

    def _name(self, photo: Any) -> str:
        return str(photo.relative_to(self._folder).as_posix())

    def _how_to_go_on(self, journal: Journal, total: int) -> str:
        return f"{len(journal.done)} of {total} photos are done; the same command goes on from there"

    def _finish(self, journal: Journal) -> int:
        options = self._options
        summary = Summary()
        for record in journal.records():
            summary.add(record)
        try:
            answer_tables.write(options.output, journal.records())
            if options.html:
                with progress("page", len(journal.done), quiet=options.quiet) as advance:
                    contact_sheet.write(options.html, self._folder, journal.records(), summary, advance)
        except OSError as error:
            raise CommandError(
                f"the output can't be written: {error}; the same command tries again"
            ) from None
        self._journal_path.unlink()
        if not options.quiet:
            summary.show(
                self._classified, self._seconds, [each for each in (options.output, options.html) if each]
            )
        return 1 if summary.failed else 0


def _told(outcome: "Outcome") -> dict[str, Any]:
    """An outcome as the journal has it: the server's `result`, or an `error`."""
    from classification_client import JobFailed, Problem

    match outcome.error:
        case None:
            return {"result": outcome.result().data}
        case Problem() as problem:
            return {"error": {"code": str(problem.status), "detail": problem.detail}}
        case JobFailed() as failed:
            return {"error": {"code": failed.code, "detail": failed.detail}}
        case OSError() as error:
            return {"error": {"code": "unreadable", "detail": error.strerror or str(error)}}
        case error:
            return {"error": {"code": "failed", "detail": str(error)}}
