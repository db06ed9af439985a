"""Every message survives its own encoding; cut short it is refused; OpenSSH's leniencies are ours."""

import pytest

from sshwire.agent.constraints import (
    ASSOCIATED_CERTS,
    RESTRICT_DESTINATION,
    SK_PROVIDER,
    ConstraintExtension,
    Constraints,
    encode_constraints,
    parse_constraints,
)
from sshwire.agent.numbers import MAX_COMMENT_BYTES, MAX_IDENTITIES
from sshwire.agent.replies import (
    ExtensionFailure,
    ExtensionResponse,
    Failure,
    IdentitiesAnswer,
    Identity,
    Reply,
    SignResponse,
    Success,
    encode_reply,
    parse_reply,
)
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    RemoveSmartcardRequest,
    Request,
    SignRequest,
    Ssh1RemoveAllRequest,
    UnknownRequest,
    UnlockRequest,
    encode_request,
    parse_request,
)
from sshwire.errors import UnsupportedError, WireError
from sshwire.wire import Reader, encode_string, encode_uint32

S = encode_string
FULL = Constraints(
    lifetime_s=3600,
    confirm=True,
    extensions=(
        ConstraintExtension(RESTRICT_DESTINATION, S(b"hops")),
        ConstraintExtension(ASSOCIATED_CERTS, b"\x01" + S(b"certs")),
        ConstraintExtension(SK_PROVIDER, S(b"internal")),
    ),
)
FIXED: list[tuple[Request, bytes]] = [
    (ListRequest(), b"\x0b"),
    (SignRequest(b"key", b"data", 4), b"\x0d" + S(b"key") + S(b"data") + encode_uint32(4)),
    (RemoveRequest(b"key"), b"\x12" + S(b"key")),
    (RemoveAllRequest(), b"\x13"),
    (Ssh1RemoveAllRequest(), b"\x09"),
    (RemoveSmartcardRequest("/lib/p.so", b"1234"), b"\x15" + S(b"/lib/p.so") + S(b"1234")),
    (LockRequest(b"pw"), b"\x16" + S(b"pw")),
    (UnlockRequest(b"pw"), b"\x17" + S(b"pw")),
]
OPEN_ENDED: list[tuple[Request, bytes]] = [
    (ExtensionRequest("query"), b"\x1b" + S(b"query")),
    (ExtensionRequest("x@y", b"body"), b"\x1b" + S(b"x@y") + b"body"),
    (
        AddRequest("ssh-ed25519", S(b"pk") + S(b"sk"), "me"),
        b"\x11" + S(b"ssh-ed25519") + S(b"pk") + S(b"sk") + S(b"me"),
    ),
    (
        AddRequest("ssh-ed25519", S(b"pk") + S(b"sk"), "me", FULL),
        b"\x19" + S(b"ssh-ed25519") + S(b"pk") + S(b"sk") + S(b"me") + encode_constraints(FULL),
    ),
    (AddSmartcardRequest("/p.so", b"1"), b"\x14" + S(b"/p.so") + S(b"1")),
    (
        AddSmartcardRequest("/p.so", b"1", Constraints(lifetime_s=0)),
        b"\x1a" + S(b"/p.so") + S(b"1") + b"\x01" + encode_uint32(0),
    ),
]
REPLIES: list[tuple[Reply, bytes]] = [
    (Failure(), b"\x05"),
    (Success(), b"\x06"),
    (IdentitiesAnswer(()), b"\x0c" + encode_uint32(0)),
    (
        IdentitiesAnswer((Identity(b"a", "é"), Identity(b"b", ""))),
        b"\x0c" + encode_uint32(2) + S(b"a") + S("é".encode()) + S(b"b") + S(b""),
    ),
    (SignResponse(b"sig"), b"\x0e" + S(b"sig")),
    (ExtensionFailure(), b"\x1c"),
    (ExtensionResponse("query", S(b"one")), b"\x1d" + S(b"query") + S(b"one")),
]


@pytest.mark.parametrize(("request_", "payload"), FIXED + OPEN_ENDED)
def test_request_survives_its_encoding(request_: Request, payload: bytes) -> None:
    assert encode_request(request_) == payload
    assert parse_request(payload) == request_
    assert parse_request(memoryview(payload)) == request_


@pytest.mark.parametrize(("request_", "payload"), FIXED)
def test_truncated_request_is_refused(request_: Request, payload: bytes) -> None:
    for size in range(len(payload)):
        with pytest.raises(WireError):
            parse_request(payload[:size])


@pytest.mark.parametrize(("request_", "payload"), FIXED)
def test_trailing_bytes_are_ignored_as_openssh_does(request_: Request, payload: bytes) -> None:
    assert parse_request(payload + b"more") == request_


@pytest.mark.parametrize(("request_", "payload"), OPEN_ENDED[2:])
def test_trailing_bytes_of_an_add_are_constraints(request_: Request, payload: bytes) -> None:
    with pytest.raises(WireError):
        parse_request(payload + b"\x03")


def test_constraints_count_in_an_unconstrained_add_too() -> None:
    payload = encode_request(AddRequest("ssh-ed25519", S(b"p") + S(b"s"))) + b"\x02"
    parsed = parse_request(payload)
    assert isinstance(parsed, AddRequest)
    assert parsed.constraints.confirm


@pytest.mark.parametrize("number", [0, 1, 7, 8, 10, 24, 28, 200, 255])
def test_unknown_number_is_a_value(number: int) -> None:
    assert parse_request(bytes((number,)) + b"x") == UnknownRequest(number)


@pytest.mark.parametrize(
    ("algorithm", "fields"),
    [
        ("ssh-ed25519-cert-v01@openssh.com", 3),
        ("ecdsa-sha2-nistp256", 3),
        ("ecdsa-sha2-nistp521-cert-v01@openssh.com", 2),
        ("ssh-rsa", 6),
        ("ssh-rsa-cert-v01@openssh.com", 5),
    ],
)
def test_every_key_type_knows_where_its_private_part_ends(algorithm: str, fields: int) -> None:
    request = AddRequest(algorithm, S(b"x") * fields, "comment", Constraints(confirm=True))
    assert parse_request(encode_request(request)) == request


def test_security_key_has_a_flags_byte() -> None:
    body = S(b"pk") + S(b"ssh:") + b"\x01" + S(b"handle") + S(b"")
    request = AddRequest("sk-ssh-ed25519@openssh.com", body, "c")
    assert parse_request(encode_request(request)) == request


@pytest.mark.parametrize("algorithm", ["ssh-ed448", "ssh-xmss@openssh.com", "", "nonsense"])
def test_unknown_key_type_is_refused(algorithm: str) -> None:
    with pytest.raises(UnsupportedError, match="cannot add"):
        parse_request(b"\x11" + S(algorithm.encode()) + S(b"") * 8)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x1b" + S(b"a\0b"),
        b"\x14" + S(b"/p\0.so") + S(b""),
        b"\x11" + S(b"ssh-ed25519") + S(b"") + S(b"") + S(b"nul\0"),
    ],
)
def test_nul_in_a_name_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError, match="NUL"):
        parse_request(payload)


@pytest.mark.parametrize(
    "data",
    [
        b"\x03" + encode_uint32(1),
        b"\xff" + S(b"unknown@example.org") + S(b""),
        b"\x01" + encode_uint32(1) + b"\x01" + encode_uint32(2),
        b"\x02\x02",
        (b"\xff" + S(SK_PROVIDER.encode()) + S(b"internal")) * 2,
        b"\x01\0\0",
        b"\xff" + S(RESTRICT_DESTINATION.encode()),
    ],
)
def test_constraint_that_cannot_be_kept_refuses_all(data: bytes) -> None:
    with pytest.raises(WireError):
        parse_constraints(Reader(data))


def test_no_constraints_are_false() -> None:
    assert not parse_constraints(Reader(b""))
    assert Constraints(lifetime_s=0)


@pytest.mark.parametrize(("reply", "payload"), REPLIES)
def test_reply_survives_its_encoding(reply: Reply, payload: bytes) -> None:
    assert encode_reply(reply) == payload
    assert parse_reply(payload) == reply


@pytest.mark.parametrize(("reply", "payload"), REPLIES[2:5])
def test_cut_reply_is_refused_and_trailing_bytes_ignored(reply: Reply, payload: bytes) -> None:
    for size in range(len(payload)):
        with pytest.raises(WireError):
            parse_reply(payload[:size])
    assert parse_reply(payload + b"more") == reply


@pytest.mark.parametrize("payload", [b"\x1e", b"\x66", b"\x05junk"])
def test_other_failures_are_failures(payload: bytes) -> None:
    assert parse_reply(payload) == Failure()


def test_old_extension_answer_keeps_its_contents() -> None:
    assert parse_reply(b"\x06" + S(b"query")) == Success(S(b"query"))


@pytest.mark.parametrize("payload", [b"\x0b", b"\x00", b"\xff"])
def test_a_message_that_is_no_reply_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError, match="not a reply"):
        parse_reply(payload)


def test_identities_are_bounded_before_they_are_read() -> None:
    with pytest.raises(WireError, match="over the limit"):
        parse_reply(b"\x0c" + encode_uint32(MAX_IDENTITIES + 1))


def test_comment_that_a_client_would_choke_on_is_made_harmless() -> None:
    payload = encode_reply(IdentitiesAnswer((Identity(b"k", "a\0b\ud800"),)))
    assert parse_reply(payload) == IdentitiesAnswer((Identity(b"k", "a\ufffdb?"),))


@pytest.mark.parametrize(
    "request_",
    [
        LockRequest(b"hunter2"),
        UnlockRequest(b"hunter2"),
        AddSmartcardRequest("/p", b"hunter2"),
        RemoveSmartcardRequest("/p", b"hunter2"),
        AddRequest("ssh-ed25519", b"hunter2"),
    ],
)
def test_secrets_do_not_show(request_: Request) -> None:
    assert "hunter2" not in repr(request_)


@pytest.mark.parametrize(
    ("comment", "is_taken"),
    [
        (b"c" * MAX_COMMENT_BYTES, True),
        (b"c" * (MAX_COMMENT_BYTES + 1), False),
        (b"\xff" * (MAX_COMMENT_BYTES // 3), True),
        (b"\xff" * (MAX_COMMENT_BYTES // 3 + 1), False),
    ],
)
def test_what_is_read_of_a_comment_can_be_encoded_and_read_again(
    comment: bytes, is_taken: bool
) -> None:
    head = b"\x11" + encode_string(b"ssh-ed25519") + 2 * encode_string(b"x")
    payload = head + encode_string(comment)
    if is_taken:
        request = parse_request(payload)
        assert parse_request(encode_request(request)) == request
    else:
        with pytest.raises(WireError, match="comment"):
            parse_request(payload)
