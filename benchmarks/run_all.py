"""`make bench`: every benchmark, one after the other; what missed is told at the end.

Figures go to `benchmarks/results/`, and docs/performance.md is written anew from them. Exits 1 if a
target was missed or a benchmark broke; a row that cannot be measured yet is told and is no miss.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ratio import NOT_MEASURABLE

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
VERDICTS = {0: "met", 1: "MISSED", NOT_MEASURABLE: "not measurable yet"}


def main() -> None:
    """Run those whose names contain one of the words given, else all."""
    words = sys.argv[1:] or [""]
    outcomes: dict[str, int] = {}
    for path in sorted(HERE.glob("bench_*.py")):
        if any(word in path.stem for word in words):
            print(f"== {path.stem}", flush=True)
            command = [sys.executable, str(path), "--json", str(RESULTS / f"{path.stem}.json")]
            outcomes[path.stem] = subprocess.run(command, check=False).returncode
    subprocess.run([sys.executable, str(HERE / "performance_doc.py")], check=True)
    for name, status in outcomes.items():
        print(f"{name}: {VERDICTS.get(status, f'broken, exit status {status}')}")
    sys.exit(any(status not in (0, NOT_MEASURABLE) for status in outcomes.values()))


if __name__ == "__main__":
    main()
