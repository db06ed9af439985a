"""A question on its way from a worker to whoever keeps the board.

Rule for editors: two requests may share an answer only if everything that a person could tell apart
is in `key`; an empty key shares with nobody.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from secretivex.context.purpose import purpose_of
from secretivex.context.signed_data import DataKind
from secretivex.engine import SignJob
from secretivex.stores.token.askpass import Question


class Asked(NamedTuple):
    """What a person is asked, which answers it may share, and whose turn it takes."""

    question: Question
    key: str
    line: str


def encode_asked(asked: Asked) -> bytes:
    """As bytes for the private channel."""
    question = asked.question
    return json.dumps([question.text, dict(question.environ), asked.key, asked.line]).encode()


def parse_asked(body: bytes) -> Asked:
    """The inverse; raises ValueError for what no worker sends."""
    text, environ, key, line = json.loads(body)
    return Asked(Question(text, environ), key, line)


def key_of(job: SignJob) -> str:
    """What one answer holds for: the key, its user's program and session, where to and what for.

    Empty for a key that is asked about every time, and wherever one of these cannot be told.
    """
    entry, caller = job.entry, job.peer.caller
    if entry.asks_each_time or caller is None or not caller.executable or caller.session is None:
        return ""
    purpose = purpose_of(job.data, job.bindings)
    is_login = purpose.kind is DataKind.USERAUTH
    if purpose.kind is DataKind.OTHER or (is_login and purpose.host_key is None):
        return ""
    parts = (
        *(entry.identity.key_blob.hex(), job.flags),
        *(job.peer.uid, caller.executable, caller.session),
        *(purpose.kind, purpose.detail, purpose.user, (purpose.host_key or b"").hex()),
        *(job.bindings.is_remote, *(hop.host_key.hex() for hop in job.bindings.hops)),
    )
    return json.dumps(parts)
