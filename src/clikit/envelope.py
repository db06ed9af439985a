"""The JSON document that every command prints in JSON mode: one on stdout, always with a verdict.

Shapes: success `{"schema":1,"ok":true,"data":...}`; could not do it
`{"schema":1,"ok":false,"error":{...}}`; done and something is wrong: both `data` and `error`.
"""

from __future__ import annotations

import json
from typing import Any

from clikit.errors import Failure

SCHEMA = 1
"""Version of the envelope itself."""


def encode_failure(failure: Failure) -> dict[str, Any]:
    """The `error` member."""
    return {
        "code": failure.code,
        "message": failure.message,
        "hint": failure.hint,
        "details": failure.details,
    }


def success(data: Any) -> dict[str, Any]:
    """The work was done and nothing is wrong."""
    return {"schema": SCHEMA, "ok": True, "data": data}


def failed(failure: Failure) -> dict[str, Any]:
    """The work could not be done."""
    return {"schema": SCHEMA, "ok": False, "error": encode_failure(failure)}


def found(data: Any, failure: Failure) -> dict[str, Any]:
    """The work was done and something is wrong."""
    return {"schema": SCHEMA, "ok": False, "data": data, "error": encode_failure(failure)}


def render_json(document: Any) -> str:
    """Plain JSON text with a final newline; NaN and infinities are refused, as RFC 8259 does."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
