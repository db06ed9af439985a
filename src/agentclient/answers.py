"""What is sent and what a reply means, the same for the blocking and the asyncio client.

Rule for editors: a reply of the wrong kind is the agent's fault, a failure is its decision; the
two never share an exception.
"""

from __future__ import annotations

from agentclient.errors import AgentProtocolError, AgentRefused
from sshwire.agent.connection import ClientTurns
from sshwire.agent.replies import (
    ExtensionFailure,
    ExtensionResponse,
    Failure,
    IdentitiesAnswer,
    Identity,
    Reply,
    SignResponse,
    Success,
    parse_reply,
)
from sshwire.errors import WireError
from sshwire.wire import Reader


def frame_of(turns: ClientTurns, payload: bytes) -> bytes:
    """The bytes to write for a request; one that no agent would read is not sent at all."""
    try:
        return turns.send(payload)
    except WireError as error:
        raise AgentProtocolError(f"the request cannot be sent: {error}") from error


def read_reply(payload: bytes) -> Reply:
    """The reply of a frame; raises `AgentProtocolError` for what is none."""
    try:
        return parse_reply(payload)
    except WireError as error:
        raise AgentProtocolError(f"the agent's reply is malformed: {error}") from error


def identities_of(reply: Reply) -> tuple[Identity, ...]:
    """The answer to a list request."""
    if isinstance(reply, IdentitiesAnswer):
        return reply.identities
    raise _unexpected(reply, "list its keys")


def signature_of(reply: Reply) -> bytes:
    """The answer to a sign request: a signature blob."""
    if isinstance(reply, SignResponse):
        return reply.signature
    raise _unexpected(reply, "sign")


def done(reply: Reply) -> None:
    """The answer to a request that gives nothing back."""
    if not isinstance(reply, Success):
        raise _unexpected(reply, "do what was asked")


def extensions_of(reply: Reply) -> tuple[str, ...]:
    """The answer to the `query` extension: 29 with the name as RFC 9987 says, or 6 as drafts said.

    An agent that does not know `query` says failure, and that is no error: it has no extensions
    to tell of.
    """
    match reply:
        case ExtensionResponse("query", body) | Success(body):
            return _names(body)
        case Failure() | ExtensionFailure():
            return ()
    raise _unexpected(reply, "name its extensions")


def _names(body: bytes) -> tuple[str, ...]:
    reader = Reader(body)
    names = []
    try:
        while reader.remaining:
            names.append(reader.text())
    except WireError as error:
        raise AgentProtocolError(f"the agent's extensions are malformed: {error}") from error
    return tuple(names)


def _unexpected(reply: Reply, wish: str) -> AgentRefused | AgentProtocolError:
    if isinstance(reply, Failure | ExtensionFailure):
        return AgentRefused(
            f"the agent refused to {wish}", hint="its log may say why; the protocol does not"
        )
    return AgentProtocolError(
        f"the agent was asked to {wish} and answered with {type(reply).__name__}"
    )
