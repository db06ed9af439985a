"""Metrics over HTTP, on a loopback address or a unix socket: GET /metrics, nothing else.

Rule for editors: no framework for one page; a request is bounded in bytes and time, and a browser
that was lured here by another name gets nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

from secretivex.config.paths import parse_listen
from secretivex.errors import SecretiveError
from secretivex.metrics.openmetrics import TextForm
from secretivex.server.listen_unix import Listener, listen
from secretivex.server.report.once import Counter
from secretivex.server.report.request import choose_form, names_loopback, parse_request

MAX_HEAD_BYTES = 8192

_END = b"\r\n\r\n"

Page = Callable[[TextForm], str]


async def serve_http(where: str, page: Page) -> tuple[asyncio.AbstractServer, Listener | None]:
    """Serve; raises OSError or `SecretiveError` if that cannot be had."""
    try:
        place = parse_listen(where)
    except ValueError as error:
        raise SecretiveError("config_invalid", f"metrics_listen: {error}") from error
    is_unix = isinstance(place, Path)
    counter = Counter(partial(_answer, page, is_unix=is_unix))
    if isinstance(place, Path):
        listener = listen(place)
        server = await asyncio.start_unix_server(
            counter, sock=listener.socket.dup(), limit=MAX_HEAD_BYTES
        )
        return server, listener
    host, port = place
    return await asyncio.start_server(counter, host, port, limit=MAX_HEAD_BYTES), None


async def _answer(
    page: Page, reader: asyncio.StreamReader, _: asyncio.StreamWriter, *, is_unix: bool
) -> bytes:
    try:
        head = await reader.readuntil(_END)
    except asyncio.LimitOverrunError:
        return _encode("431 Request Header Fields Too Large", "this is more than is read\n")
    return respond(head, page, is_unix=is_unix)


def respond(head: bytes, page: Page, *, is_unix: bool) -> bytes:
    """The whole answer to a head that ends with its empty line."""
    try:
        request = parse_request(head)
    except ValueError as error:
        return _encode("400 Bad Request", f"{error}\n")
    if not is_unix and not names_loopback(request.host):
        return _encode("421 Misdirected Request", "this is not the host you look for\n")
    if request.method not in ("GET", "HEAD"):
        return _encode("405 Method Not Allowed", "GET /metrics\n", ("Allow: GET, HEAD",))
    if request.path != "/metrics":
        return _encode("404 Not Found", "GET /metrics\n")
    form = choose_form(request.accept)
    response = _encode("200 OK", page(form), ("Vary: Accept",), kind=form.content_type)
    return response if request.method == "GET" else response.partition(_END)[0] + _END


def _encode(
    status: str,
    body: str,
    fields: tuple[str, ...] = (),
    *,
    kind: str = "text/plain; charset=utf-8",
) -> bytes:
    data = body.encode()
    head = (
        *(f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}"),
        *(*fields, "X-Content-Type-Options: nosniff", "Connection: close"),
    )
    return "\r\n".join(head).encode() + _END + data
