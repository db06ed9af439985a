"""The examples of docs/governance.md work as they stand, line by line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.governance.findings import WAIVER_CODES
from fleetmdm.triage import MIN_FLAPS, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "governance.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_example_works_as_written(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-eu", "-c", "".join(BLOCKS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": str(ROOT / "src"),
            "LANG": "C.UTF-8",
        },
    )
    assert done.returncode == 0, done.stderr + done.stdout
    for said in ("waived", "A1: pass for room-locked", "runs stay", "nothing is assigned now"):
        assert said in done.stdout


def test_every_state_code_and_weight_is_named() -> None:
    for state in set(EffectiveStatus) - {
        EffectiveStatus.INFORMATIONAL,
        EffectiveStatus.FIXED,
    }:
        assert f"`{state}`" in PAGE
    for code in WAIVER_CODES:
        assert f"`{code}`" in PAGE
    weights = ", ".join(f"{severity} {weight}" for severity, weight in WEIGHTS.items())
    assert weights in PAGE
    assert MIN_FLAPS == 3
