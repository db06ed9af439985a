"""Metrics over HTTP, on a loopback address or a unix socket: GET /metrics, nothing else.

Rule for editors: no framework for one page; a request is bounded in bytes and time, and a browser
that was lured here by another name gets nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from functools import partial
from pathlib import Path

from secretivex.config.paths import parse_listen
from secretivex.errors import SecretiveError
from secretivex.metrics.openmetrics import CONTENT_TYPE
from secretivex.server.listen_unix import Listener, listen

REQUEST_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 8192

Page = Callable[[], str]


async def serve_http(where: str, page: Page) -> tuple[asyncio.AbstractServer, Listener | None]:
    """Serve; raises OSError or `SecretiveError` if that cannot be had."""
    try:
        place = parse_listen(where)
    except ValueError as error:
        raise SecretiveError("config_invalid", f"metrics_listen: {error}") from error
    if isinstance(place, Path):
        listener = listen(place)
        on_unix = partial(_on_request, page, None)
        return await asyncio.start_unix_server(on_unix, sock=listener.socket.dup()), listener
    host, port = place
    return await asyncio.start_server(partial(_on_request, page, host), host, port), None


async def _on_request(
    page: Page, host: str | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(_respond(head[:MAX_HEAD_BYTES], page, host))
            await writer.drain()
    except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
        pass
    finally:
        writer.close()


def _respond(head: bytes, page: Page, host: str | None) -> bytes:
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if host is not None and not _names_us(lines[1:]):
        return _encode("421 Misdirected Request", "this is not the host you look for\n")
    if method not in ("GET", "HEAD"):
        return _encode("405 Method Not Allowed", "GET /metrics\n")
    if path != "/metrics":
        return _encode("404 Not Found", "GET /metrics\n")
    response = _encode("200 OK", page(), CONTENT_TYPE)
    return response if method == "GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _names_us(headers: list[str]) -> bool:
    """Whether the Host is a loopback address: a name could be anybody's that points here."""
    for line in headers:
        name, _, value = line.partition(":")
        if name.strip().lower() == "host":
            host = value.strip().rpartition(":")[0] or value.strip()
            host = host.strip("[]")
            if host == "localhost":
                return True
            try:
                return ipaddress.ip_address(host).is_loopback
            except ValueError:
                return False
    return True


def _encode(status: str, body: str, kind: str = "text/plain; charset=utf-8") -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
    return (head + "Connection: close\r\n\r\n").encode() + data
