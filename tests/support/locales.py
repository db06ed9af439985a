"""Commands of our programs in the wrong locale: none, one that is not there, one without umlauts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from forked import Ended

ROOT = Path(__file__).resolve().parents[2]

LOCALES = ("C", "POSIX", "xx_YY.UTF-8", "")

STRICT = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""An interpreter that takes the locale at its word."""


def run_in_locale(
    module: str, argv: Sequence[str], home: Path, locale: str, more: Mapping[str, str] = STRICT
) -> Ended:
    """Run a program, by its module, in its home `home`; nothing else tells it an encoding."""
    env = {"HOME": str(home), "PYTHONPATH": str(ROOT / "src"), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-m", module, *argv],
        capture_output=True,
        timeout=120,
        check=False,
        cwd=home,
        env={**env, **more, "LC_ALL": locale},
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
