"""What the agent answers: a pure function of a request, its peer, the key table and the policy.

`handle` gives a `Reply`, or a `SignJob` that the server runs when its turn comes and brings back to
`complete`. Specification: RFC 9987. Rule for editors: every request gets exactly one reply, every
failure is one frame, and each has a word for why; nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from secretivex.key_table import EMPTY_TABLE, KeyTable, TableEntry
from secretivex.peer import Peer
from secretivex.policy import Decision, SignQuery
from sshwire.agent.connection import encode_frame
from sshwire.agent.replies import Failure, SignResponse, Success, encode_reply
from sshwire.agent.requests import (
    ExtensionRequest,
    ListRequest,
    Request,
    SignRequest,
    Ssh1RemoveAllRequest,
    UnknownRequest,
    parse_request,
)
from sshwire.errors import WireError

KNOWN_SIGN_FLAGS = 2 | 4
"""RFC 9987 section 5.6: a request with any other flag must fail."""


class Reply(NamedTuple):
    """A whole frame, and a stable word for its outcome. A tuple, for it is made per request."""

    frame: bytes
    outcome: str


class SignJob(NamedTuple):
    """A signature that may be made. A tuple, for it is made per request."""

    entry: TableEntry
    data: bytes
    flags: int
    peer: Peer
    generation: int


class SignOutcome(NamedTuple):
    """What came of a job: the signature, or the word for why there is none."""

    signature: bytes | None
    failure: str = ""


class Decide(Protocol):
    """The signing policy, as the engine asks it."""

    def __call__(self, query: SignQuery, /) -> Decision:
        """Whether a signature may be made."""
        ...


_FAILURE_FRAME = encode_frame(encode_reply(Failure()))
_SUCCESS = Reply(encode_frame(encode_reply(Success())), "ok")

_NOT_SERVED: Mapping[type[Request], str] = {
    # RFC 9987 section 5.8: an extension that is not supported is a plain FAILURE.
    ExtensionRequest: "unsupported_extension",
    UnknownRequest: "unknown_message",
}


def failure(outcome: str) -> Reply:
    """SSH_AGENT_FAILURE, for a reason that only we get to know."""
    return Reply(_FAILURE_FRAME, outcome)


class Engine:
    """One key table and one policy at a time; both are replaced whole."""

    def __init__(self, decide: Decide, table: KeyTable = EMPTY_TABLE) -> None:
        self._decide = decide
        self._table = table

    def replace(self, decide: Decide, table: KeyTable) -> None:
        """From now on answer from this table under this policy."""
        self._decide = decide
        self._table = table

    def handle(
        self,
        payload: bytes | memoryview,
        peer: Peer,
        now: float,  # noqa: ARG002 - rules with a time window and constraints with a lifetime ask it
    ) -> Reply | SignJob:
        """The answer to one request, or the signature to make first."""
        try:
            request = parse_request(payload)
        except WireError:
            return failure("malformed")
        if isinstance(request, SignRequest):
            return self._begin_sign(request, peer)
        if isinstance(request, ListRequest):
            return Reply(self._table.list_frame, "ok")
        if isinstance(request, Ssh1RemoveAllRequest):
            return _SUCCESS
        return failure(_NOT_SERVED.get(type(request), "unsupported_message"))

    def complete(
        self,
        job: SignJob,
        outcome: SignOutcome,
        now: float,  # noqa: ARG002 - as in `handle`
    ) -> Reply:
        """The reply to a sign request; decided again if keys or rules changed since it came."""
        if outcome.signature is None:
            return failure(outcome.failure)
        if job.generation != self._table.generation:
            entry = self._table.find(job.entry.identity.key_blob)
            if entry is None:
                return failure("key_gone")
            refusal = self._refuse(entry, job.peer)
            if refusal is not None:
                return refusal
        return Reply(encode_frame(encode_reply(SignResponse(outcome.signature))), "ok")

    def _begin_sign(self, request: SignRequest, peer: Peer) -> Reply | SignJob:
        entry = self._table.find(request.key_blob)
        if entry is None:
            return failure("key_not_found")
        if request.flags & ~KNOWN_SIGN_FLAGS:
            return failure("unsupported_flags")
        refusal = self._refuse(entry, peer)
        if refusal is not None:
            return refusal
        return SignJob(entry, request.data, request.flags, peer, self._table.generation)

    def _refuse(self, entry: TableEntry, peer: Peer) -> Reply | None:
        """The refusal that policy demands, if it does."""
        decision = self._decide(entry.query(peer))
        return None if decision.allowed else failure(f"policy_{decision.reason}")
