"""`python -m tests.fuzz`: the long run over all targets, one process after the other, and a table of it."""

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
    """What a target's process did: the cases that it ran, and its last words where it failed."""

    cases: int
    seconds: float
    fault: str


def fuzz(target: Target, cases: int, seed: int, folder: Path) -> Outcome:
    """Run a target's cases; an input that breaks it is left in `folder`."""
    command = [sys.executable, "-m", "tests.fuzz.run", target.name, str(cases), str(seed), str(folder)]
    start = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=MAX_SECONDS, check=False
    )
    told = done.stdout + done.stderr
    ran = re.search(r"number_of_executed_units: (\d+)", told)
    fault = f"status {done.returncode}\n{_last_words(told)}" if done.returncode else ""
    return Outcome(int(ran[1]) if ran else 0, time.monotonic() - start, fault)


def _last_words(told: str) -> str:
    """The exception, or what libFuzzer says of a crash, and where the input is."""
    start = max(told.find(word) for word in ("=== Uncaught", "==ERROR", "=== Timeout", "Traceback"))
    written = re.search(r"(Test unit written to|input:) .*", told)
    return f"{told[start:][:3000] if start >= 0 else told[-2000:]}\n{written[0] if written else ''}"


def main() -> int:
    """Run all targets, or those that are named; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    names = [each.name for each in TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--cases", type=int, default=10_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the chance")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="folder for inputs that break")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(names):
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    options.found.mkdir(parents=True, exist_ok=True)
    chosen = [each for each in TARGETS if not options.targets or each.name in options.targets]
    return _run(chosen, options.cases, options.seed % 2**31, options.found.absolute())


def _run(targets: list[Target], cases: int, seed: int, found: Path) -> int:
    whole, total, failed = sum(each.share for each in targets), 0, 0
    print(f"seed {seed}\n{'target':<12} {'cases':>12} {'seconds':>8}", flush=True)
    for target in targets:
        outcome = fuzz(target, round(cases * target.share / whole), seed, found)
        total, failed = total + outcome.cases, failed + bool(outcome.fault)
        print(f"{target.name:<12} {outcome.cases:>12,} {outcome.seconds:>8.0f}  {outcome.fault}", flush=True)
    print(f"{'all':<12} {total:>12,}  {failed or 'none'} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
