"""The grammar of allowed signers and the decision who may sign; lines tried on ssh-keygen 9.2."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sshwire.allowed_signers import parse_allowed_signers, parse_timestamp
from sshwire.errors import VerificationError, WireError
from sshwire.patterns import match_pattern, match_pattern_list
from sshwire.pubkey import PublicKey, encode_public_line
from sshwire.wire import encode_string


def ed25519_key(fill: int) -> PublicKey:
    """Each is a point of the curve, or the parser would refuse it."""
    blob = encode_string(b"ssh-ed25519") + encode_string(bytes((fill,)) + bytes(31))
    return PublicKey("ssh-ed25519", blob)


KEY, OTHER = ed25519_key(3), ed25519_key(4)
LINE = encode_public_line(KEY)
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def find(
    text: str, *, principal: str = "me@x", namespace: str = "file", now: datetime = NOW
) -> int:
    allowed = parse_allowed_signers(text)
    return allowed.find(KEY, principal=principal, namespace=namespace, now=now).line


def reason(text: str, *, namespace: str = "file", now: datetime = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        find(text, namespace=namespace, now=now)
    return caught.value.reason


@pytest.mark.parametrize(
    "prefix",
    [
        "me@x",
        "  me@x\t",
        "you@x,me@x",
        "*@x",
        "!you@x,*@?",
        "*",
        "me@x,,",
        '"me@x,foo bar"',
        'me@x namespaces="file"',
        'me@x NAMESPACES="fi*,!git"',
        'me@x namespaces="a\\"b,file"',
        'me@x valid-after="20260601Z"',
        'me@x valid-after="20260601120000UTC",valid-before="202606011201z"',
        'me@x valid-before="20260601120000Z"',
    ],
)
def test_line_that_lets_the_signer_sign(prefix: str) -> None:
    assert find(f"# comment\n\n{prefix} {LINE} a comment\r\n") == 3


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("you@x", "wrong_principal"),
        ("*,!me@x", "wrong_principal"),
        ("!you@x", "wrong_principal"),
        ("ME@X", "wrong_principal"),
        ('me@x namespaces="git"', "namespace_not_allowed"),
        ('me@x namespaces=""', "namespace_not_allowed"),
        ('me@x namespaces="*,!file"', "namespace_not_allowed"),
        ('me@x valid-after="20260601120001Z"', "key_not_yet_valid"),
        ('me@x valid-before="20260601115959Z"', "key_expired"),
        ("me@x cert-authority", "unknown_signer"),
        ('me@x cert-authority,namespaces="file"', "unknown_signer"),
    ],
)
def test_line_that_does_not(prefix: str, expected: str) -> None:
    assert reason(f"{prefix} {LINE}") == expected


def test_key_that_is_not_listed_is_unknown() -> None:
    assert reason("") == "unknown_signer"
    assert reason(f"me@x {encode_public_line(OTHER)}") == "unknown_signer"


def test_first_line_that_fits_wins_and_the_closest_miss_is_told() -> None:
    expired = f'me@x valid-before="20200101Z" {LINE}'
    assert find(f"{expired}\nme@x {LINE}\n* {LINE}") == 2
    assert reason(f'you@x {LINE}\n{expired}\nme@x namespaces="git" {LINE}') == "key_expired"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("me@x", "principals and a key"),
        (f"me@x foo {LINE}", "key"),
        (f"me@x namespaces=file {LINE}", "double quotes"),
        (f'me@x namespaces="file {LINE}', "quotes"),
        (f'me@x namespaces="file"x {LINE}', "malformed"),
        (f'me@x valid-before="20300101Z", {LINE}', "malformed"),
        (f'me@x foo="1" {LINE}', "unknown option 'foo'"),
        (f"me@x namespaces,cert-authority {LINE}", "needs a value"),
        (f'me@x cert-authority="1" {LINE}', "takes no value"),
        (f'me@x namespaces="a",namespaces="b" {LINE}', "given twice"),
        (f'me@x valid-after="20300101Z",valid-before="20200101Z" {LINE}', "not later"),
        (f'me@x valid-after="20200101Z",valid-before="20200101Z" {LINE}', "not later"),
        (f'me@x valid-before="20300101" {LINE}', "time zone"),
        (f'me@x valid-before="20300230Z" {LINE}', "no such date"),
        (f'me@x valid-before="20300101 Z" {LINE}', "not a timestamp"),
        (f'me@x valid-before="2030010112Z" {LINE}', "not a timestamp"),
        ('me@x namespaces="file"', "no key follows"),
        ("me@x ssh-ed25519", "key"),
        ("me@x ssh-ed25519 AAAA", "line 2"),
        (f"me@x ecdsa-sha2-nistp256 {LINE.split()[1]}", "line 2"),
    ],
)
def test_wrong_line_is_named(line: str, message: str) -> None:
    with pytest.raises(WireError, match=message) as caught:
        parse_allowed_signers(f"* {LINE}\n{line}\n")
    assert str(caught.value).startswith("line 2: ")


def test_unknown_key_type_grants_nothing_and_is_told() -> None:
    dead = "ssh-xmss@openssh.com AAAAFHNzaC14bXNzQG9wZW5zc2guY29t"
    allowed = parse_allowed_signers(f"me@x {dead}\nme@x {LINE}")
    assert [line.line for line in allowed.skipped] == [1]
    assert [entry.line for entry in allowed.entries] == [2]


def test_timestamp_without_z_takes_the_zone_it_is_given() -> None:
    def five_hours_west(stamp: datetime) -> datetime:
        return stamp.replace(tzinfo=timezone(timedelta(hours=-5)))

    text = f'me@x valid-after="20260601070000" {LINE}'
    allowed = parse_allowed_signers(text, localize=five_hours_west)
    assert allowed.entries[0].valid_after == NOW


@pytest.mark.parametrize("text", ["", "2026", "20261301Z", "20260601250000Z", "\u0660" * 8 + "Z"])
def test_impossible_timestamp_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        parse_timestamp(text)


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("", "", True),
        ("", "*", True),
        ("", "?", False),
        ("abc", "abc", True),
        ("abc", "a?c", True),
        ("abc", "a*", True),
        ("abc", "*c", True),
        ("abc", "a*b*c*", True),
        ("abc", "a*d", False),
        ("abc", "[a]bc", False),
        ("aab", "*ab", True),
        ("mississippi", "m*iss*pi", True),
        ("mississippi", "m*iss*pix", False),
        ("a", "A", False),
    ],
)
def test_pattern(text: str, pattern: str, expected: bool) -> None:
    assert match_pattern(text, pattern) is expected


def test_pattern_with_many_stars_is_not_slow() -> None:
    assert not match_pattern("a" * 5_000, "*a" * 20 + "b")


def test_pattern_list_needs_a_positive_match() -> None:
    assert match_pattern_list("a", "b,a")
    assert not match_pattern_list("a", "!b")
    assert not match_pattern_list("a", "a,!a")
    assert not match_pattern_list("", "")
