"""Fuzz all targets one after another and print a table of the outcomes: `python -m tests.fuzz`."""

import argparse
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import TARGETS, Target

ROOT = Path(__file__).parent.parent.parent
MAX_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Outcome:
    """The number of cases that a target's process ran, its time, and its error message if it failed."""

    cases: int
    seconds: float
    error: str


def fuzz(target: Target, cases: int, seed: int, folder: Path) -> Outcome:
    """Run a target's cases in a process; save an input that fails in `folder`."""
    command = [sys.executable, "-m", "tests.fuzz.run", target.name, str(cases), str(seed), str(folder)]
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=MAX_SECONDS, check=False
    )
    output = done.stdout + done.stderr
    ran = re.search(r"number_of_executed_units: (\d+)", output)
    error = f"status {done.returncode}\n{_error_message(output)}" if done.returncode else ""
    return Outcome(int(ran[1]) if ran else 0, time.monotonic() - start, error)


def _error_message(output: str) -> str:
    """Return the exception or libFuzzer's report of a crash, and the path of the saved input."""
    start = max(output.find(marker) for marker in ("=== Uncaught", "==ERROR", "=== Timeout", "Traceback"))
    written = re.search(r"(Test unit written to|input:) .*", output)
    return f"{output[start:][:3000] if start >= 0 else output[-2000:]}\n{written[0] if written else ''}"


def main() -> int:
    """Run the named targets (default: all); return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = [each.name for each in TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(names)} (default: all)")
    parser.add_argument(
        "--cases", type=int, default=10_000_000, help="number of cases of all targets together"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the random numbers")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="folder for inputs that fail")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(names):
        parser.error(f"TARGET: expected names of targets, got {', '.join(sorted(unknown))}. See --help.")
    options.found.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in TARGETS if not options.targets or each.name in options.targets]
    return _run(chosen, options.cases, options.seed % 2**31, options.found.absolute())


def _run(targets: list[Target], cases: int, seed: int, found: Path) -> int:
    shares, total, failed = sum(each.share for each in targets), 0, 0
    print(f"seed {seed}\n{'target':<12} {'cases':>12} {'seconds':>8}", flush=True)
    for target in targets:
        outcome = fuzz(target, round(cases * target.share / shares), seed, found)
        total, failed = total + outcome.cases, failed + bool(outcome.error)
        print(f"{target.name:<12} {outcome.cases:>12,} {outcome.seconds:>8.0f}  {outcome.error}", flush=True)
    print(f"{'all':<12} {total:>12,}  {failed or 'none'} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
