"""Version order against those who define it: dpkg itself, and the reference library of PEP 440."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from typing import Any

from packaging.version import InvalidVersion, Version

from fleetmdm.evaluate.operators.versions import version_key

DPKG_PIECES = ["0", "1", "9", "10", "01", "a", "b", "rc", "~", "+", ".", "-", ":", "1:", "ubuntu"]
PEP440_PIECES = ["0", "1", "10", "01", ".", "-", "_", "a", "b", "rc", "alpha", "post", "dev"]
PEP440_PIECES += [
    "!",
    "+",
    "1!",
    ".post",
    ".dev",
    "c",
    "rev",
    "v",
    "x",
    "+local.1",
    "+1",
    "RC",
    " ",
]


def pairs(pieces: list[str], count: int, seed: int) -> list[tuple[str, str]]:
    chance = random.Random(seed)

    def version() -> str:
        return "1" + "".join(chance.choices(pieces, k=chance.randrange(5)))

    return [(version(), version()) for _ in range(count)]


def sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def test_debian_versions_sort_as_dpkg_sorts_them(require_program: Callable[[str], str]) -> None:
    dpkg = require_program("dpkg")
    compared = 0
    for left, right in pairs(DPKG_PIECES, 250, 3):
        words = [dpkg, "--compare-versions", left, "lt", right]
        below = subprocess.run(words, capture_output=True, text=True, check=False)
        above = subprocess.run(
            [dpkg, "--compare-versions", left, "gt", right],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            mine = sign(version_key("dpkg", left), version_key("dpkg", right))
        except ValueError:
            # We may refuse only what dpkg complains of.
            assert below.stderr, (left, right)
            continue
        assert not below.stderr, (left, right, below.stderr)
        assert mine == (above.returncode == 0) - (below.returncode == 0), (left, right)
        compared += 1
    assert compared > 50


def test_python_versions_sort_as_their_reference_sorts_them() -> None:
    compared = 0
    for left, right in pairs(PEP440_PIECES, 20_000, 2):
        try:
            theirs = sign(Version(left), Version(right))
        except InvalidVersion:
            continue
        mine = sign(version_key("pep440", left), version_key("pep440", right))
        assert mine == theirs, (left, right)
        compared += 1
    assert compared > 500


def test_what_the_reference_refuses_is_refused() -> None:
    for text, _ in pairs(PEP440_PIECES, 5_000, 3):
        try:
            Version(text)
        except InvalidVersion:
            accepted = False
        else:
            accepted = True
        try:
            version_key("pep440", text)
        except ValueError:
            assert not accepted, text
        else:
            assert accepted, text
