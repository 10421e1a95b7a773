"""`python -m tests.fuzz.run TARGET CASES SEED FOLDER`: the cases of one parser, in a process of their own.

Guided by coverage, by atheris (libFuzzer); where that can't be installed, by chance alone. An input that
breaks the harness is written to FOLDER, and the process fails.
"""

import importlib
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.case import bounded
from tests.fuzz.targets import TARGETS, Target

GUIDED = ["gateway", "multipart", "PIL", "shared", "werkzeug", "worker"]
"""Packages whose branches atheris sees: ours, and those in Python that parse for us."""


HANG_SECONDS = 30
"""After which a case that does not end, in C too, ends the process."""


def main() -> int:
    """Run the cases; return the exit status."""
    name, cases, seed, folder = sys.argv[1:]
    (target,) = (each for each in TARGETS if each.name == name)
    arguments = (target, int(cases), int(seed), Path(folder))
    try:
        import atheris
    except ImportError:
        return _by_chance(*arguments)
    with atheris.instrument_imports(include=GUIDED, enable_loader_override=False):
        harness = importlib.import_module(f"tests.fuzz.targets.{name}")
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        words = _options(harness, *arguments, Path(scratch))
        atheris.Setup([sys.argv[0], *words], bounded(harness.run))
        atheris.Fuzz()
    return 0


def _options(harness: Any, target: Target, cases: int, seed: int, folder: Path, scratch: Path) -> list[str]:
    """What libFuzzer is told: its options, then the folder of inputs to begin with."""
    (scratch / "inputs").mkdir()
    for number, each in enumerate(harness.SEEDS):
        (scratch / "inputs" / str(number)).write_bytes(each)
    words = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in harness.WORDS]
    (scratch / "words").write_text("".join(words))
    options = {
        "runs": cases,
        "seed": seed,
        "max_len": target.most_bytes,
        "rss_limit_mb": 4096,
        "timeout": HANG_SECONDS,
        "artifact_prefix": f"{folder}/{target.name}-",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    options |= {"dict": scratch / "words"} if words else {}
    return [*(f"-{name}={value}" for name, value in options.items()), str(scratch / "inputs")]


def _by_chance(target: Target, cases: int, seed: int, folder: Path) -> int:
    harness = importlib.import_module(f"tests.fuzz.targets.{target.name}")
    chance, run = random.Random(seed), bounded(harness.run)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(cases):
        data = harness.SEEDS[number % len(harness.SEEDS)]
        for _ in range(chance.choice((0, 1, 1, 2, 4, 8))):
            data = _changed(data, chance, harness.WORDS)[: target.most_bytes]
        signal.alarm(HANG_SECONDS)
        try:
            run(data)
        except BaseException:
            place = folder / f"{target.name}-crash-{number}"
            place.write_bytes(data)
            print(f"input: {place}", file=sys.stderr)
            raise
    print(f"stat::number_of_executed_units: {cases}")  # as libFuzzer says it
    return 0


def _changed(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A piece of it replaced: by noise, by nothing, by itself again, or by what computers stumble over."""
    start = chance.randrange(len(data) + 1)
    end = min(start + chance.choice((0, 1, 1, 2, 4, 16)), len(data))
    piece = data[start:end]
    noise = chance.randbytes(chance.choice((1, 1, 2, 4)))
    odd = chance.choice((b"\0", b"\xff\xff\xff\xff", b"-1", b"1e999", b"\r\n", b'"', b"[" * 200, *words))
    return data[:start] + chance.choice((noise, odd, b"", piece * 3)) + data[end:]


if __name__ == "__main__":
    sys.exit(main())
