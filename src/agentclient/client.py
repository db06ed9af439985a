"""A blocking client for any running SSH agent.

    with AgentClient(resolve(None, environ)) as agent:
        for identity in agent.identities(): ...

Rule for editors: after an error that may have lost the turn order the connection is closed; it is
never used to guess which reply belongs to which request.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from agentclient.answers import (
    done,
    extensions_of,
    frame_of,
    identities_of,
    read_reply,
    signature_of,
)
from agentclient.errors import AgentProtocolError, AgentUnavailable
from agentclient.pipe import PIPE_PREFIX, PipeTransport
from agentclient.transport import UnixTransport
from sshwire.agent.connection import NEED_DATA, ClientTurns
from sshwire.agent.replies import Identity, Reply
from sshwire.agent.requests import (
    ExtensionRequest,
    ListRequest,
    Request,
    SignRequest,
    encode_request,
)
from sshwire.errors import WireError
from sshwire.pubkey import PublicKey

DEFAULT_TIMEOUT_S: Final = 60.0
"""Longest wait for one reply: a key may wait for a person to confirm or to touch a token."""


class AgentClient:
    """One connection to an agent, open from `with` to its end; not for two threads at once."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._transport: UnixTransport | PipeTransport | None = None
        self._turns = ClientTurns()

    def __enter__(self) -> Self:
        self._turns = ClientTurns()
        transport = PipeTransport if self.address.startswith(PIPE_PREFIX) else UnixTransport
        self._transport = transport.connect(self.address, timeout_s=self._timeout_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; closing twice is fine."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def identities(self) -> tuple[Identity, ...]:
        """The keys the agent offers, in its order."""
        return identities_of(self.call(ListRequest()))

    def sign(self, blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """A signature blob by the key with this public key blob; raises `AgentRefused`."""
        return signature_of(self.call(SignRequest(blob, data, flags)))

    def extensions(self) -> tuple[str, ...]:
        """Names of the protocol extensions the agent says it has; older agents say none."""
        return extensions_of(self.call(ExtensionRequest("query")))

    def perform(self, request: Request) -> None:
        """Send a request that is answered by success or failure alone; raises `AgentRefused`."""
        done(self.call(request))

    def call(self, request: Request) -> Reply:
        """Send any request and take its reply apart; a failure is a reply, not an exception."""
        reply = self.request(encode_request(request))
        try:
            return read_reply(reply)
        except AgentProtocolError:
            self.close()
            raise

    def request(self, payload: bytes) -> bytes:
        """Send one payload as it is and give its reply as it is, both without a length."""
        if self._transport is None:
            raise AgentUnavailable("the connection to the agent is closed")
        frame = frame_of(self._turns, payload)
        deadline = time.monotonic() + self._timeout_s
        try:
            self._transport.send(frame, deadline=deadline)
            while (reply := self._turns.next_reply()) is NEED_DATA:
                self._turns.receive_data(self._transport.receive(deadline=deadline))
        except WireError as error:
            self.close()
            raise AgentProtocolError(f"the agent's reply is malformed: {error}") from error
        except BaseException:
            self.close()
            raise
        return reply


class AgentSigner:
    """A key that an agent holds, as a `sshwire.sshsig.Signer`."""

    def __init__(self, client: AgentClient, public_key: PublicKey) -> None:
        self._client = client
        self._public_key = public_key

    @property
    def public_key(self) -> PublicKey:
        """The key that the agent is asked to sign with."""
        return self._public_key

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """A signature blob over the data; raises the errors of `AgentClient.sign`."""
        return self._client.sign(self._public_key.blob, data, flags)
