"""How long a command takes before it does anything, beside an empty Python that sleeps 0.20 s.

The target is 0.20 s more than `python -c pass`; the sleep stands for those, so the ratio is 1.
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
                "python -c pass + 0.20 s",
                lambda name=name: process(BIN / name, "--help"),  # type: ignore[misc] # a default binds the loop's value
                lambda: process(sys.executable, "-c", "import time; time.sleep(0.20)"),
                at_most=1,
            )
            for name in ("fleetmdm", "secretive-agent", "secretive-client")
        ]
    )


if __name__ == "__main__":
    main()
