"""`make stress` and `make soak`: our agent, started for it, under a load of minutes to hours.

python benchmarks/long_load.py stress|soak [options of `secretive-bench slo` or `soak`]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from agent_rows import CORES
from load import Setup, make_keys, start
from secretivex.cli.bench.program import main as bench

CONFIG = 'profile = "pssh"\nidle_timeout_ms = 0\nsign_timeout_ms = 0\n'


def main() -> int:
    """Start an agent, put the load on, and answer the exit status of `secretive-bench`."""
    kind, *options = sys.argv[1:] or [""]
    if kind not in ("stress", "soak"):
        raise SystemExit(__doc__)
    with tempfile.TemporaryDirectory(prefix="long-") as folder:
        keys = make_keys(Path(folder))
        with start(f"ours:{CORES}", Setup(keys, config=CONFIG)) as agent:
            words = ["slo", "--gate", "stress"] if kind == "stress" else ["soak"]
            return bench([*words, "--socket", agent.address, *options])


if __name__ == "__main__":
    sys.exit(main())
