"""What came out of many photos, in a table for the terminal."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from cli.classify.answer_tables import printable

MAX_CLASSES, MAX_FAILED = 20, 10
"""Lines that are printed; the output has all."""


def in_words(score: float) -> str:
    """A score to three digits; what is not quite 1, or 0, is not told as such, as on the page."""
    if 0 < score < 0.001:
        return "< 0.001"
    return f"{min(score, 0.999) if score < 1 else score:.3f}"


class Summary:
    """Counts, by class of the best answer of each photo or region."""

    def __init__(self) -> None:
        self.photos = self.failed = self.passed = self.answers = 0
        self.classes: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._scores: defaultdict[str, float] = defaultdict(float)
        self._reasons: list[tuple[str, str]] = []

    def add(self, record: dict[str, Any]) -> None:
        """Count a record of the journal."""
        self.photos += 1
        if "error" in record:
            self.failed += 1
            if len(self._reasons) < MAX_FAILED:
                self._reasons.append((record["file"], record["error"]["detail"]))
            return
        for region in record["result"]["regions"]:
            best = region["predictions"][0]
            self.answers += 1
            self.classes[best["class"]] += 1
            self._scores[best["class"]] += best["score"]
            self._accepted[best["class"]] += best["accepted"]
            self.passed += best["accepted"]

    def in_words(self) -> str:
        """How many there are of what."""
        below = self.answers - self.passed
        answers = f"{self.answers} answers, {self.passed} passed and {below} below threshold"
        return f"{self.photos} photos: {answers}; without an answer: {self.failed}"

    def show(self, classified: int, seconds: float, written: list[Path]) -> None:
        """Print it on stdout."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("class", *_right("answers", "passed", "mean score"), show_edge=False)
        for name, count in self.classes.most_common(MAX_CLASSES):
            mean = in_words(self._scores[name] / count)
            table.add_row(Text(name), str(count), str(self._accepted[name]), mean)
        if (more := len(self.classes) - MAX_CLASSES) > 0:
            table.add_row(f"… and {more} more classes", "", "", "")
        table.add_section()
        table.add_row("all", str(self.answers), str(self.passed), "")
        console = Console(highlight=False, soft_wrap=True)
        if self.answers:
            console.print(table)
        for name, why in self._reasons:
            console.print(Text(f"{printable(name)}: {why}"))
        if (more := self.failed - len(self._reasons)) > 0:
            console.print(f"… and {more} more without an answer")
        rate = (
            f"; {classified} classified now, {classified / seconds:.1f}/s" if classified and seconds else ""
        )
        console.print(f"{self.in_words()}{rate}")
        console.print(Text("written: " + ", ".join(map(str, written))))


def _right(*names: str) -> list[Any]:
    from rich.table import Column

    return [Column(name, justify="right") for name in names]
