"""Cause the faults under load and print a table in Markdown: `python -m tests.chaos`."""

import argparse
import math
import sys
import time
from collections import Counter
from dataclasses import asdict

from tests.chaos.faults import FAULTS, Bench, MissingRequirement
from tests.chaos.run import fault_bench, run_fault

MAX_RUNS_PER_LOAD = 25
"""Maximum number of runs under one load, because Redis keeps jobs for their check only for `RESULT_TTL`."""


def main() -> int:
    """Print a row for each fault; return the exit status.

    The status is 1 if a job was lost, settled twice or answered wrongly, or if the service did not recover.
    It is also 1 if a fault cannot be tried on this machine, unless `--allow-missing` is given.
    """
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT", help=f"faults to cause (default: all): {', '.join(FAULTS)}"
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each other fault (default: 5)")
    parser.add_argument("--kills", type=int, default=100, help="runs of worker_killed (default: 100)")
    parser.add_argument(
        "--allow-missing", action="store_true", help="succeed although a fault cannot be tried here"
    )
    options = parser.parse_args()
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"FAULT: expected names of faults, got {', '.join(sorted(unknown))}. See --help.")
    failures, missing = 0, []
    columns = (
        "fault",
        "runs",
        "jobs accepted",
        "lost",
        "settled twice",
        "wrong",
        "recovered: median",
        "maximum",
    )
    print(f"| {' | '.join(columns)} |")
    print(f"|{' --- |' * len(columns)}", flush=True)
    with fault_bench() as bench:
        for name in options.faults or FAULTS:
            try:
                failures += _print_row(
                    bench, name, options.kills if name == "worker_killed" else options.runs
                )
            except MissingRequirement as error:
                missing.append(name)
                print(f"| {name} | 0 | not tried: needs {error} | | | | | |", flush=True)
    if missing:
        print(f"NOT TRIED HERE: {', '.join(missing)} (--allow-missing accepts this)", file=sys.stderr)
    return 1 if failures or (missing and not options.allow_missing) else 0


def _print_row(bench: Bench, name: str, runs: int) -> int:
    start, counts, recoveries, errors = time.monotonic(), Counter[str](), list[float](), list[str]()
    for done in range(0, runs, MAX_RUNS_PER_LOAD):
        load, outcome, times = run_fault(bench, name, min(MAX_RUNS_PER_LOAD, runs - done))
        counts.update(asdict(outcome))
        recoveries += times
        errors += load.webhook_errors()
    for error in errors:
        print(error, file=sys.stderr)
    counts["wrong"] += len(errors)
    recovered = f"{sorted(recoveries)[len(recoveries) // 2]:.1f} s | {max(recoveries):.1f} s"
    failures = [counts[each] for each in ("lost", "duplicated", "wrong")]
    print(
        f"| {name} | {runs} | {counts['accepted']:,} | {' | '.join(map(str, failures))} | {recovered} |",
        flush=True,
    )
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return sum(failures) + sum(map(math.isinf, recoveries))


if __name__ == "__main__":
    sys.exit(main())
