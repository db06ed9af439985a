"""One row for each condition a rule may have: a query that fits, one that does not, one not known.

What is not known denies and asks, and never allows or satisfies a pin.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ssh_hosts import blob_of, certificate_of, login_data, path, session_of

from secretivex.config.rows.policy import RULE_SETTINGS
from secretivex.context.bindings import UNBOUND
from secretivex.context.purpose import Purpose, purpose_of
from secretivex.context.signed_data import DataKind
from secretivex.policy import Charge, CompiledPolicy, SignQuery, decide
from secretivex.policy.compiled import MAX_REMEMBERED, MAX_REMEMBERED_CHARS
from secretivex.policy.matchers import MAX_DETAIL_CHARS
from secretivex.rule_tables import parse_policy
from sshwire.pubkey import fingerprint

KEY = blob_of("key")
LOGIN = Purpose(DataKind.USERAUTH, user="root", host_key=blob_of("host"), authority=blob_of("ca"))
WEDNESDAY_NOON_S = 1_795_608_000.0
"""2026-11-25T12:00:00Z."""

FITS = SignQuery(
    key_blob=KEY,
    fingerprint_sha256=fingerprint(KEY),
    fingerprint_sha512=fingerprint(KEY, "sha512"),
    comment="Ada@Laptop",
    algorithm="ssh-ed25519",
    store="file",
    peer_uid=1000,
    peer_gid=100,
    executable="/usr/bin/ssh",
    ancestors=("/usr/bin/git", "/bin/bash"),
    is_forwarded=True,
    purpose=LOGIN,
    signature_format="ssh-ed25519",
    flags=0,
    now_s=WEDNESDAY_NOON_S,
)


def line_of(name: str) -> str:
    return f"ssh-ed25519 {base64.b64encode(blob_of(name)).decode()}"


CERTIFICATE = base64.b64encode(certificate_of("host", "ca")).decode()


def signing(kind: DataKind, detail: str = "") -> SignQuery:
    return FITS._replace(purpose=Purpose(kind, detail))


GIT = signing(DataKind.SSHSIG, "git")
JSON = signing(DataKind.DSSE, "application/json")
HOST_UNKNOWN = FITS._replace(purpose=LOGIN._replace(host_key=None, authority=b""))
NO_PURPOSE = FITS._replace(purpose=None)
CERTIFIED = FITS._replace(
    key_blob=certificate_of("key", "ca"), algorithm="ssh-ed25519-cert-v01@openssh.com"
)

Row = tuple[
    dict[str, Any], SignQuery, dict[str, Any] | SignQuery, dict[str, Any] | SignQuery | None
]

ROWS: dict[str, Row] = {
    "key_blobs": (
        {"key_blobs": [line_of("key")]},
        FITS,
        {"key_blob": blob_of("x")},
        {"key_blob": b"?", "algorithm": "ssh-ed25519-cert-v01@openssh.com"},
    ),
    "key_blobs of a certificate": (
        {"key_blobs": [line_of("key")]},
        CERTIFIED,
        {"key_blob": certificate_of("x", "ca")},
        None,
    ),
    "fingerprints": (
        {"fingerprints": [fingerprint(KEY)]},
        FITS,
        {"fingerprint_sha256": fingerprint(blob_of("x"))},
        {"fingerprint_sha256": None},
    ),
    "fingerprints, SHA512": (
        {"fingerprints": [fingerprint(KEY, "sha512")]},
        FITS,
        {"fingerprint_sha512": fingerprint(blob_of("x"), "sha512")},
        {"fingerprint_sha512": None},
    ),
    "comments": ({"comments": [" ada@* "]}, FITS, {"comment": "bob"}, {"comment": None}),
    "comments, other letters": (
        {"comments": ["Äda"]},
        FITS._replace(comment="Äda"),
        {"comment": "äda"},
        None,
    ),
    "fingerprints, of both kinds": (
        {"fingerprints": [fingerprint(blob_of("x")), fingerprint(KEY, "sha512")]},
        FITS,
        {"fingerprint_sha512": fingerprint(blob_of("y"), "sha512")},
        {"fingerprint_sha512": None},
    ),
    "key_types": ({"key_types": ["ssh-ed*"]}, FITS, {"algorithm": "ssh-rsa"}, None),
    "stores": ({"stores": ["file", "pkcs11*"]}, FITS, {"store": "memory"}, {"store": None}),
    "uids": ({"uids": [1000, 0]}, FITS, {"peer_uid": 1001}, {"peer_uid": None}),
    "gids": ({"gids": [100]}, FITS, {"peer_gid": 0}, {"peer_gid": None}),
    "executables": (
        {"executables": ["/usr/bin/ssh"]},
        FITS,
        {"executable": "/tmp/usr/bin/ssh"},
        {"executable": ""},
    ),
    "executables, a glob": (
        {"executables": ["/usr/*/ssh*"]},
        FITS,
        {"executable": "/usr/bin/plink"},
        {"executable": None},
    ),
    "ancestors": (
        {"ancestors": ["/usr/bin/git"]},
        FITS,
        {"ancestors": ("/bin/bash",)},
        {"ancestors": None},
    ),
    "ancestors, the caller itself": (
        {"ancestors": ["/usr/bin/ssh"]},
        FITS,
        {"executable": "/bin/x"},
        {"executable": ""},
    ),
    "ancestors, one cannot be told": (
        {"ancestors": ["/usr/bin/git"]},
        FITS._replace(ancestors=("", "/usr/bin/git")),
        {"ancestors": ()},
        {"ancestors": ("", "/bin/bash")},
    ),
    "forwarded": ({"forwarded": True}, FITS, {"is_forwarded": False}, {"is_forwarded": None}),
    "not forwarded": (
        {"forwarded": False},
        FITS._replace(is_forwarded=False),
        {"is_forwarded": True},
        {"is_forwarded": None},
    ),
    "hosts": (
        {"hosts": [line_of("host")]},
        FITS,
        {"purpose": LOGIN._replace(host_key=blob_of("other"))},
        HOST_UNKNOWN,
    ),
    "hosts, by authority": (
        {"hosts": [line_of("ca")]},
        FITS,
        {"purpose": LOGIN._replace(authority=b"")},
        HOST_UNKNOWN,
    ),
    "hosts, of what is no login": ({"hosts": [line_of("host")]}, FITS, GIT, NO_PURPOSE),
    "users": ({"users": ["ro?t"]}, FITS, {"purpose": LOGIN._replace(user="ada")}, NO_PURPOSE),
    "users, of what is no login": ({"users": ["*"]}, FITS, GIT, NO_PURPOSE),
    "kinds": ({"kinds": ["userauth", "sshsig"]}, FITS, JSON, NO_PURPOSE),
    "kinds, all others": ({"kinds": ["other"]}, signing(DataKind.OTHER), FITS, NO_PURPOSE),
    "kinds, a certificate": (
        {"kinds": ["certificate"]},
        signing(DataKind.CERTIFICATE),
        FITS,
        NO_PURPOSE,
    ),
    "kinds, a host's key": ({"kinds": ["host_key"]}, signing(DataKind.HOST_KEY), FITS, NO_PURPOSE),
    "namespaces": ({"namespaces": ["git", "file"]}, GIT, signing(DataKind.SSHSIG, "x"), NO_PURPOSE),
    "namespaces, too long": (
        {"namespaces": ["x*"]},
        signing(DataKind.SSHSIG, "x" * MAX_DETAIL_CHARS),
        GIT,
        signing(DataKind.SSHSIG, "x" * (MAX_DETAIL_CHARS + 1)),
    ),
    "namespaces, any": (
        {"namespaces": ["*"]},
        signing(DataKind.SSHSIG, "x" * (MAX_DETAIL_CHARS + 1)),
        FITS,
        NO_PURPOSE,
    ),
    "users, too long": (
        {"users": ["root*"]},
        FITS,
        GIT,
        {"purpose": LOGIN._replace(user="y" * (MAX_DETAIL_CHARS + 1))},
    ),
    "namespaces, of a login": ({"namespaces": ["*"]}, GIT, FITS, NO_PURPOSE),
    "payload_types": (
        {"payload_types": ["application/*"]},
        JSON,
        signing(DataKind.DSSE, "text/html"),
        NO_PURPOSE,
    ),
    "algorithms": (
        {"algorithms": ["ssh-ed25519"]},
        FITS,
        {"signature_format": "rsa-sha2-512"},
        {"signature_format": None},
    ),
    "flags": ({"flags": [0, 4]}, FITS, {"flags": 2}, {"flags": None}),
    "hours": (
        {"hours": "08:00-18:30"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S + 23_400},
        {"now_s": None},
    ),
    "hours, to midnight": (
        {"hours": "12:00-24:00"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S - 1},
        {"now_s": None},
    ),
    "hours, over midnight": (
        {"hours": "22:00-06:00", "days": ["wed"]},
        FITS._replace(now_s=WEDNESDAY_NOON_S + 17 * 3600),
        {"now_s": WEDNESDAY_NOON_S - 7 * 3600},
        {"now_s": None},
    ),
    "hours, over midnight, the first second": (
        {"hours": "12:00-06:00", "days": ["wed"]},
        FITS,
        {"now_s": WEDNESDAY_NOON_S - 1},
        {"now_s": None},
    ),
    "hours, over midnight, the last second": (
        {"hours": "20:00-12:00", "days": ["tue"]},
        FITS._replace(now_s=WEDNESDAY_NOON_S - 1),
        {"now_s": WEDNESDAY_NOON_S},
        {"now_s": None},
    ),
    "hours, elsewhere": (
        {"hours": "13:30-13:31", "utc_offset": "+01:30"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S - 60},
        {"now_s": None},
    ),
    "days": ({"days": ["wed", "sun"]}, FITS, {"now_s": WEDNESDAY_NOON_S + 86_400}, {"now_s": None}),
    "days, west of Greenwich": (
        {"days": ["tue"], "utc_offset": "-13:00"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S + 7200},
        {"now_s": None},
    ),
    "not_before": (
        {"not_before": "2026-11-25T13:00:00+01:00"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S - 0.5},
        {"now_s": None},
    ),
    "not_after": (
        {"not_after": "2026-11-25T12:00:01Z"},
        FITS,
        {"now_s": WEDNESDAY_NOON_S + 1},
        {"now_s": None},
    ),
    "all of them hold": (
        {"users": ["root"], "uids": [1000], "forwarded": True},
        FITS,
        {"peer_uid": 1},
        {"is_forwarded": None},
    ),
    "one no outweighs what is not known": (
        {"users": ["root"], "uids": [1000]},
        FITS,
        NO_PURPOSE._replace(peer_uid=1),
        NO_PURPOSE,
    ),
}


def query_of(change: dict[str, Any] | SignQuery, fits: SignQuery) -> SignQuery:
    return change if isinstance(change, SignQuery) else fits._replace(**change)


class Counted:
    def __init__(self, used: int | None) -> None:
        self._used = used

    def used(self, _charge: Charge, /) -> int | None:
        return self._used


def compile_rules(*tables: dict[str, Any]) -> CompiledPolicy:
    policy, problems = parse_policy({"rules": list(tables)})
    assert problems == ()
    return CompiledPolicy(policy)


def verdict(compiled: CompiledPolicy, query: SignQuery) -> str:
    """What both say, the plain policy and the one that remembers what it was asked before."""
    decision = compiled.decide(query)
    assert decision == decide(compiled.policy, query)
    return "asked" if decision.confirm else decision.reason


@pytest.mark.parametrize("row", ROWS.values(), ids=[*ROWS])
def test_each_condition_with_each_effect(row: Row) -> None:
    table, fits, other, unknown = row
    reasons = {
        "deny": ("denied", "no_deny_matches", "undetermined"),
        "pin": ("pinned", "not_pinned", "not_pinned"),
        "allow": ("allowed", "no_allow_matches", "no_allow_matches"),
        "confirm": ("asked", "no_deny_matches", "asked"),
    }
    for effect, (if_yes, if_no, if_unknown) in reasons.items():
        compiled = compile_rules({"name": "it", "effect": effect, **table})
        for _ in ("seen for the first time", "remembered"):
            assert verdict(compiled, fits) == if_yes
            assert verdict(compiled, query_of(other, fits)) == if_no
            if unknown is not None:
                assert verdict(compiled, query_of(unknown, fits)) == if_unknown


@pytest.mark.parametrize("row", ROWS.values(), ids=[*ROWS])
def test_each_condition_beside_a_count(row: Row) -> None:
    """What counts is a signature that the other conditions fit, or may fit."""
    table, fits, other, unknown = row
    counted = {"name": "it", **table, "effect": "confirm", "rate": {"over": 2, "per_s": 9}}
    compiled = compile_rules(counted, {"effect": "allow", "uids": [0, 1, 1000]})
    rows = [(fits, 1), (query_of(other, fits), 0)]
    rows += [] if unknown is None else [(query_of(unknown, fits), 1)]
    for query, charges in rows:
        asked = query._replace(peer_uid=1000) if "uids" not in table else query
        for used in (0, 2, None):
            decision = compiled.decide(asked, Counted(used))
            assert decision == decide(compiled.policy, asked, Counted(used))
            if decision.allowed:
                assert len(decision.charges) == (charges if used == 0 else 0)


@pytest.mark.parametrize(
    "conditions",
    [
        {"users": ["root"], "namespaces": ["git"]},
        {"kinds": ["userauth"], "payload_types": ["*"]},
        {"hosts": [line_of("host")], "kinds": ["sshsig", "other"]},
        {"key_types": ["ssh-ed25519", "sk-*"], "algorithms": ["rsa-sha2-*"]},
    ],
)
@pytest.mark.parametrize("effect", ["deny", "allow", "pin", "confirm"])
def test_a_rule_that_nothing_can_match_is_a_problem(
    conditions: dict[str, Any], effect: str
) -> None:
    """A deny that never matches looks like one that does."""
    (problem,) = parse_policy({"rules": [{"effect": effect, **conditions}]})[1]
    assert "never matches" in problem.reason
    assert all(name in problem.reason for name in conditions)
    assert problem.inside[0] in conditions


@pytest.mark.parametrize(
    "conditions",
    [
        {"users": ["root"], "hosts": [line_of("host")], "kinds": ["userauth", "sshsig"]},
        {"namespaces": ["git"], "kinds": ["sshsig"]},
        {"key_types": ["ssh-rsa", "ssh-ed25519"], "algorithms": ["rsa-sha2-512"]},
        {"key_types": ["*-cert-v01@openssh.com"], "algorithms": ["ssh-ed25519"]},
    ],
)
def test_conditions_that_can_hold_together_are_none(conditions: dict[str, Any]) -> None:
    assert parse_policy({"rules": [{"effect": "deny", **conditions}]})[1] == ()


@pytest.mark.parametrize("name", ["file", "file-2", "pkcs11-12", "memory", "pkcs11*", "*-3"])
def test_stores_are_named_as_health_names_them(name: str) -> None:
    assert parse_policy({"rules": [{"effect": "deny", "stores": [name]}]})[1] == ()


@pytest.mark.parametrize("name", ["fil", "file-1", "file-02", "files", "File", "memory-x"])
def test_a_store_that_cannot_be_is_a_problem(name: str) -> None:
    (problem,) = parse_policy({"rules": [{"effect": "deny", "stores": [name]}]})[1]
    assert f"{name!r} is no store" in problem.reason
    assert "memory" in problem.hint


def test_of_several_pins_the_last_is_named() -> None:
    pins = [{"name": name, "effect": "pin", "uids": [1000]} for name in ("one", "two")]
    compiled = compile_rules(*pins)
    assert compiled.decide(FITS).rule == decide(compiled.policy, FITS).rule == "two"


def test_what_callers_choose_is_remembered_within_bounds() -> None:
    compiled = compile_rules({"effect": "deny", "namespaces": ["release"]})
    (index,) = compiled._facets.values()
    for number in range(MAX_REMEMBERED + 10):
        assert compiled.decide(signing(DataKind.SSHSIG, str(number))).allowed
    assert len(index.known) == 10
    long = signing(DataKind.SSHSIG, "x" * (MAX_REMEMBERED_CHARS + 1))
    assert compiled.decide(long).reason == "undetermined"
    assert len(index.known) == 10


def test_every_condition_has_a_row() -> None:
    conditions = {row.key for row in RULE_SETTINGS} - {"name", "effect", "utc_offset", "rate"}
    assert set().union(*(table for table, *_ in ROWS.values())) - {"utc_offset"} == conditions
    can_be_unknown = set().union(*(row[0] for row in ROWS.values() if row[3] is not None))
    assert conditions - can_be_unknown == {"key_types"}, "a key without a type is no key"


@pytest.mark.parametrize(
    ("effect", "below", "full", "unknown"),
    [
        ("deny", "no_deny_matches", "denied", "undetermined"),
        ("confirm", "no_deny_matches", "asked", "asked"),
        ("allow", "allowed", "no_allow_matches", "no_allow_matches"),
        ("pin", "pinned", "not_pinned", "not_pinned"),
    ],
)
def test_a_rate_with_each_effect(effect: str, below: str, full: str, unknown: str) -> None:
    word = "over" if effect in ("deny", "confirm") else "at_most"
    table = {"effect": effect, "rate": {word: 5, "per_s": 60, "each": "key"}}
    policy, problems = parse_policy({"rules": [table]})
    assert problems == ()
    for used, reason in ((4, below), (5, full), (None, unknown)):
        decision = decide(policy, FITS, Counted(used))
        assert ("asked" if decision.confirm else decision.reason) == reason
        assert len(decision.charges) == (used == 4)


@pytest.mark.parametrize(
    ("each", "change"),
    [
        ("key", {"fingerprint_sha256": "SHA256:x"}),
        ("caller", {"executable": "/bin/x"}),
        ("caller", {"peer_uid": 0}),
    ],
)
def test_each_key_and_each_caller_has_a_count_of_its_own(each: str, change: dict[str, Any]) -> None:
    table = {"effect": "deny", "rate": {"over": 5, "per_s": 60, "each": each}}
    policy, _ = parse_policy({"rules": [table]})
    own, other = (decide(policy, query).charges for query in (FITS, FITS._replace(**change)))
    assert own != other
    assert decide(policy, FITS._replace(peer_gid=9)).charges == own
    gone: dict[str, tuple[dict[str, Any], ...]] = {
        "key": ({"fingerprint_sha256": None},),
        "caller": ({"executable": ""}, {"executable": None}, {"peer_uid": None}),
    }
    for facts in gone[each]:
        assert decide(policy, FITS._replace(**facts)).reason == "undetermined"


@pytest.mark.parametrize(
    ("table", "key", "word"),
    [
        ({}, "effect", "no effect"),
        ({"effect": "allow"}, "effect", "says nothing"),
        ({"effect": "pin"}, "effect", "says nothing"),
        ({"effect": "deny", "name": " "}, "name", "blank"),
        ({"effect": "deny", "name": "allow_comments"}, "name", "taken"),
        ({"effect": "deny", "comments": []}, "comments", "empty"),
        ({"effect": "deny", "comments": [" "]}, "comments", "blank"),
        ({"effect": "deny", "fingerprints": ["MD5:aa"]}, "fingerprints", "fingerprint"),
        ({"effect": "deny", "hosts": ["github.com"]}, "hosts", "public key"),
        ({"effect": "deny", "key_types": ["ssh-ed25518"]}, "key_types", "key type"),
        ({"effect": "deny", "key_types": ["zz*"]}, "key_types", "key type"),
        ({"effect": "deny", "algorithms": ["rsa-sha3"]}, "algorithms", "algorithm"),
        ({"effect": "deny", "kinds": ["login"]}, "kinds", "not known"),
        ({"effect": "deny", "executables": ["ssh"]}, "executables", "whole path"),
        ({"effect": "deny", "uids": [-1]}, "uids", "no such"),
        ({"effect": "deny", "flags": [8]}, "flags", "flags"),
        ({"effect": "deny", "hours": "8-18"}, "hours", "hours"),
        ({"effect": "deny", "hours": "08:00-08:00"}, "hours", "hours"),
        ({"effect": "deny", "hours": "08:00-24:30"}, "hours", "hours"),
        ({"effect": "deny", "days": ["monday"]}, "days", "day"),
        ({"effect": "deny", "days": []}, "days", "empty"),
        ({"effect": "deny", "utc_offset": "+01:00"}, "utc_offset", "no hours"),
        ({"effect": "deny", "days": ["mon"], "utc_offset": "CET"}, "utc_offset", "offset"),
        ({"effect": "deny", "not_before": "tomorrow"}, "not_before", "moment"),
        ({"effect": "deny", "not_before": "2026-01-01T00:00:00"}, "not_before", "zone"),
        (
            {
                "effect": "deny",
                "not_before": "2026-02-01T00:00:00Z",
                "not_after": "2026-01-01T00:00:00Z",
            },
            "not_after",
            "never",
        ),
        ({"effect": "deny", "comments": ["*@[z-a]"]}, "comments", "nothing fits"),
        ({"effect": "deny", "comments": ["[A-_]da"]}, "comments", "nothing fits"),
        ({"effect": "deny", "users": ["ro[t-o]t"]}, "users", "nothing fits"),
        ({"effect": "deny", "executables": ["/usr/[z-a]*"]}, "executables", "nothing fits"),
        ({"effect": "deny", "key_types": ["[z-a]*"]}, "key_types", "key type"),
        ({"effect": "deny", "hosts": [CERTIFICATE]}, "hosts", "certificate"),
        (
            {"effect": "deny", "not_before": "2026-02-01T00:00:00Z", "utc_offset": "+01:00"},
            "utc_offset",
            "no hours",
        ),
        ({"effect": "deny", "not_after": "2026-02-01T00:00:00.5Z"}, "not_after", "part of a"),
        ({"effect": "deny", "not_after": "2026-02-01T00:00:00+01:00:00.5"}, "not_after", "part"),
        ({"effect": "deny", "rate": {"at_most": 1, "per_s": 1}}, "rate", "over"),
        ({"effect": "allow", "rate": {"over": 1, "per_s": 1}}, "rate", "at_most"),
        ({"effect": "deny", "rate": {"over": 1}}, "rate", "per_s"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_a_problem_with_its_key(
    table: dict[str, Any], key: str, word: str
) -> None:
    _, problems = parse_policy({"rules": [{"effect": "deny"}, table]})
    assert [(problem.index, problem.inside[0]) for problem in problems] == [(1, key)]
    assert word in problems[0].reason


def test_a_host_is_known_by_the_bind_or_by_what_is_signed_and_never_by_both_in_conflict() -> None:
    bound, unbound = path("host"), UNBOUND
    rows = [
        (login_data(session_of(0)), bound, blob_of("host")),
        (login_data(session_of(0), host=blob_of("host")), bound, blob_of("host")),
        (login_data(session_of(0), host=blob_of("other")), bound, None),
        (login_data(session_of(7)), bound, None),
        (login_data(session_of(7)), unbound, None),
        (login_data(session_of(7), host=blob_of("host")), unbound, blob_of("host")),
        (login_data(session_of(7), host=b"junk"), unbound, None),
    ]
    for data, bindings, host_key in rows:
        assert purpose_of(data, bindings) == Purpose(DataKind.USERAUTH, "", "ada", host_key)
    forged = certificate_of("host", "ca")[:-1] + b"?"
    assert purpose_of(login_data(session_of(7), host=forged), unbound).host_key is None


@pytest.mark.parametrize(
    ("certificate", "authority"),
    [
        (certificate_of("host", "ca"), blob_of("ca")),
        (certificate_of("host", "ca", cert_type=1), b""),
        (certificate_of("host", "ca", valid=(0, 1000)), b""),
        (certificate_of("host", "ca", options=b"\0\0\0\1x\0\0\0\0"), b""),
    ],
)
def test_an_authority_counts_for_hosts_that_it_certifies_now(
    certificate: bytes, authority: bytes
) -> None:
    found = purpose_of(login_data(session_of(7), host=certificate), UNBOUND, 1000.0)
    assert (found.host_key, found.authority) == (blob_of("host"), authority)
