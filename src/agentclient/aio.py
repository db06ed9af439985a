"""An asyncio client for any running SSH agent; requests may overlap on one connection.

    async with AsyncAgentClient(path) as agent:
        signatures = await asyncio.gather(*(agent.sign(blob, data) for data in many))

An agent answers in the order of the requests (RFC 9987 section 3), so each caller waits on its own
future and a caller that gave up leaves its place in the line.

Rule for editors: a future leaves `_waiting` only with its reply or with the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from types import TracebackType
from typing import Self, cast

from agentclient.address import explain
from agentclient.answers import (
    done,
    extensions_of,
    frame_of,
    identities_of,
    read_reply,
    signature_of,
)
from agentclient.client import DEFAULT_TIMEOUT_S
from agentclient.errors import AgentError, AgentProtocolError, AgentTimeout, AgentUnavailable
from agentclient.transport import open_socket, pauses
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


class AsyncAgentClient:
    """One connection to an agent, open from `async with` to its end; for one event loop."""

    def __init__(self, address: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._line: _Line | None = None

    async def __aenter__(self) -> Self:
        self._line = await _connect(self.address, timeout_s=self._timeout_s)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; whoever still waits gets `AgentUnavailable`."""
        if self._line is not None:
            line, self._line = self._line, None
            await line.close()

    async def identities(self) -> tuple[Identity, ...]:
        """The keys the agent offers, in its order."""
        return identities_of(await self.call(ListRequest()))

    async def sign(self, blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """A signature blob by the key with this public key blob; raises `AgentRefused`."""
        return signature_of(await self.call(SignRequest(blob, data, flags)))

    async def extensions(self) -> tuple[str, ...]:
        """Names of the protocol extensions the agent says it has; older agents say none."""
        return extensions_of(await self.call(ExtensionRequest("query")))

    async def perform(self, request: Request) -> None:
        """Send a request that is answered by success or failure alone; raises `AgentRefused`."""
        done(await self.call(request))

    async def call(self, request: Request) -> Reply:
        """Send any request and take its reply apart; a failure is a reply, not an exception."""
        return read_reply(await self.request(encode_request(request)))

    async def request(self, payload: bytes) -> bytes:
        """Send one payload as it is and give its reply as it is, both without a length."""
        if self._line is None:
            raise AgentUnavailable("the connection to the agent is closed")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._line.ask(payload)
        except TimeoutError as error:
            raise AgentTimeout("the agent did not answer in time") from error


class _Line(asyncio.Protocol):
    """The requests under way on one connection, oldest first."""

    def __init__(self) -> None:
        self._turns = ClientTurns()
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._transport: asyncio.Transport | None = None
        self._error: AgentError | None = None
        self._closed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def ask(self, payload: bytes) -> bytes:
        await self._writable.wait()
        if self._transport is None:
            raise self._error or AgentUnavailable("the connection to the agent is closed")
        frame = frame_of(self._turns, payload)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(frame)
        return await future

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._turns.receive_data(data)
        try:
            while (reply := self._turns.next_reply()) is not NEED_DATA:
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except WireError as error:
            self._fail(AgentProtocolError(f"the agent's reply is malformed: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        cause = f"the connection to the agent broke: {exc}" if exc else "the connection was closed"
        self._fail(AgentUnavailable(cause))
        self._closed.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _fail(self, error: AgentError) -> None:
        """End the connection; the first reason is the one that everybody is told."""
        transport, self._transport = self._transport, None
        self._error = self._error or error
        if transport is not None:
            transport.abort()
        self._writable.set()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(self._error)


async def _connect(path: str, *, timeout_s: float) -> _Line:
    """Connect, waiting while the backlog is full.

    The loop's own `sock_connect` takes the EAGAIN of a full backlog for a connection under way
    and then for a made one, so the socket is connected here.
    """
    waits = pauses(time.monotonic() + timeout_s)
    opened = open_socket(path)
    try:
        opened.setblocking(False)
        while True:
            try:
                opened.connect(path)
            except BlockingIOError:
                pause = next(waits, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                break
        loop = asyncio.get_running_loop()
        _, line = await loop.create_unix_connection(_Line, sock=opened)
    except OSError as error:
        opened.close()
        raise explain(path, error) from error
    except BaseException:
        opened.close()
        raise
    return line
