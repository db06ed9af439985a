"""What a person reads who is to allow a signature."""

from __future__ import annotations

import pytest
from ssh_hosts import blob_of, login_data, path, session_of

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.context.question import (
    MAX_SHOWN_CHARS,
    Request,
    describe_destination,
    render_question,
    show_name,
)
from secretivex.peer import Caller, Peer
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_string, encode_text

SSHSIG = b"SSHSIG" + b"".join(map(encode_text, ("git", "", "sha512"))) + encode_string(b"h" * 64)


def request_of(
    data: bytes = b"data",
    bindings: Bindings = UNBOUND,
    *,
    comment: str = "key",
    executable: str = "/usr/bin/ssh",
    ancestors: tuple[str, ...] | None = None,
    pid: int | None = 7,
) -> Request:
    peer = Peer(uid=1000, gid=1000, pid=pid)
    return Request(blob_of("key"), comment, peer, Caller(executable, ancestors), data, bindings)


def lines_of(request: Request) -> list[str]:
    return render_question(request, fingerprint).split("\n")


def test_the_key_the_caller_and_the_purpose_are_named() -> None:
    assert lines_of(request_of()) == [
        "May this key be used? key",
        f"Fingerprint: {fingerprint(blob_of('key'))}",
        "Asked for by: /usr/bin/ssh (process 7, user 1000)",
        "In order to: sign 4 bytes of a kind that is not known",
    ]


def test_what_the_system_does_not_tell_is_called_unknown() -> None:
    caller = lines_of(request_of(executable="", pid=None))[2]
    assert caller == "Asked for by: a program that is not known (user 1000)"


def test_the_line_of_programs_that_started_the_caller_is_shown_as_far_as_it_is_short() -> None:
    few = lines_of(request_of(ancestors=("/usr/bin/git", "", "/bin/bash")))[2]
    assert few.endswith("(process 7, user 1000), started by /usr/bin/git, ?, /bin/bash")
    many = lines_of(request_of(ancestors=("/bin/sh",) * 9))[2]
    assert many.endswith("/bin/sh, /bin/sh, 3 more")


def test_a_login_that_names_its_host_key_is_good_for_no_other_host() -> None:
    request = request_of(login_data(session_of(9), host=blob_of("a")))
    assert lines_of(request)[3].endswith(f"the host with key {fingerprint(blob_of('a'))}")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SSHSIG, "sign a message, namespace git"),
        (b"DSSEv1 9 text/html 2 hi", "sign a document, type text/html"),
        (b"h" * 32, "sign 32 bytes, which may be a host's key exchange"),
        (encode_text("a-cert-v01@openssh.com") + encode_string(b""), "issue a certificate, a-cert"),
    ],
)
def test_each_kind_of_data_has_its_words(data: bytes, words: str) -> None:
    assert lines_of(request_of(data))[3].startswith(f"In order to: {words}")


def test_a_login_names_the_host_that_the_connection_is_bound_to() -> None:
    request = request_of(login_data(session_of(0)), path("a"))
    host = f"the host with key {fingerprint(blob_of('a'))}"
    assert lines_of(request)[3:] == [f"In order to: log in as ada at {host}"]
    assert describe_destination(request, fingerprint) == f"ada at {host}"


def test_a_login_over_an_unbound_connection_has_no_proven_host() -> None:
    for bindings in (UNBOUND, path("b")):
        request = request_of(login_data(session_of(9)), bindings)
        assert lines_of(request)[3].endswith("as ada at a host that the client does not prove")
        assert describe_destination(request, fingerprint) == ""


def test_a_forwarded_request_says_where_it_comes_from() -> None:
    request = request_of(login_data(session_of(1)), path("a", "b"))
    assert lines_of(request)[4] == (
        f"Forwarded from: the host with key {fingerprint(blob_of('a'))}"
    )
    failed = bind(UNBOUND, b"junk").bindings
    assert lines_of(request_of(bindings=failed))[4] == "Forwarded from: a host that is not known"


def test_no_name_leaves_its_line_or_hides_what_follows() -> None:
    evil = "a\nFingerprint: SHA256:good\r\x1b[2J\u202e\udcff" + "x" * 500
    lines = lines_of(request_of(comment=evil, executable=evil))
    assert len(lines) == 4
    assert all(line.isprintable() and len(line) < MAX_SHOWN_CHARS + 50 for line in lines)
    assert show_name("ä b") == "ä b"
    assert show_name("a\u3164\u2800\ufe0fb") == "a\ufffd\ufffd\ufffdb"


def test_no_name_reads_like_the_rest_of_its_line() -> None:
    evil = "/bin/x (process 1, user 0), started by /usr/bin/git"
    lines = lines_of(request_of(comment="key Fingerprint: SHA256:good", executable=evil))
    assert lines[0] == 'May this key be used? "key Fingerprint: SHA256:good"'
    assert lines[2] == f'Asked for by: "{evil}" (process 7, user 1000)'
    closing = lines_of(request_of(executable='/x" (process 1, user 0)'))[2]
    assert closing == 'Asked for by: "/x\ufffd (process 1, user 0)" (process 7, user 1000)'
    login = login_data(session_of(9), user="root at the host with key SHA256:good")
    assert '"root at the host with key SHA256:good" at a host' in lines_of(request_of(login))[3]
    parents = lines_of(request_of(ancestors=("/bin/sh", "/a b", "")))[2]
    assert parents.endswith('started by /bin/sh, "/a b", ?')
