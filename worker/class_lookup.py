"""Finds classes by their names in other files and in folders."""

import difflib
import re
import unicodedata
from collections.abc import Sequence

NUMBER_FIRST = re.compile(r"""(["']?)([0-9]{1,7})\1(?:\s*[,;:=|]\s*|[.)]\s+|\s+-\s+|\s+)(\S.*)""")
"""A line or label such as `0 Cat`, `0,Cat`, `0: Cat` or `"0","Cat"`: a quote, the number, the rest."""

_QUOTED = tuple(re.compile(rf"{quote}((?:[^{quote}]|{quote}{quote})*){quote}") for quote in ('"', "'"))


class ClassLookup:
    """Finds the class with a name.

    Names are compared in Unicode's normal form NFC, because macOS composes accents in another way than other
    systems. A label may also have quotes, or the class's number as in the line of the classes file.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._indices = {normal(name): index for index, name in enumerate(classes)}

    def find(self, label: str) -> int | None:
        """Return the index of the class with this name, or None."""
        label = normal(label.strip())
        if label in self._indices:
            return self._indices[label]
        label = unquoted(label) or label
        found = self._indices.get(label)
        if found is None and (match := NUMBER_FIRST.fullmatch(label)):
            found = self._indices.get(unquoted(match[3]) or match[3])
            return found if found == int(match[2]) else None
        return found

    def question(self, label: str) -> str:
        """Return a question that names the class with the most similar name, or ''."""
        similar = {loose(name): name for name in reversed(self.classes)}
        near = difflib.get_close_matches(loose(label), similar, n=1)
        return f"; did you mean {similar[near[0]]!r}?" if near else ""


def normal(name: str) -> str:
    """Return the name in Unicode's normal form NFC."""
    return unicodedata.normalize("NFC", name)


def loose(name: str) -> str:
    """Return the name without accents, capital letters and repeated spaces."""
    letters = unicodedata.normalize("NFKD", name)
    return " ".join("".join(filter(lambda each: not unicodedata.combining(each), letters)).casefold().split())


def unquoted(text: str) -> str | None:
    """Return the text in a pair of quotes; None if the text has no such pair or is empty."""
    for quote, pattern in zip("\"'", _QUOTED, strict=True):
        if match := pattern.fullmatch(text):
            return match[1].replace(quote * 2, quote).strip() or None
    return None
