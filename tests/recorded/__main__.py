"""`python -m tests.recorded`: record the answers of the present code, with which later code is compared."""

import json

from tests.recorded.answers import FILE, collect

if __name__ == "__main__":
    found = collect()
    # One line for each answer, so that a change of the file shows which answers changed.
    rows = [f"{json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}" for name, each in found.items()]
    FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"{len(found)} answers recorded in {FILE}")
