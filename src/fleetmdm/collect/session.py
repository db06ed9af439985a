"""One try at one host: log in through the agent, run the exporter, read its document.

Keys come from the given agent alone: no key file, no password, no `~/.ssh/config`. Host keys are
always verified; there is no switch that turns it off. Nothing is left on the host: the exporter
goes in on stdin. Rule for editors: asyncssh reads `known_hosts=None` as "trust everyone" and an
empty list of keys as "use the key files"; neither may ever reach it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncssh

from fleetmdm.collect.plan import Target
from fleetmdm.device import DEFAULT_LIMITS, Device, DeviceLimits, parse_device
from fleetmdm.errors import FleetError

_log = logging.getLogger("fleetmdm.collect")

MAX_SAID_BYTES = 4096
"""How much of a host's stderr is kept to explain a failure."""
AGENT_TIMEOUT_S = 10.0
NO_SUCH_COMMAND = 127
"""What a POSIX shell answers for a program that is not there."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a collection authenticates with, and what it trusts."""

    agent: str
    """Socket of the SSH agent whose keys are used."""
    known_hosts: asyncssh.SSHKnownHosts
    program: bytes
    """Source of the exporter."""
    limits: DeviceLimits = DEFAULT_LIMITS
    """Bounds on what a host prints."""


class HostError(Exception):
    """One try at one host failed; `again` says whether another try may go better."""

    def __init__(self, reason: str, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.again = again


def parse_known_hosts(data: bytes, *, name: str) -> asyncssh.SSHKnownHosts:
    """The host keys that are trusted; raises `input_unreadable`."""
    try:
        return asyncssh.import_known_hosts(data.decode("utf-8"))
    except (ValueError, asyncssh.KeyImportError) as error:
        raise FleetError("input_unreadable", f"{name}: not a known_hosts file: {error}") from error


async def require_agent(address: str) -> None:
    """Make sure that an agent answers and holds a key, before any host is contacted."""
    agent = asyncssh.SSHAgentClient(address)
    try:
        async with asyncio.timeout(AGENT_TIMEOUT_S), agent:
            keys = await agent.get_keys()
    except (ValueError, OSError, TimeoutError, asyncssh.Error) as error:
        raise FleetError(
            "agent_unavailable",
            f"no SSH agent answers at {address}: {str(error) or type(error).__name__}",
            hint="start one, and name its socket by --agent or SSH_AUTH_SOCK",
        ) from error
    if not keys:
        raise FleetError(
            "agent_unavailable",
            f"the SSH agent at {address} holds no key, or is locked",
            hint="add a key to it: ssh-add FILE",
        )


class _WatchedAgent(asyncssh.SSHAgentClient):
    """Remembers a refusal to sign, which asyncssh takes for a key that is not offered."""

    refused = ""

    async def sign(self, key_blob: bytes, data: bytes, flags: int = 0) -> bytes:
        """Ask the agent to sign."""
        try:
            return await super().sign(key_blob, data, flags)
        except ValueError as error:
            self.refused = str(error)
            raise


async def try_host(target: Target, access: Access) -> Device:
    """The host's document; raises `HostError`, and lets the caller's time-out through."""
    agent = _WatchedAgent(access.agent)
    try:
        async with agent:
            keys = await _agent_keys(agent)
            async with _closing(await _connect(target, access, keys)) as connection:
                output = await _run_exporter(connection, target.command, access)
    except (HostError, TimeoutError):
        raise  # the time-out is that of the whole host
    except Exception as error:
        # Whatever it is, one host must not end the collection from all the others.
        if isinstance(error, asyncssh.PermissionDenied) and agent.refused:
            reason = f"the SSH agent would not sign: {agent.refused}"
            raise HostError("agent_refused", reason) from error
        raise _explain(error, target, access) from error
    return _parse_output(output, access.limits)


@contextlib.asynccontextmanager
async def _closing(
    connection: asyncssh.SSHClientConnection,
) -> AsyncGenerator[asyncssh.SSHClientConnection]:
    """Close politely after success; cut the line otherwise, as the far side may never answer."""
    try:
        yield connection
    except BaseException:
        connection.abort()
        raise
    connection.close()
    await connection.wait_closed()


async def _agent_keys(agent: asyncssh.SSHAgentClient) -> list[asyncssh.SSHKeyPair]:
    try:
        keys = list(await agent.get_keys())
    except ValueError as error:
        raise HostError("agent_unavailable", f"the SSH agent went away: {error}") from error
    if not keys:
        raise HostError("agent_unavailable", "the SSH agent holds no key any more")
    return keys


async def _connect(
    target: Target, access: Access, keys: list[asyncssh.SSHKeyPair]
) -> asyncssh.SSHClientConnection:
    return await asyncssh.connect(
        target.address,
        target.port,
        username=target.user,
        client_keys=keys,
        known_hosts=access.known_hosts,
        config=None,
        agent_path=None,
        agent_forwarding=False,
        preferred_auth="publickey",
        password=None,
        gss_host=None,
        x509_trusted_certs=None,
    )


_REASONS: tuple[tuple[type[Exception], str, bool], ...] = (
    (asyncssh.PermissionDenied, "auth_refused", False),
    (ConnectionRefusedError, "connection_refused", True),
    (ConnectionError, "connection_lost", True),
    (asyncssh.ConnectionLost, "connection_lost", True),
    (OSError, "unreachable", True),
    (asyncssh.Error, "ssh_failed", False),
)
"""Kind of error, its reason, whether another try may go better; the first that fits counts."""


def _explain(error: Exception, target: Target, access: Access) -> HostError:
    """The stable reason of an error of the network or of SSH."""
    said = str(error) or type(error).__name__
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostError(_host_key_reason(target, access), said)
    for kind, reason, again in _REASONS:
        if isinstance(error, kind):
            return HostError(reason, said, again=again)
    _log.error("collecting from %s", target.name, exc_info=error)
    return HostError("internal", f"{type(error).__name__}: {said}")


def _host_key_reason(target: Target, access: Access) -> str:
    port = None if target.port == 22 else target.port
    known = access.known_hosts.match(target.address, target.address, port)
    return "host_key_mismatch" if any(known[:2]) else "host_key_unknown"


async def _run_exporter(
    connection: asyncssh.SSHClientConnection, command: str, access: Access
) -> bytes:
    # Not as a context: leaving it would wait for a process that may never end.
    process = await connection.create_process(command, encoding=None)
    said = asyncio.create_task(_keep_start(process.stderr))
    try:
        with contextlib.suppress(BrokenPipeError):  # gone already; its exit status says why
            process.stdin.write(access.program)
            process.stdin.write_eof()
        output = await _read_bounded(process.stdout, access.limits.max_document_bytes)
        await process.wait_closed()
        message = (await said).decode("utf-8", "replace").strip()
    finally:
        said.cancel()
    if process.exit_status == NO_SUCH_COMMAND:
        raise HostError("no_python", message or "python3 is not installed on the host")
    if process.exit_status != 0:
        raise HostError("exporter_failed", message or f"exit status {process.exit_status}")
    return output


async def _read_bounded(stream: Any, limit: int) -> bytes:
    output = b""
    while block := await stream.read(65536):
        output += block
        if len(output) > limit:
            raise HostError("output_too_large", f"the document has more than {limit} bytes")
    return output


async def _keep_start(stream: Any) -> bytes:
    """The start of what a host says; the rest is read too, or the host would wait for us."""
    kept = b""
    while block := await stream.read(65536):
        kept = (kept + block)[:MAX_SAID_BYTES]
    return kept


def _parse_output(output: bytes, limits: DeviceLimits) -> Device:
    try:
        return parse_device(json.loads(output), now=datetime.now(UTC), limits=limits)
    except FleetError as error:
        raise HostError("document_invalid", error.message) from error
    except (ValueError, RecursionError) as error:
        start = output[:60].decode("utf-8", "replace")
        raise HostError("document_invalid", f"not JSON: {start!r}...") from error
