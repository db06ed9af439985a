"""Destination constraints: every rule for seeing a key and for signing with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ssh_hosts import (
    bind_body,
    blob_of,
    certificate_of,
    hop,
    login_data,
    path,
    session_of,
    step,
)

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.context.destinations import refuse_sight, refuse_use
from secretivex.context.signed_data import classify
from sshwire.agent.destinations import ORIGIN, Destination, HopKey
from sshwire.wire import encode_string, encode_text

NOW_S = 1000.0
CHAIN = tuple(step(one, two) for one, two in zip(["", *"abcd"], "abcde", strict=True))
CYCLE = (*CHAIN, step("b", "a"), step("a", "a"), step("a", "c"))
FAILED = bind(UNBOUND, b"junk").bindings


def sight(destinations: tuple[Destination, ...], bindings: Bindings) -> str | None:
    return refuse_sight(destinations, bindings, NOW_S)


def use(
    destinations: tuple[Destination, ...], bindings: Bindings, data: bytes | None = None
) -> str | None:
    """The refusal of an honest login at the end of the path, or of other data."""
    if data is None:
        last = bindings.hops[-1]
        data = login_data(last.session_id, host=last.host_key)
    return refuse_use(destinations, bindings, blob_of("key"), classify(data).userauth, NOW_S)


def test_a_key_without_constraints_goes_everywhere() -> None:
    for bindings in (UNBOUND, FAILED, path("a"), path("a", arrived=False)):
        assert sight((), bindings) is None
        assert refuse_use((), bindings, blob_of("key"), None, NOW_S) is None


def test_on_the_agents_machine_a_key_is_seen_and_not_used() -> None:
    assert sight(CHAIN, UNBOUND) is None
    assert use(CHAIN, UNBOUND, login_data(session_of(0))) == "destination_unbound"


def test_a_failed_bind_hides_the_key() -> None:
    assert sight(CHAIN, FAILED) == "destination_bind_failed"
    assert use(CHAIN, FAILED, login_data(session_of(0))) == "destination_unbound"


@pytest.mark.parametrize(
    ("hosts", "permitted"),
    [
        ("a", True),
        ("ab", True),
        ("abcde", True),
        ("b", False),
        ("ac", False),
        ("aa", False),
        ("abcdee", False),
        ("abaacde", False),
        ("ax", False),
        ("xa", False),
    ],
)
def test_every_hop_must_be_permitted(hosts: str, *, permitted: bool) -> None:
    bindings = path(*hosts)
    expected = None if permitted else "destination_not_permitted"
    assert sight(CHAIN, bindings) == expected
    assert use(CHAIN, bindings) == expected


@pytest.mark.parametrize("hosts", ["abaacde", "aaaaac", "ababab", "ac"])
def test_a_cycle_is_a_path_like_any_other(hosts: str) -> None:
    assert use(CYCLE, path(*hosts)) is None


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("a", None),
        ("abcd", None),
        ("abcde", "destination_ends_here"),
        ("x", "destination_not_permitted"),
    ],
)
def test_at_a_forwarding_host_a_key_is_seen_only_if_it_goes_on(
    hosts: str, expected: str | None
) -> None:
    bindings = path(*hosts, arrived=False)
    assert sight(CHAIN, bindings) == expected
    assert use(CHAIN, bindings) == "destination_forwarding_bind"


def test_where_the_next_step_is_for_one_user_the_key_is_still_seen() -> None:
    assert sight((step("", "a"), step("a", "b", "root")), path("a", arrived=False)) is None


def test_a_login_bind_is_the_end_of_a_path() -> None:
    bindings = path("a", "b")
    through = replace(bindings, hops=tuple(replace(h, is_forwarding=False) for h in bindings.hops))
    assert sight(CHAIN, through) == "destination_forwarded_a_login"
    assert use(CHAIN, through) == "destination_forwarded_a_login"


@pytest.mark.parametrize(
    ("pattern", "user", "permitted"),
    [
        ("", "anyone", True),
        ("ada", "ada", True),
        ("ada", "adam", False),
        ("ada", "", False),
        ("*", "", True),
        ("a?a", "ada", True),
        ("a?a", "aa", False),
        ("ada,bob", "ada", False),
        ("ada,bob", "ada,bob", True),
        ("!root,*", "ada", False),
        ("\u00e9", "\u00e9", True),
        ("?", "\u00e9", False),
        ("??", "\u00e9", True),
        ("\udcff*", "\udcffx", True),
    ],
)
def test_the_user_at_the_last_hop_must_fit_the_pattern(
    pattern: str, user: str, *, permitted: bool
) -> None:
    bindings = path("a", "b")
    data = login_data(session_of(1), user=user, host=blob_of("b"))
    rules = (step("", "a", "nobody"), step("a", "b", pattern))
    assert use(rules, bindings, data) == (None if permitted else "destination_not_permitted")


def test_the_user_must_fit_the_very_step_that_is_taken() -> None:
    rules = (step("", "a", "root"), step("", "b", "ada"))
    assert use(rules, path("a")) == "destination_not_permitted"
    assert use((*rules, step("", "a", "a*")), path("a")) is None


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"challenge", "destination_not_a_login"),
        (b"h" * 32, "destination_not_a_login"),
        (
            b"SSHSIG" + encode_text("git") + encode_string(b"") * 3,
            "destination_not_a_login",
        ),
        (login_data(session_of(0), key="other"), "destination_not_a_login"),
        (login_data(session_of(0), service="other"), "destination_not_a_login"),
        (login_data(session_of(0), algorithm="ssh-rsa"), "destination_not_a_login"),
        (login_data(session_of(1)), "destination_other_session"),
        (login_data(session_of(0), host=blob_of("b")), "destination_other_host_key"),
        (login_data(session_of(0), host=blob_of("a")), None),
        (login_data(session_of(0)), None),
    ],
)
def test_only_a_login_to_the_bound_host_is_signed(data: bytes, expected: str | None) -> None:
    assert use(CHAIN, path("a"), data) == expected


def test_behind_a_forwarding_host_the_login_must_name_its_server() -> None:
    assert use(CHAIN, path("a", "b"), login_data(session_of(1))) == "destination_host_not_named"


@pytest.mark.parametrize(
    ("key", "algorithm", "permitted"),
    [
        ("ssh-rsa", "rsa-sha2-512", True),
        ("ssh-rsa", "ssh-rsa", True),
        ("ssh-rsa-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com", True),
        ("ssh-rsa-cert-v01@openssh.com", "ssh-rsa-cert-v01@openssh.com", True),
        ("ssh-rsa-cert-v01@openssh.com", "rsa-sha2-256", False),
        ("ssh-rsa", "rsa-sha2-256-cert-v01@openssh.com", False),
        ("unknown", "unknown", False),
    ],
)
def test_the_login_names_an_algorithm_of_its_key(
    key: str, algorithm: str, *, permitted: bool
) -> None:
    blob = encode_text(key) + b"fields"
    login = classify(login_data(session_of(0), algorithm=algorithm)).userauth
    assert login is not None
    refusal = refuse_use(CHAIN, path("a"), blob, login._replace(key_blob=blob), NOW_S)
    assert refusal == (None if permitted else "destination_not_a_login")


def certified(
    host_key: bytes, *, authority: str = "ca", is_ca: bool = True, host: str = "a"
) -> str | None:
    """The refusal of a login at a host that shows a certificate."""
    bindings, refusal = bind(UNBOUND, bind_body("a", session_of(0), host_key=host_key))
    assert refusal == ""
    rules = (Destination(ORIGIN, hop(host, "", HopKey(blob_of(authority), is_ca=is_ca))),)
    seen = sight(rules, bindings)
    assert seen == use(rules, bindings)
    return seen


def test_a_certified_host_is_known_by_its_authority_and_name() -> None:
    assert certified(certificate_of("a", "ca")) is None
    assert certified(certificate_of("a", "ca", "other", "a*")) is None
    assert certified(certificate_of("a", "ca", "web-1"), host="web-?") is None
    assert certified(certificate_of("a", "ca", valid=(1000, 1001))) is None


@pytest.mark.parametrize(
    "host_key",
    [
        certificate_of("a", "ca", "b"),
        certificate_of("a", "other"),
        certificate_of("a", "ca", cert_type=1),
        certificate_of("a", "ca", valid=(1001, 2000)),
        certificate_of("a", "ca", valid=(0, 1000)),
        certificate_of("a", "ca", options=encode_text("new") + encode_string(b"")),
    ],
)
def test_a_certificate_that_does_not_cover_the_host_is_refused(host_key: bytes) -> None:
    assert certified(host_key) == "destination_not_permitted"


def test_keys_and_authorities_do_not_stand_in_for_each_other() -> None:
    assert certified(certificate_of("a", "ca"), is_ca=False) == "destination_not_permitted"
    assert certified(certificate_of("a", "ca"), authority="a", is_ca=False) is not None
    assert certified(blob_of("a"), authority="a") == "destination_not_permitted"


def test_a_certified_host_may_lie_on_the_way() -> None:
    blob = certificate_of("a", "ca", "gate-*")
    authority = HopKey(blob_of("ca"), is_ca=True)
    for name, expected in (("gate-1", None), ("door-1", "destination_not_permitted")):
        rules = (
            Destination(ORIGIN, hop("gate-1", "", authority)),
            Destination(hop(name, "", authority), hop("b")),
        )
        bindings, _ = bind(UNBOUND, bind_body("a", session_of(0), forwarding=True, host_key=blob))
        bindings, _ = bind(bindings, bind_body("b", session_of(1)))
        assert use(rules, bindings) == expected
