"""What OpenSSH's tools said to its agent, and the signatures they made, read as they meant them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sshwire.agent.connection import NEED_DATA, FrameReader, encode_frame
from sshwire.agent.constraints import RESTRICT_DESTINATION, Constraints
from sshwire.agent.replies import encode_reply, parse_reply
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    Request,
    SignRequest,
    Ssh1RemoveAllRequest,
    UnknownRequest,
    UnlockRequest,
    encode_request,
    parse_request,
)
from sshwire.allowed_signers import parse_allowed_signers, parse_timestamp
from sshwire.errors import TruncatedError, UnsupportedError, VerificationError, WireError
from sshwire.sshsig import is_canonical, verify_message

VECTORS = Path(__file__).parent / "vectors"
ERRORS: dict[str, type[WireError]] = {
    "truncated": TruncatedError,
    "unsupported": UnsupportedError,
}
# The longest name that a vector's own name begins with says what it must be read as.
KINDS: dict[str, type[Request]] = {
    "add": AddRequest,
    "list": ListRequest,
    "lock": LockRequest,
    "raw-list": ListRequest,
    "raw-lock": LockRequest,
    "raw-query": ExtensionRequest,
    "raw-remove": RemoveRequest,
    "raw-session-bind": ExtensionRequest,
    "raw-sign": SignRequest,
    "raw-ssh1-list": UnknownRequest,
    "raw-ssh1-remove-all": Ssh1RemoveAllRequest,
    "raw-unknown-extension": ExtensionRequest,
    "raw-unknown-number": UnknownRequest,
    "raw-unlock": UnlockRequest,
    "remove": RemoveRequest,
    "remove-all": RemoveAllRequest,
    "remove-all-2": Ssh1RemoveAllRequest,
    "sign": ListRequest,
    "sign-2": SignRequest,
    "smartcard": AddSmartcardRequest,
    "unlock": UnlockRequest,
}


@dataclass(frozen=True)
class Vector:
    name: str
    headers: dict[str, str]
    payload: str


def load(folder: str) -> list[object]:
    paths = sorted((VECTORS / folder).glob("*.txt"))
    assert paths, folder
    found: list[object] = []
    for path in paths:
        head, payload = path.read_text().split("\n\n", 1)
        headers = dict(line.split(": ", 1) for line in head.splitlines())
        found.append(pytest.param(Vector(path.stem, headers, payload), id=path.stem))
    return found


def exchange(vector: Vector) -> tuple[bytes, bytes]:
    request, reply = vector.payload.splitlines()
    return bytes.fromhex(request.removeprefix("> ")), bytes.fromhex(reply.removeprefix("< "))


def read_as(name: str) -> type[Request]:
    return KINDS[max((known for known in KINDS if name.startswith(known)), key=len)]


@pytest.mark.parametrize("vector", load("agent"))
def test_request_is_read_as_what_it_is_and_written_alike(vector: Vector) -> None:
    payload, _ = exchange(vector)
    if vector.headers["outcome"] != "ok":
        with pytest.raises(ERRORS[vector.headers["outcome"]]):
            parse_request(payload)
        return
    request = parse_request(payload)
    assert type(request) is read_as(vector.name)
    if vector.name != "raw-list-with-trailing-bytes":
        assert encode_request(request) == payload


@pytest.mark.parametrize("vector", load("agent"))
def test_reply_is_read_and_written_alike(vector: Vector) -> None:
    _, payload = exchange(vector)
    assert encode_reply(parse_reply(payload)) == payload


@pytest.mark.parametrize("vector", load("agent"))
def test_exchange_is_framed_byte_by_byte(vector: Vector) -> None:
    payloads = list(exchange(vector))
    reader, frames = FrameReader(), []
    for value in b"".join(map(encode_frame, payloads)):
        reader.receive_data(bytes((value,)))
        while (frame := reader.next_frame()) is not NEED_DATA:
            frames.append(frame)
    assert frames == payloads


def added(name: str) -> AddRequest:
    vector = next(
        value
        for param in load("agent")
        for value in getattr(param, "values", ())
        if value.name == name
    )
    request = parse_request(exchange(vector)[0])
    assert isinstance(request, AddRequest)
    return request


def test_constraints_are_those_that_ssh_add_was_given() -> None:
    assert added("add-rsa2048").constraints == Constraints()
    assert added("add-constrained").constraints == Constraints(lifetime_s=3600, confirm=True)
    (extension,) = added("add-restricted").constraints.extensions
    assert extension.name == RESTRICT_DESTINATION
    assert b"other.example" in extension.body
    assert added("add-certificate-2").algorithm == "ssh-ed25519-cert-v01@openssh.com"


@pytest.mark.parametrize("vector", load("sshsig"))
def test_signature_verifies_or_is_refused_for_its_reason(vector: Vector) -> None:
    armored = vector.payload.encode()

    def verify() -> None:
        verify_message(
            b"a message",
            armored,
            namespace="file",
            principal="me@example.org",
            now=parse_timestamp(vector.headers["now"]),
            allowed=parse_allowed_signers(vector.headers["allowed"]),
        )

    assert parse_timestamp(vector.headers["now"]) == datetime(2026, 6, 1, tzinfo=UTC)
    if vector.headers["outcome"] == "ok":
        verify()
        assert is_canonical(armored)
    else:
        with pytest.raises(VerificationError) as caught:
            verify()
        assert caught.value.reason == vector.headers["outcome"]
