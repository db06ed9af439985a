"""docs/wire.md says what the code says: limits, algorithms, ciphers, errors and reasons."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from sshwire import errors
from sshwire.algorithms import KEY_ALGORITHMS, SIGNATURE_FORMATS
from sshwire.privkey.ciphers import CIPHERS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "wire.md").read_text()
SOURCES = sorted((ROOT / "src" / "sshwire").rglob("*.py"))

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024 * 1024}
_LIMIT_ROW = re.compile(r"^\| `([a-z.]+)\.(M[A-Z_0-9]+)` \| (\d+) ?(KiB|MiB|) \|", re.MULTILINE)
LIMITS = _LIMIT_ROW.findall(TEXT)


@pytest.mark.parametrize(("module", "name", "number", "unit"), LIMITS)
def test_limit_is_documented_with_its_value(module: str, name: str, number: str, unit: str) -> None:
    value = getattr(importlib.import_module(f"sshwire.{module}"), name)
    assert value == int(number) * _UNITS[unit]


def test_every_limit_of_keys_and_signatures_is_documented() -> None:
    ours = {"wire", "keyblob", "pubkey", "cert", "signature", "destinations"}
    defined = {
        (path.stem, name)
        for path in SOURCES
        if path.stem in ours
        for name in re.findall(r"^(M(?:AX|IN)_[A-Z_0-9]+)\b", path.read_text(), re.MULTILINE)
    }
    assert defined
    assert defined <= {(module.rpartition(".")[2], name) for module, name, _, _ in LIMITS}


def test_every_algorithm_and_cipher_is_documented() -> None:
    plain = {row.plain_name for row in KEY_ALGORITHMS.values()}
    for name in plain | set(SIGNATURE_FORMATS) | set(CIPHERS):
        short = name.replace("ecdsa-sha2-nistp384", "-nistp384").replace(
            "ecdsa-sha2-nistp521", "-nistp521"
        )
        assert f"`{short}`" in TEXT


def test_every_error_and_every_reason_is_documented() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type):
            assert f"`{name}`" in TEXT
    code = (ROOT / "src" / "sshwire" / "signature.py").read_text()
    reasons = re.findall(r'VerificationError\(\s*"([a-z0-9_]+)"', code)
    assert len(reasons) == 5
    for reason in reasons:
        assert f"`{reason}`" in TEXT
