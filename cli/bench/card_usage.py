"""Measures how busy the graphics cards are, with the program `nvidia-smi` of NVIDIA's driver."""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

SAMPLE_MILLISECONDS = 100

QUERY = ("index", "name", "utilization.gpu", "memory.used", "memory.total")
"""The queried properties: percent of the time in which an operation ran, and MiB of memory."""


@contextmanager
def card_usage() -> Iterator[list[dict[str, Any]]]:
    """Measure the cards until the block ends; then fill the yielded list with one dict for each card.

    The dict has the card's name, its share of busy time (`busy`, from 0 to 1), and its memory in MB: the
    maximum of the used memory (`memory_mb`) and the total memory. Without a card, the list stays empty.
    """
    usage: list[dict[str, Any]] = []
    with tempfile.TemporaryFile("w+") as samples:
        try:
            # The program prints a line for each card and sample, and writes each sample at once.
            process = subprocess.Popen(
                [
                    *("nvidia-smi", f"--query-gpu={','.join(QUERY)}"),
                    *("--format=csv,noheader,nounits", f"--loop-ms={SAMPLE_MILLISECONDS}"),
                ],
                stdout=samples,
                stderr=subprocess.DEVNULL,
            )
        except OSError:  # The driver is not installed.
            yield usage
            return
        try:
            yield usage
        finally:
            process.terminate()
            process.wait()
        samples.seek(0)
        usage += _summarize(samples.read().splitlines())


def _summarize(lines: Sequence[str]) -> list[dict[str, Any]]:
    cards: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for line in lines:
        # The last line may be incomplete. Some cards have no memory of their own, and print [N/A].
        with suppress(ValueError):
            index, name, *numbers = line.replace("[N/A]", "0").split(", ")
            busy, used, total = map(float, numbers)
            cards[index, name].append([busy, used, total])
    return [
        {
            "name": name,
            "busy": sum(busy for busy, _, _ in rows) / len(rows) / 100,
            "memory_mb": max(used for _, used, _ in rows) * 2**20 / 1e6,
            "memory_total_mb": rows[0][2] * 2**20 / 1e6,
        }
        for (_, name), rows in cards.items()
    ]


def describe_cards(usage: Sequence[dict[str, Any]]) -> str:
    """Describe the cards of a measurement: their names, busy shares and memory."""
    cards = (
        f"{each['name']}, {each['busy']:.0%} busy,"
        f" {each['memory_mb'] / 1000:.1f} of {each['memory_total_mb'] / 1000:.1f} GB"
        for each in usage
    )
    return "; ".join(cards) or "no GPU"
