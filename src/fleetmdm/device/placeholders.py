"""Texts that firmware and tools write where nobody filled in a serial number or a UUID. Pure.

They are the same on thousands of machines. Rule for editors: rows are lower case with single
blanks; what stands here is never an identity and never evidence that two devices are one.
"""

from __future__ import annotations

from typing import Final

PLACEHOLDERS: Final = frozenset(
    {
        "",
        "-",
        "0",
        "00000000-0000-0000-0000-000000000000",
        "00020003-0004-0005-0006-000700080009",
        "01234567-8910-1112-1314-151617181920",
        "0123456789",
        "03000200-0400-0500-0006-000700080009",
        "03020100-0504-0706-0809-0a0b0c0d0e0f",
        "1234567",
        "12345678",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "123456789",
        "1234567890",
        "asset-1234567890",
        "chassis serial number",
        "default string",
        "empty",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
        "invalid",
        "n/a",
        "na",
        "no asset information",
        "none",
        "not applicable",
        "not available",
        "not present",
        "not settable",
        "not specified",
        "null",
        "o.e.m.",
        "oem",
        "serial number",
        "serialnumber",
        "system serial number",
        "system version",
        "to be filled by o.e.m",
        "to be filled by o.e.m.",
        "unknown",
        "unspecified",
    }
)

_REPEATED = 4
"""From so many equal characters on, a text such as 0000 or xxxxxxxx says nothing."""


def is_placeholder(text: str) -> bool:
    """Whether the text stands for "nobody filled this in": a row above, or one sign repeated."""
    plain = " ".join(text.lower().split())
    return plain in PLACEHOLDERS or (len(plain) >= _REPEATED and len(set(plain)) == 1)
