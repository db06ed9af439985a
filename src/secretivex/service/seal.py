"""Whose a service file is: what `install` wrote has a mark with a digest of the rest.

Rule for editors: a file whose digest does not fit was changed by a person, and is as little ours to
replace or remove as one without a mark.
"""

from __future__ import annotations

import hashlib
from enum import Enum

MARK = "# Written by `secretive-agent install`; `secretive-agent uninstall` removes it.\n"
"""First line of every text file that we write."""

_DIGEST = "# sha256 of what follows: "


class Whose(Enum):
    """Who wrote what stands at a path."""

    NOBODYS = "absent"
    OURS = "ours"
    CHANGED = "ours, and changed since"
    FOREIGN = "somebody else's"


def digest_of(content: bytes) -> str:
    """What the mark says of the rest."""
    return hashlib.sha256(content).hexdigest()


def seal_text(body: str) -> str:
    """A text file with our mark; lines that begin with `#` must be comments in it."""
    return f"{MARK}{_DIGEST}{digest_of(body.encode())}\n{body}"


def judge_text(content: bytes) -> Whose:
    """Whose a file of `seal_text` is by now."""
    if not content.startswith(MARK.encode()):
        return Whose.FOREIGN
    line, _, body = content[len(MARK.encode()) :].partition(b"\n")
    return Whose.OURS if line == (_DIGEST + digest_of(body)).encode() else Whose.CHANGED
