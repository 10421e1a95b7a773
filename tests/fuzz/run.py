"""Fuzz one parser in this process: `python -m tests.fuzz.run TARGET CASES SEED FOLDER`.

Atheris (libFuzzer) generates the inputs, guided by coverage. If atheris is not installed, the inputs are
random changes of the seeds. An input that fails is saved in FOLDER, and the process fails.
"""

import importlib
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.case import limited
from tests.fuzz.targets import TARGETS, Target

GUIDED = ["gateway", "multipart", "PIL", "shared", "werkzeug", "worker"]
"""Packages whose coverage guides atheris: our packages and the Python packages that parse for them."""

HANG_SECONDS = 30
"""Maximum time of a case in seconds; then the process ends, even if the case hangs in C code."""


def main() -> int:
    """Run the cases; return the exit status."""
    name, cases, seed, folder = sys.argv[1:]
    (target,) = (each for each in TARGETS if each.name == name)
    arguments = (target, int(cases), int(seed), Path(folder))
    try:
        import atheris
    except ImportError:
        return _run_random(*arguments)
    with atheris.instrument_imports(include=GUIDED, enable_loader_override=False):
        harness = importlib.import_module(f"tests.fuzz.targets.{name}")
    with tempfile.TemporaryDirectory(prefix="fuzz") as scratch:
        options = _options(harness, *arguments, Path(scratch))
        atheris.Setup([sys.argv[0], *options], limited(harness.run))
        atheris.Fuzz()
    return 0


def _options(harness: Any, target: Target, cases: int, seed: int, folder: Path, scratch: Path) -> list[str]:
    """Return libFuzzer's arguments: its options, then the folder with the seeds."""
    (scratch / "inputs").mkdir()
    for number, each in enumerate(harness.SEEDS):
        (scratch / "inputs" / str(number)).write_bytes(each)
    words = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in harness.WORDS]
    (scratch / "words").write_text("".join(words))
    options = {
        "runs": cases,
        "seed": seed,
        "max_len": target.max_bytes,
        "rss_limit_mb": 4096,
        "timeout": HANG_SECONDS,
        "artifact_prefix": f"{folder}/{target.name}-",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    options |= {"dict": scratch / "words"} if words else {}
    return [*(f"-{name}={value}" for name, value in options.items()), str(scratch / "inputs")]


def _run_random(target: Target, cases: int, seed: int, folder: Path) -> int:
    harness = importlib.import_module(f"tests.fuzz.targets.{target.name}")
    rng, run = random.Random(seed), limited(harness.run)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(cases):
        data = harness.SEEDS[number % len(harness.SEEDS)]
        for _ in range(rng.choice((0, 1, 1, 2, 4, 8))):
            data = _changed(data, rng, harness.WORDS)[: target.max_bytes]
        signal.alarm(HANG_SECONDS)
        try:
            run(data)
        except BaseException:
            path = folder / f"{target.name}-crash-{number}"
            path.write_bytes(data)
            print(f"input: {path}", file=sys.stderr)
            raise
    print(f"stat::number_of_executed_units: {cases}")  # the same format as in libFuzzer
    return 0


def _changed(data: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    """Replace a piece of the data: by noise, by nothing, by copies of itself, or by a special value."""
    start = rng.randrange(len(data) + 1)
    end = min(start + rng.choice((0, 1, 1, 2, 4, 16)), len(data))
    piece = data[start:end]
    noise = rng.randbytes(rng.choice((1, 1, 2, 4)))
    special = rng.choice((b"\0", b"\xff\xff\xff\xff", b"-1", b"1e999", b"\r\n", b'"', b"[" * 200, *words))
    return data[:start] + rng.choice((noise, special, b"", piece * 3)) + data[end:]


if __name__ == "__main__":
    sys.exit(main())
