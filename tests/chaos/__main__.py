"""`python -m tests.chaos [FAULT …] [--runs N] [--kills N]`: the faults under load, as a table in Markdown."""

import argparse
import math
import sys
import time
from collections import Counter
from dataclasses import asdict

from tests.chaos.faults import FAULTS, Bench, Missing
from tests.chaos.run import bench_of_faults, strike

RUNS_TOGETHER = 25
"""Under one load, whose jobs are then followed up: after `RESULT_TTL` nobody can say what became of them."""


def main() -> int:
    """Print a line for each fault; 1 where a job was lost, settled twice or answered wrongly.

    So it is where nobody had an answer any more, and where a fault can't be tried, unless that is allowed.
    """
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT", help=f"which (default: all): {', '.join(FAULTS)}"
    )
    parser.add_argument("--runs", type=int, default=5, help="of each fault (default: 5)")
    parser.add_argument("--kills", type=int, default=100, help="of worker_killed (default: 100)")
    parser.add_argument("--allow-missing", action="store_true", help="pass where a fault can't be tried here")
    options = parser.parse_args()
    if unknown := set(options.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    faulty, missing = 0, []
    columns = (
        "fault",
        "runs",
        "jobs accepted",
        "lost",
        "settled twice",
        "wrong",
        "recovered: median",
        "longest",
    )
    print(f"| {' | '.join(columns)} |")
    print(f"|{' --- |' * len(columns)}", flush=True)
    with bench_of_faults() as bench:
        for name in options.faults or FAULTS:
            try:
                faulty += _row(bench, name, options.kills if name == "worker_killed" else options.runs)
            except Missing as error:
                missing.append(name)
                print(f"| {name} | 0 | not tried: needs {error} | | | | | |", flush=True)
    if missing:
        print(f"NOT TRIED HERE: {', '.join(missing)} (--allow-missing passes without)", file=sys.stderr)
    return 1 if faulty or (missing and not options.allow_missing) else 0


def _row(bench: Bench, name: str, runs: int) -> int:
    start, counts, recoveries, told = time.monotonic(), Counter[str](), list[float](), list[str]()
    for done in range(0, runs, RUNS_TOGETHER):
        load, outcome, times = strike(bench, name, min(RUNS_TOGETHER, runs - done))
        counts.update(asdict(outcome))
        recoveries += times
        told += load.told()
    for line in told:
        print(line, file=sys.stderr)
    counts["wrong"] += len(told)
    recovered = f"{sorted(recoveries)[len(recoveries) // 2]:.1f} s | {max(recoveries):.1f} s"
    faulty = [counts[each] for each in ("lost", "duplicated", "wrong")]
    print(
        f"| {name} | {runs} | {counts['accepted']:,} | {' | '.join(map(str, faulty))} | {recovered} |",
        flush=True,
    )
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return sum(faulty) + sum(map(math.isinf, recoveries))


if __name__ == "__main__":
    sys.exit(main())
