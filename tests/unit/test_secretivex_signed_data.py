"""The word for what is being signed, form by form."""

from __future__ import annotations

import pytest
from ssh_hosts import blob_of, certificate_of, login_data

from secretivex.context.signed_data import DataKind, SignedData, Userauth, classify
from sshwire.wire import encode_string, encode_text

SESSION = b"s" * 32
SSHSIG = b"SSHSIG" + encode_text("git") + encode_text("") + encode_text("sha512")
LOGIN = login_data(SESSION)
HOST_BOUND = login_data(SESSION, user="\udcff", host=blob_of("a"), service="other")
PLAIN = Userauth(SESSION, "ada", "ssh-connection", "ssh-ed25519", blob_of("key"), None)
BOUND = Userauth(SESSION, "\udcff", "other", "ssh-ed25519", blob_of("key"), blob_of("a"))

NAME = "ssh-ed25519-cert-v01@openssh.com"
CERTIFICATE = certificate_of("a", "ca")
UNSIGNED = CERTIFICATE[: -4 - len(encode_string(b"s" * 64)) - len(encode_text("ssh-ed25519"))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LOGIN, SignedData(DataKind.USERAUTH, userauth=PLAIN)),
        (HOST_BOUND, SignedData(DataKind.USERAUTH, userauth=BOUND)),
        (SSHSIG + encode_string(b"h" * 64), SignedData(DataKind.SSHSIG, "git")),
        (UNSIGNED, SignedData(DataKind.CERTIFICATE, NAME)),
        (
            encode_text("new-cert-v99@openssh.com") + encode_string(b"nonce") + b"anything",
            SignedData(DataKind.CERTIFICATE, "new-cert-v99@openssh.com"),
        ),
        (b"DSSEv1 9 text/html 2 hi", SignedData(DataKind.DSSE, "text/html")),
        (b"DSSEv1 0  0 ", SignedData(DataKind.DSSE, "")),
        *((b"h" * size, SignedData(DataKind.HOST_KEY)) for size in (20, 32, 48, 64)),
        (b"", SignedData(DataKind.OTHER)),
        (b"h" * 33, SignedData(DataKind.OTHER)),
        (b"challenge", SignedData(DataKind.OTHER)),
        (blob_of("key"), SignedData(DataKind.OTHER)),
    ],
)
def test_every_form_has_its_word(data: bytes, expected: SignedData) -> None:
    assert classify(data) == expected


@pytest.mark.parametrize("data", [LOGIN, HOST_BOUND, SSHSIG + encode_string(b"h" * 64)])
def test_a_form_must_be_whole(data: bytes) -> None:
    for size in range(len(data)):
        assert classify(data[:size]).kind in (DataKind.OTHER, DataKind.HOST_KEY)
    assert classify(data + b"\0").kind is DataKind.OTHER


@pytest.mark.parametrize(
    "data",
    [
        login_data(b""),
        LOGIN.replace(encode_text("publickey"), encode_text("password")),
        LOGIN.replace(b"\x32" + encode_text("ada"), b"\x33" + encode_text("ada")),
        LOGIN.replace(encode_text("publickey") + b"\1", encode_text("publickey") + b"\0"),
        LOGIN + encode_string(blob_of("a")),
        b"DSSEv1 5 text 0 ",
        b"DSSEv1 99 text 0 ",
        b"DSSEv1 04 text 0 ",
        b"DSSEv2 4 text 0 ",
    ],
)
def test_what_is_nearly_a_form_is_something_else(data: bytes) -> None:
    assert classify(data).kind is DataKind.OTHER


def test_a_session_called_like_a_certificate_is_still_a_login() -> None:
    assert classify(login_data(NAME.encode())).kind is DataKind.USERAUTH


def test_a_certificate_is_told_whatever_follows_its_nonce() -> None:
    head = len(encode_text(NAME) + encode_string(b"nonce"))
    for size in range(head, len(UNSIGNED)):
        assert classify(UNSIGNED[:size]).kind is DataKind.CERTIFICATE
