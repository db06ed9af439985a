"""What travels between supervisor and workers, and the memory that they share."""

from __future__ import annotations

import pytest

from secretivex.identity import Identity, KeyRecord, Restrictions
from secretivex.server.control import (
    Kind,
    Message,
    MessageReader,
    encode_message,
    encode_number,
    parse_number,
)
from secretivex.server.signals import SignalPipe, Wish
from secretivex.server.state import ServerLimits, WorkerState, encode_state, parse_state
from secretivex.server.worker.cells import ConnectionCells
from sshwire.errors import WireError

STATE = WorkerState(
    generation=7,
    limits=ServerLimits(workers=3, inline_sign=False, sign_timeout_ms=20),
    policy={"deny_comments": ("work *", "")},
    keys=(
        KeyRecord(Identity(b"blob", "caf\u00e9", "ssh-ed25519", "file"), b"secret"),
        KeyRecord(
            Identity(b"b2", "", "ssh-ed25519", "memory"),
            b"s",
            Restrictions("lib", b"steps", confirm=True, expires_s=12.5),
        ),
    ),
)


def test_a_state_arrives_as_it_was_sent() -> None:
    assert parse_state(encode_state(STATE)) == STATE


def test_a_cut_or_padded_state_is_refused() -> None:
    encoded = encode_state(STATE)
    for size in range(len(encoded)):
        with pytest.raises(ValueError, match=r".*"):
            parse_state(encoded[:size])
    with pytest.raises(WireError, match="trailing"):
        parse_state(encoded + b"\0")


def test_messages_are_the_same_however_the_channel_cuts_them() -> None:
    stream = encode_message(Kind.STATE, b"body") + encode_message(Kind.DRAIN, encode_number(5))
    for size in range(1, len(stream) + 1):
        reader = MessageReader()
        found = [
            message
            for start in range(0, len(stream), size)
            for message in reader.receive(stream[start : start + size])
        ]
        assert found == [Message(Kind.STATE, b"body"), Message(Kind.DRAIN, encode_number(5))]
    assert parse_number(encode_number(5)) == 5


@pytest.mark.parametrize("data", [b"\0\0\0\0", b"\0\0\1\1", b"\0\0\0\1\x3f"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        MessageReader(max_bytes=256).receive(data)


def test_a_share_is_never_nothing() -> None:
    limits = ServerLimits(workers=4)
    assert [limits.share_of(total) for total in (1, 4, 5, 16)] == [1, 1, 2, 4]


def test_a_worker_above_its_share_is_told_so() -> None:
    cells = ConnectionCells(2)
    cells.set(0, 30)
    assert not cells.is_above_share(0)  # a few clients never count
    cells.set(0, 120)
    cells.set(1, 80)
    assert not cells.is_above_share(0)
    cells.set(0, 124)
    cells.set(1, 76)
    assert cells.is_above_share(0)
    assert not cells.is_above_share(1)
    assert cells.total() == 200


def test_a_hangup_reloads_the_service_and_ends_the_plain_agent() -> None:
    import signal

    pipe = SignalPipe("reload")
    try:
        assert pipe.wish_of(signal.SIGHUP) is Wish.RELOAD
        assert pipe.wish_of(signal.SIGTERM) is Wish.STOP
        assert pipe.wish_of(signal.SIGUSR1) is Wish.DROP
        assert pipe.wish_of(signal.SIGUSR2) is Wish.SNAPSHOT
        signal.raise_signal(signal.SIGHUP)
        assert pipe.read() == (Wish.RELOAD,)
        assert pipe.read() == ()
    finally:
        pipe.close()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
