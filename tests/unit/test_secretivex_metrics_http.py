"""Requests for the metrics page: what is answered, in which form, and what a browser cannot get."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretivex.metrics.openmetrics import OPENMETRICS, PLAIN, TextForm
from secretivex.server.report import once
from secretivex.server.report.http import MAX_HEAD_BYTES, respond, serve_http
from secretivex.server.report.request import choose_form, names_loopback

PAGE = "secretivex_connections 5\n"
HOST = "Host: 127.0.0.1:9464"


def page(form: TextForm) -> str:
    return PAGE + ("# EOF\n" if form.is_open else "")


def ask(*lines: str, is_unix: bool = False) -> str:
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return respond(head, page, is_unix=is_unix).decode()


def status(answer: str) -> int:
    return int(answer.split(" ")[1])


def test_a_scraper_gets_the_page_and_its_length() -> None:
    answer = ask("GET /metrics?a=b HTTP/1.1", HOST)
    head, _, body = answer.partition("\r\n\r\n")
    assert (status(answer), body) == (200, page(OPENMETRICS))
    assert f"Content-Length: {len(body)}" in head
    assert ask("HEAD /metrics HTTP/1.1", HOST) == head + "\r\n\r\n"
    assert status(ask("GET /metrics HTTP/1.0")) == 200
    assert status(ask("GET http://localhost:1/metrics HTTP/1.1", "Host: evil.example")) == 200


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("GET /metrics HTTP/1.1", "Host: evil.example"), 421),
        (("GET /metrics HTTP/1.1", "Host: 127.0.0.1.evil.example:9464"), 421),
        (("GET /metrics HTTP/1.1", "Host: evil.example:80@localhost"), 421),
        (("GET http://evil.example/metrics HTTP/1.1", "Host: localhost"), 421),
        (("GET /metrics HTTP/1.1", "Host: localhost:evil"), 421),
        (("GET /metrics HTTP/1.1", "Host:"), 400),
        (("GET /metrics HTTP/1.1",), 400),
        (("GET /metrics HTTP/1.1", "Host: localhost", "Host: evil.example"), 400),
        (("GET /metrics HTTP/1.1", "Host : localhost"), 400),
        (("GET /metrics HTTP/1.1", "X: y", " Host: localhost", HOST), 400),
        (("GET /metrics HTTP/1.1\nHost: evil.example", HOST), 400),
        (("GET /metrics HTTP/1.1", "Host: localhost\rX: y"), 400),
        (("GET /metrics HTTP/1.1", "Host: localhost\x00"), 400),
        (("GET /metrics",), 400),
        (("GET  /metrics HTTP/1.1", HOST), 400),
        (("GET /metrics HTTP/2.0", HOST), 400),
        (("\x16\x03\x01",), 400),
        (("POST /metrics HTTP/1.1", HOST), 405),
        (("OPTIONS * HTTP/1.1", HOST), 405),
        (("GET / HTTP/1.1", HOST), 404),
        (("GET /metrics/../metrics HTTP/1.1", HOST), 404),
    ],
)
def test_all_else_is_refused(lines: tuple[str, ...], expected: int) -> None:
    answer = ask(*lines)
    assert status(answer) == expected, answer
    assert PAGE not in answer


def test_a_unix_socket_has_no_name_to_be_lured_by() -> None:
    assert status(ask("GET /metrics HTTP/1.1", "Host: anything", is_unix=True)) == 200


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        *((good, True) for good in ("127.0.0.1", "127.8.9.1:80", "LocalHost:9464", "[::1]")),
        *((good, True) for good in ("[::1]:9464", "localhost:", "")),
        *(
            (bad, False)
            for bad in ("10.0.0.1", "192.0.2.1", "[::]", "localhost.evil", "2130706433")
        ),
        *((bad, False) for bad in ("0177.0.0.1", "[127.0.0.1", "::1", "[::1]x", "localhost\u0130")),
    ],
)
def test_loopback_has_few_names(host: str, is_ours: bool) -> None:
    assert names_loopback(host) == is_ours


@given(st.binary(max_size=300))
def test_no_bytes_raise_or_leave_the_form_of_an_answer(head: bytes) -> None:
    assert respond(head + b"\r\n\r\n", page, is_unix=False).startswith(b"HTTP/1.1 ")


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;"
    "q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        *((accept, OPENMETRICS) for accept in ("", "*/*", PROMETHEUS, "text/html,*/*;q=0.8")),
        *((accept, OPENMETRICS) for accept in ("application/json", "text/plain;q=x")),
        *((accept, PLAIN) for accept in ("text/plain", "text/plain; version=0.0.4", "TEXT/*")),
        ("text/plain, application/openmetrics-text;q=0.5", PLAIN),
        ("application/openmetrics-text, text/plain;q=0.5", OPENMETRICS),
    ],
)
def test_the_form_is_the_one_that_the_client_likes(accept: str, form: TextForm) -> None:
    assert choose_form(accept) is form
    answer = ask("GET /metrics HTTP/1.1", HOST, f"Accept: {accept}")
    assert f"Content-Type: {form.content_type}\r\n" in answer
    assert answer.endswith(page(form))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """The socket of a server; all that it serves is gone at the end."""
    server, listener = await serve_http(f"{folder}/m", page)
    assert listener is not None
    yield f"{folder}/m"
    server.close()
    listener.close()
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.gather(*others)
    await asyncio.sleep(0)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def exchange(path: str, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        await hang_up(writer)


def test_a_head_that_is_too_long_is_refused_wherever_its_host_is(tmp_path: Path) -> None:
    padding = b"a" * MAX_HEAD_BYTES
    heads = [
        b"GET /metrics?" + padding + b" HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nX: " + padding * 20 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3,
    ]

    async def run() -> list[bytes]:
        async with serving(tmp_path) as where:
            return [await exchange(where, head) for head in heads]

    long_path, long_field, pipelined = asyncio.run(run())
    assert long_path.startswith(b"HTTP/1.1 431 ")
    assert PAGE.encode() not in long_field
    assert pipelined.count(b"HTTP/1.1 200 OK") == 1
    assert pipelined.endswith(page(OPENMETRICS).encode())


def test_so_many_clients_are_heard_at_a_time_and_one_that_ends_makes_room(tmp_path: Path) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

    async def run() -> tuple[bytes, bytes]:
        async with serving(tmp_path) as where:
            silent = [await asyncio.open_unix_connection(where) for _ in range(once.MOST_CLIENTS)]
            refused = await exchange(where, request)
            for _, writer in silent:
                await hang_up(writer)
            answered = b""
            while not answered:
                answered = await exchange(where, request)
            return refused, answered

    refused, answered = asyncio.run(run())
    assert refused == b""
    assert answered.startswith(b"HTTP/1.1 200 OK")
