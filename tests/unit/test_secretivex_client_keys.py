"""Choosing among listed keys: by blob, fingerprint or comment, and never by guessing."""

import base64
import hashlib

import pytest

from secretivex.cli.client.health import examine
from secretivex.cli.client.keys import (
    UNREADABLE,
    ListedKey,
    filter_keys,
    find_by_blob,
    find_by_comment,
    find_by_fingerprint,
    fingerprint_hint,
    listed_key,
    the_one,
)
from secretivex.errors import SecretiveError
from sshwire.agent.replies import Identity
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_string


def ed25519(fill: int) -> bytes:
    return encode_string(b"ssh-ed25519") + encode_string(bytes([fill]) + bytes(31))


ALICE = listed_key(Identity(ed25519(3), "alice@example.org"))
BOB = listed_key(Identity(ed25519(4), "bob"))
OTHER_BOB = listed_key(Identity(ed25519(5), "BOB"))
STRANGE = listed_key(Identity(encode_string(b"ssh-new@example.org") + b"...", "strange"))
JUNK = listed_key(Identity(b"\0\0\0\xff", "junk"))
KEYS = [ALICE, BOB, OTHER_BOB, STRANGE, JUNK]


def test_what_a_key_shows() -> None:
    assert ALICE.algorithm == "ssh-ed25519"
    assert ALICE.fingerprint == fingerprint(ALICE.blob)
    assert ALICE.to_json()["openssh"] == ALICE.public_line()
    assert STRANGE.algorithm == "ssh-new@example.org"
    assert JUNK.algorithm == UNREADABLE
    assert JUNK.to_json()["openssh"] is None
    assert JUNK.fingerprint.startswith("SHA256:")


@pytest.mark.parametrize(
    "text",
    [
        ALICE.blob.hex(),
        ALICE.blob.hex().upper(),
        ALICE.public_line(),
        ALICE.public_line().split()[1],
    ],
)
def test_blob_is_found_in_hex_and_base64(text: str) -> None:
    assert find_by_blob(KEYS, text) == [ALICE]


@pytest.mark.parametrize("text", ["zz", "AAAA*", ""])
def test_blob_that_is_neither_is_a_usage_error(text: str) -> None:
    if text:
        with pytest.raises(SecretiveError) as caught:
            find_by_blob(KEYS, text)
        assert caught.value.code == "usage"
    else:
        assert find_by_blob(KEYS, text) == []


def test_fingerprint_is_found_in_every_spelling() -> None:
    digest = ALICE.fingerprint.removeprefix("SHA256:")
    long = base64.b64encode(hashlib.sha512(ALICE.blob).digest()).decode()
    for text in (f"SHA256:{digest}", f"sha256:{digest}=", digest, f"SHA512:{long}", long):
        assert find_by_fingerprint(KEYS, text) == [ALICE]
    assert find_by_fingerprint(KEYS, f"MD5:{digest}") == []
    assert find_by_fingerprint(KEYS, digest.lower()) == []


def test_key_is_meant_rather_than_its_certificate() -> None:
    certificate = ListedKey(b"c", "alice", "ssh-ed25519-cert-v01@openssh.com", ALICE.fingerprint)
    assert find_by_fingerprint([certificate, ALICE], ALICE.fingerprint) == [ALICE]
    assert find_by_fingerprint([certificate, BOB], ALICE.fingerprint) == [certificate]


def test_comment_in_the_same_case_goes_first() -> None:
    assert find_by_comment(KEYS, "bob") == [BOB]
    assert find_by_comment(KEYS, "Bob") == [BOB, OTHER_BOB]
    assert find_by_comment(KEYS, "bo") == []


def test_filter_takes_parts_of_comment_and_fingerprint() -> None:
    assert filter_keys(KEYS, "EXAMPLE.org") == [ALICE]
    assert filter_keys(KEYS, BOB.fingerprint[10:30]) == [BOB]
    assert filter_keys(KEYS, "nobody") == []


def test_one_key_is_needed() -> None:
    assert the_one([BOB, BOB], wanted="x") is BOB
    with pytest.raises(SecretiveError) as none:
        the_one([], wanted="x")
    assert none.value.code == "key_not_found"
    with pytest.raises(SecretiveError) as many:
        the_one([BOB, OTHER_BOB], wanted="comment 'Bob'")
    assert many.value.code == "key_ambiguous"
    assert [one["comment"] for one in many.value.details["candidates"]] == ["bob", "BOB"]
    assert BOB.fingerprint in many.value.message


def test_health_counts_and_tells_unknown_from_unreadable() -> None:
    again = listed_key(Identity(ALICE.blob, "bob"))
    found = examine([*KEYS, again])
    assert found.counts == {
        "total_identities": 6,
        "valid_identities": 5,
        "invalid_key_blobs": 1,
        "unique_key_blobs": 5,
        "duplicate_key_blobs": 1,
        "unique_fingerprints": 5,
        "duplicate_fingerprints": 1,
        "duplicate_comments": 1,
    }
    assert found.algorithms == {"ssh-ed25519": 4, "ssh-new@example.org": 1, UNREADABLE: 1}
    assert [key["comment"] for key in found.invalid] == ["junk"]


def test_a_comment_that_a_certificate_shares_with_its_key_means_the_key() -> None:
    name = "ssh-ed25519-cert-v01@openssh.com"
    own = ListedKey(b"c", ALICE.comment, name, ALICE.fingerprint)
    other = ListedKey(b"d", ALICE.comment, name, BOB.fingerprint)
    assert find_by_comment([own, ALICE], ALICE.comment) == [ALICE]
    assert find_by_comment([own], ALICE.comment) == [own]
    assert find_by_comment([other, ALICE], ALICE.comment) == [other, ALICE]


@pytest.mark.parametrize("text", ["MD5:aa:bb", "SHA256:", "SHA256:short", "SHA1:x", "words", ""])
def test_what_is_no_whole_fingerprint_is_told_apart_from_one_that_no_key_has(text: str) -> None:
    assert "whole SHA256 or SHA512" in fingerprint_hint(text)
    for whole in (ALICE.fingerprint, ALICE.fingerprint[7:], f" {ALICE.fingerprint} "):
        assert fingerprint_hint(whole) == ""
        assert find_by_fingerprint(KEYS, whole) == [ALICE]


def test_candidates_are_shown_on_a_line_each_whatever_their_comments_hold() -> None:
    one, two = (ListedKey(bytes([fill]), "x\n\x1b[2J", "a", "f") for fill in (1, 2))
    with pytest.raises(SecretiveError) as caught:
        the_one([one, two], wanted="it")
    assert caught.value.message.splitlines()[1:] == [r"  f a x\n\x1b[2J"] * 2
