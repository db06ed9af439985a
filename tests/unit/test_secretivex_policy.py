"""Every row is a sentence about the signing policy: these rules, this query, that decision."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from secretivex.policy import Decision, SignQuery, decide
from secretivex.policy_keys import parse_flat_policy
from sshwire.wire import encode_string


def blob_of(seed: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest()).public_key()
    return encode_string(b"ssh-ed25519") + encode_string(key.public_bytes_raw())


def fingerprint_of(blob: bytes, name: str = "sha256") -> str:
    digest = base64.b64encode(hashlib.new(name, blob).digest()).decode().rstrip("=")
    return f"{name.upper()}:{digest}"


MINE = blob_of(b"mine")
OTHER = blob_of(b"other")
MINE_256 = fingerprint_of(MINE)
MINE_512 = fingerprint_of(MINE, "sha512")
OTHER_256 = fingerprint_of(OTHER)
QUERY = SignQuery(
    key_blob=MINE,
    fingerprint_sha256=MINE_256,
    fingerprint_sha512=MINE_512,
    comment="Alice@Laptop",
    algorithm="ssh-ed25519",
    store="file",
    peer_uid=1000,
)
UNKNOWN = QUERY._replace(fingerprint_sha256=None, fingerprint_sha512=None, comment=None)


@pytest.mark.parametrize(
    ("keys", "allowed", "rule", "reason"),
    [
        ({}, True, "", "no_rules"),
        ({"deny_key_blobs": [OTHER.hex()]}, True, "", "no_deny_matches"),
        ({"deny_key_blobs": [MINE.hex()]}, False, "deny_key_blobs", "denied"),
        ({"deny_fingerprints": [MINE_256]}, False, "deny_fingerprints", "denied"),
        ({"deny_fingerprints": [MINE_512]}, False, "deny_fingerprints", "denied"),
        ({"deny_comments": [" alice@laptop "]}, False, "deny_comments", "denied"),
        ({"deny_comments": ["alice@*"]}, False, "deny_comments", "denied"),
        ({"deny_comments": ["alice"]}, True, "", "no_deny_matches"),
        ({"allow_key_blobs": [MINE.hex()]}, True, "allow_key_blobs", "allowed"),
        ({"allow_fingerprints": [MINE_512]}, True, "allow_fingerprints", "allowed"),
        ({"allow_comments": ["*@laptop"]}, True, "allow_comments", "allowed"),
        ({"allow_comments": ["bob@laptop"]}, False, "", "no_allow_matches"),
        ({"pin_fingerprints": [MINE_256]}, True, "pin_fingerprints", "pinned"),
        ({"pin_fingerprints": [OTHER_256]}, False, "pin_fingerprints", "not_pinned"),
    ],
)
def test_each_flat_key_decides_as_documented(
    keys: dict[str, list[str]], allowed: bool, rule: str, reason: str
) -> None:
    policy, problems = parse_flat_policy(keys)
    assert problems == ()
    assert decide(policy, QUERY) == Decision(allowed=allowed, rule=rule, reason=reason)


def test_a_deny_outweighs_an_allow() -> None:
    policy, _ = parse_flat_policy({"allow_fingerprints": [MINE_256], "deny_comments": ["alice@*"]})
    assert decide(policy, QUERY).rule == "deny_comments"


def test_one_matching_allow_is_enough() -> None:
    policy, _ = parse_flat_policy(
        {"allow_fingerprints": [OTHER_256], "allow_comments": ["alice@laptop"]}
    )
    assert decide(policy, QUERY) == Decision(allowed=True, rule="allow_comments", reason="allowed")


def test_an_allow_does_not_widen_a_pin() -> None:
    policy, _ = parse_flat_policy({"pin_fingerprints": [OTHER_256], "allow_comments": ["*"]})
    assert not decide(policy, QUERY).allowed


@pytest.mark.parametrize(
    ("keys", "allowed", "reason"),
    [
        ({"deny_comments": ["nobody"]}, False, "undetermined"),
        ({"deny_fingerprints": [OTHER_256]}, False, "undetermined"),
        ({"allow_comments": ["*"]}, False, "no_allow_matches"),
        ({"pin_fingerprints": [MINE_256]}, False, "not_pinned"),
        ({"allow_key_blobs": [MINE.hex()]}, True, "allowed"),
    ],
)
def test_what_cannot_be_determined_denies_and_never_allows(
    keys: dict[str, list[str]], allowed: bool, reason: str
) -> None:
    policy, _ = parse_flat_policy(keys)
    decision = decide(policy, UNKNOWN)
    assert (decision.allowed, decision.reason) == (allowed, reason)


def test_an_overlong_comment_counts_as_undetermined() -> None:
    policy, _ = parse_flat_policy({"deny_comments": ["nobody"]})
    assert decide(policy, QUERY._replace(comment="a" * 5000)).reason == "undetermined"


@pytest.mark.parametrize(
    "text", [MINE.hex(), base64.b64encode(MINE).decode(), f"ssh-ed25519 {'B64'} me"]
)
def test_a_key_blob_is_taken_in_each_form_people_have(text: str) -> None:
    entry = text.replace("B64", base64.b64encode(MINE).decode())
    policy, problems = parse_flat_policy({"allow_key_blobs": [entry]})
    assert problems == ()
    assert decide(policy, QUERY).allowed


@pytest.mark.parametrize(
    "text", [MINE_256[7:], MINE_256.lower()[:7] + MINE_256[7:], f"{MINE_256}="]
)
def test_a_fingerprint_is_taken_bare_padded_and_in_any_case_of_its_prefix(text: str) -> None:
    policy, problems = parse_flat_policy({"pin_fingerprints": [text]})
    assert problems == ()
    assert decide(policy, QUERY).allowed


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        ("deny_fingerprints", "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48"),
        ("deny_fingerprints", "SHA256:short"),
        ("deny_fingerprints", f"SHA512:{MINE_256[7:]}"),
        ("deny_fingerprints", ""),
        ("deny_fingerprints", f"{MINE_256[:-1]}{chr(ord(MINE_256[-1]) + 1)}"),
        ("allow_key_blobs", "zz"),
        ("allow_key_blobs", ""),
        ("allow_key_blobs", "00000000"),
        ("allow_key_blobs", f"ssh-rsa {base64.b64encode(MINE).decode()}"),
        ("allow_comments", "   "),
    ],
)
def test_an_entry_that_cannot_be_understood_is_a_problem_with_its_place(
    key: str, entry: str
) -> None:
    good = {"deny_fingerprints": MINE_256, "allow_key_blobs": MINE.hex(), "allow_comments": "a"}
    policy, problems = parse_flat_policy({key: [good[key], entry]})
    assert [(problem.key, problem.index) for problem in problems] == [(key, 1)]
    assert problems[0].reason
    assert problems[0].hint
    assert policy.rules == ()


@pytest.mark.parametrize("key", ["allow_comments", "allow_fingerprints", "pin_fingerprints"])
def test_an_empty_list_that_would_restrict_is_refused_as_ambiguous(key: str) -> None:
    _, problems = parse_flat_policy({key: []})
    assert [problem.index for problem in problems] == [None]


def test_an_empty_deny_list_denies_nothing() -> None:
    policy, problems = parse_flat_policy({"deny_comments": []})
    assert problems == ()
    assert decide(policy, QUERY).allowed


def certificate_of(plain: bytes) -> bytes:
    """The front of a certificate for a key: name, nonce, key, and a rest that policy skips."""
    name = b"ssh-ed25519-cert-v01@openssh.com"
    key = plain[4 + len(b"ssh-ed25519") :]
    return encode_string(name) + encode_string(b"nonce") + key + b"rest"


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ({"deny_key_blobs": [MINE.hex()]}, False),
        ({"deny_key_blobs": [OTHER.hex()]}, True),
        ({"allow_key_blobs": [MINE.hex()]}, True),
        ({"allow_key_blobs": [OTHER.hex()]}, False),
    ],
)
def test_a_certificate_counts_as_its_plain_key_too(
    keys: dict[str, list[str]], allowed: bool
) -> None:
    policy, _ = parse_flat_policy(keys)
    algorithm = "ssh-ed25519-cert-v01@openssh.com"
    query = QUERY._replace(key_blob=certificate_of(MINE), algorithm=algorithm)
    assert decide(policy, query).allowed is allowed


def test_a_certificate_that_cannot_be_read_is_denied_where_any_blob_is() -> None:
    policy, _ = parse_flat_policy({"deny_key_blobs": [OTHER.hex()]})
    query = QUERY._replace(key_blob=b"junk", algorithm="ssh-ed25519-cert-v01@openssh.com")
    assert decide(policy, query).reason == "undetermined"
