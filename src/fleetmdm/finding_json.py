"""How findings are written where they are kept: JSON with sorted keys, equal bytes for equal findings.

Apart from `results`, which verifying evidence imports and which therefore needs no library.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

encode_value: Final = msgspec.json.Encoder(order="sorted").encode
"""JSON with sorted keys: of a finding, or of a value in one."""


def join_findings(written: Iterable[bytes]) -> bytes:
    """The JSON array of findings that `encode_value` wrote."""
    return b"[" + b",".join(written) + b"]"
