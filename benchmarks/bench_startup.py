"""How long a command takes before it does anything, beside an empty Python that sleeps 0.20 s.

The target is 0.20 s more than `python -c pass`, and 0.35 s more for a report of ten devices; the
sleep stands for those, so the ratio is 1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from fleet import NOW, make_documents, make_policies
from fleetmdm.device import parse_device
from fleetmdm.engines.local import record_run
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import open_store
from ratio import Measured, compare, finish

BIN = Path(sys.executable).parent


def process(*argv: str | Path) -> None:
    """Run a whole process."""
    subprocess.run([str(word) for word in argv], capture_output=True, check=True)


def fill(path: Path) -> None:
    """A fleet of ten devices and twenty policies with one run."""
    with closing(open_store(path, create=True, now=NOW)) as store:
        documents = (parse_device(one, now=NOW) for one in make_documents(10))
        store.put_devices(documents, now=NOW)
        store.put_policies(make_policies(), now=NOW)
        record_run(store, NewRun(NOW, NOW, "benchmark"), clock=lambda: NOW)


def time_report() -> Measured:
    """A report of ten devices."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        fill(path)
        return compare(
            "fleetmdm report",
            "python -c pass + 0.35 s",
            lambda: process(BIN / "fleetmdm", "report", "--db", path),
            lambda: process(sys.executable, "-c", "import time; time.sleep(0.35)"),
            at_most=1,
        )


def main() -> None:
    """Time the help of each command line, and a small report."""
    finish(
        [
            time_report(),
            *(
                compare(
                    f"{name} --help",
                    "python -c pass + 0.20 s",
                    lambda name=name: process(BIN / name, "--help"),  # type: ignore[misc] # a default binds the loop's value
                    lambda: process(sys.executable, "-c", "import time; time.sleep(0.20)"),
                    at_most=1,
                )
                for name in ("fleetmdm", "secretive-agent", "secretive-client")
            ),
        ]
    )


if __name__ == "__main__":
    main()
