"""How long a command takes before it does anything, beside an empty Python.

docs: `fleetmdm --help` may cost 0.20 s more than `python -c pass`. Both are timed as whole
processes; the ratio's target is what those 0.20 s are on a machine where the empty one takes 0.02.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ratio import compare, finish

BIN = Path(sys.executable).parent


def process(*argv: str | Path) -> None:
    """Run a whole process."""
    subprocess.run([str(word) for word in argv], capture_output=True, check=True)


def main() -> None:
    """Time the help of each command line."""
    finish(
        [
            compare(
                f"{name} --help",
                "python -c pass",
                lambda name=name: process(BIN / name, "--help"),  # type: ignore[misc] # a default binds the loop's value
                lambda: process(sys.executable, "-c", "pass"),
                at_most=11,
            )
            for name in ("fleetmdm", "secretive-agent", "secretive-client")
        ]
    )


if __name__ == "__main__":
    main()
