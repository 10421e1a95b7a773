"""Counts the answers to many photos, and prints the counts as a table on the terminal."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from cli.classify.answer_tables import printable

MAX_CLASSES, MAX_ERRORS = 20, 10
"""Maximum numbers of classes and of errors that a summary prints.

The output file contains all classes and all errors.
"""


def format_score(score: float) -> str:
    """Format a score with three decimals.

    A score between 0 and 1 is never shown as 0.000 or 1.000.
    """
    if 0 < score < 0.001:
        return "< 0.001"
    return f"{min(score, 0.999) if score < 1 else score:.3f}"


class Summary:
    """Counts of the best predictions of all photos and regions, by class."""

    def __init__(self) -> None:
        self.photos = self.failed = self.accepted = self.answers = 0
        self.classes: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._scores: defaultdict[str, float] = defaultdict(float)
        self._errors: list[tuple[str, str]] = []

    def add(self, record: dict[str, Any]) -> None:
        """Count a photo, from its predictions or its error."""
        self.photos += 1
        if "error" in record:
            self.failed += 1
            if len(self._errors) < MAX_ERRORS:
                self._errors.append((record["file"], record["error"]["detail"]))
            return
        for region in record["result"]["regions"]:
            best = region["predictions"][0]
            self.answers += 1
            self.classes[best["class"]] += 1
            self._scores[best["class"]] += best["score"]
            self._accepted[best["class"]] += best["accepted"]
            self.accepted += best["accepted"]

    def totals(self) -> str:
        """Return a sentence with the numbers of photos, answers and errors."""
        answers = (
            f"{self.answers} answers, {self.accepted} accepted, {self.answers - self.accepted} not accepted"
        )
        return f"{self.photos} photos: {answers}; {self.failed} without an answer"

    def show(self, classified: int, seconds: float, written: list[Path]) -> None:
        """Print the summary of a run.

        The run classified `classified` photos in `seconds` seconds.
        """
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        if self.answers:
            console.print(self._table())
        for name, detail in self._errors:
            console.print(Text(f"{printable(name)}: {detail}"))
        if (more := self.failed - len(self._errors)) > 0:
            console.print(f"… and {more} more photos without an answer")
        rate = (
            f"; {classified} classified in this run, {classified / seconds:.1f} photos/s"
            if classified and seconds
            else ""
        )
        console.print(f"{self.totals()}{rate}")
        console.print(Text("written: " + ", ".join(map(str, written))))

    def _table(self) -> Any:
        from rich.table import Column, Table
        from rich.text import Text

        numbers = (Column(name, justify="right") for name in ("answers", "accepted", "mean score"))
        table = Table("class", *numbers, show_edge=False)
        for name, count in self.classes.most_common(MAX_CLASSES):
            mean = format_score(self._scores[name] / count)
            table.add_row(Text(name), str(count), str(self._accepted[name]), mean)
        if (more := len(self.classes) - MAX_CLASSES) > 0:
            table.add_row(f"… and {more} more classes", "", "", "")
        table.add_section()
        table.add_row("all", str(self.answers), str(self.accepted), "")
        return table
