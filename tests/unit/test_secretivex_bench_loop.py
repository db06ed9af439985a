"""One load process on agents that misbehave: every request that was due ends as what it is."""

from __future__ import annotations

import mmap
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from secretivex.bench.loop.client import Part
from secretivex.bench.loop.poller import Poller, SelectorPoller, open_poller
from secretivex.bench.loop.process import Loop
from secretivex.bench.scenario import Scenario
from secretivex.bench.tally import Tally
from sshwire.agent.connection import encode_frame
from sshwire.agent.replies import IdentitiesAnswer, SignResponse, encode_reply
from sshwire.privkey import PrivateKey

Answer = Callable[[bytes], bytes | None]
Serve = Callable[[Answer], str]
LIST = encode_frame(encode_reply(IdentitiesAnswer(())))
PIECE_BYTES = 4
"""Replies come in pieces; none may end where LIST ends, or what follows it is read apart."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """An agent that answers a request's payload with these bytes; None closes the connection."""
    with ExitStack() as stack:

        def start(answer: Answer) -> str:
            address = str(tmp_path / "agent.sock")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(64)

            def accept() -> None:
                with suppress(OSError):
                    while True:
                        connected, _ = listener.accept()
                        thread = threading.Thread(target=_talk, args=(connected, answer))
                        thread.start()
                        stack.callback(thread.join, 60)

            thread = threading.Thread(target=accept)
            thread.start()
            stack.callback(thread.join, 60)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return address

        yield start


def _talk(connected: socket.socket, answer: Answer) -> None:
    with connected, suppress(OSError):
        connected.settimeout(60)
        while head := connected.recv(4, socket.MSG_WAITALL):
            payload = connected.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL)
            reply = answer(payload)
            if reply is None:
                return
            for at in range(0, len(reply), PIECE_BYTES):
                connected.sendall(reply[at : at + PIECE_BYTES])


def drive(scenario: Scenario, poller: Poller | None = None) -> Tally:
    """In this process; gives what was counted."""
    part = Part(
        scenario, 0, scenario.clients, scenario.count, scenario.rate_per_s, time.monotonic_ns()
    )
    progress = memoryview(mmap.mmap(-1, 8)).cast("Q")
    with ExitStack() as stack:
        loop = Loop(part, poller or stack.enter_context(open_poller()), progress)
        loop.run()
        loop.verify()
    return loop.tally


def listing(address: str, *, count: int = 0, clients: int = 3, **more: float) -> Scenario:
    return Scenario(
        address,
        mode="list",
        clients=clients,
        warmup_s=0,
        count=count,
        duration_s=more.pop("duration_s", 0.0),
        response_timeout_s=more.pop("response_timeout_s", 60.0),
        rate_per_s=more.pop("rate_per_s", 0.0),
        reconnect=bool(more.pop("reconnect", 1)),
    )


@pytest.mark.parametrize("reconnect", [0, 1])
@pytest.mark.parametrize("fallback", [False, True])
def test_a_count_of_requests_is_that_many_answers(
    serve: Serve, reconnect: int, fallback: bool
) -> None:
    address = serve(lambda _: LIST)
    with selectors.DefaultSelector() as selector:
        poller = SelectorPoller(selector) if fallback else None
        tally = drive(listing(address, count=31, reconnect=reconnect), poller)
    assert (tally.latency.total, tally.completed, tally.failures.total()) == (31, 31, 0)
    assert tally.verified == 31


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (encode_frame(b"\x05"), "refused"),
        (encode_frame(b"\x63"), "malformed"),
        (LIST + b"\0", "malformed"),
        (b"\xff\xff\xff\xff\x0c", "malformed"),
        (None, "closed"),
        (b"\0\0\0", "timeout"),
    ],
)
def test_each_bad_answer_is_counted_as_what_it_is(
    serve: Serve, reply: bytes | None, kind: str
) -> None:
    patience_s = 0.3 if kind == "timeout" else 60.0
    scenario = listing(serve(lambda _: reply), count=2, clients=2, response_timeout_s=patience_s)
    tally = drive(scenario)
    assert (tally.latency.total, dict(tally.failures)) == (0, {kind: 2})


def test_nobody_there_is_a_failed_connect(tmp_path: Path) -> None:
    tally = drive(listing(str(tmp_path / "none.sock"), count=4))
    assert dict(tally.failures) == {"connect": 4}


def test_an_open_loop_counts_latency_from_when_a_request_was_due(serve: Serve) -> None:
    """One client and answers of 50 ms: at 40 requests a second the last ones were due long ago."""

    def slowly(_payload: bytes) -> bytes:
        time.sleep(0.05)
        return LIST

    scenario = listing(serve(slowly), clients=1, rate_per_s=40, duration_s=0.5, reconnect=0)
    tally = drive(scenario)
    assert tally.latency.total + tally.failures.total() == pytest.approx(20, abs=4)
    assert tally.latency.max_ns > 0.25e9


def test_what_was_due_and_never_sent_failed(serve: Serve) -> None:
    def hang(_payload: bytes) -> bytes:
        time.sleep(1)
        return LIST

    scenario = listing(
        serve(hang),
        clients=1,
        rate_per_s=100,
        duration_s=0.4,
        reconnect=0,
        response_timeout_s=0.3,
    )
    tally = drive(scenario)
    assert tally.latency.total + tally.failures.total() == pytest.approx(40, abs=8)
    assert tally.failures["unsent"] > 20


@pytest.mark.parametrize("honest", [True, False])
def test_a_sample_of_signatures_is_verified(
    serve: Serve, make_key: Callable[[int], PrivateKey], honest: bool
) -> None:
    key = make_key(1)
    key_field = 1 + 4 + len(key.public.blob) + 4

    def answer(payload: bytes) -> bytes:
        data = payload[key_field:-4] if honest else b"something else"
        return encode_frame(encode_reply(SignResponse(key.sign(data))))

    scenario = Scenario(
        serve(answer),
        key_blob=key.public.blob,
        clients=2,
        warmup_s=0,
        duration_s=0,
        count=40,
        verify_samples=5,
    )
    tally = drive(scenario)
    assert tally.latency.total == 40
    assert (tally.verified, tally.failures["bad_signature"]) == ((5, 0) if honest else (0, 5))


def test_a_plot_shows_runs(tmp_path: Path, serve: Serve) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    from clikit.command.plotting import check_plot
    from clikit.errors import Failure
    from secretivex.bench.report.plot import draw
    from secretivex.bench.run import Outcome

    scenario = listing(serve(lambda _: LIST), count=20)
    outcome = Outcome(scenario, drive(scenario), 1.0, 0, 1)
    assert draw([("A", outcome)], suffix=".svg").startswith(b"<?xml")
    assert draw([("A", outcome)], suffix=".png").startswith(b"\x89PNG")
    with pytest.raises(Failure):
        check_plot(tmp_path / "out.gif")
