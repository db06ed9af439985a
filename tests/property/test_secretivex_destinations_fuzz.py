"""Paths and constraints drawn at random: what holds for all of them, and that no bytes break them."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from ssh_hosts import bind_body, blob_of, login_data, path, session_of, step

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.context.destinations import refuse_sight, refuse_use
from secretivex.context.signed_data import DataKind, classify
from sshwire.agent.destinations import (
    Destination,
    encode_destinations,
    parse_associated_certificates,
    parse_destinations,
    parse_session_bind,
)
from sshwire.errors import WireError

HOSTS = st.sampled_from("abc")
USERS = st.sampled_from(["", "ada", "a*", "bob"])
STEPS = st.builds(step, st.sampled_from(["", "a", "b", "c"]), HOSTS, USERS)
RULES = st.lists(STEPS, min_size=1, max_size=6).map(tuple)
PATHS = st.lists(HOSTS, min_size=1, max_size=4)
NOW_S = 0.0


def may_see(rules: tuple[Destination, ...], bindings: Bindings) -> bool:
    return refuse_sight(rules, bindings, NOW_S) is None


def may_use(rules: tuple[Destination, ...], bindings: Bindings, user: str = "ada") -> bool:
    last = bindings.hops[-1]
    data = login_data(last.session_id, user=user, host=last.host_key)
    return refuse_use(rules, bindings, blob_of("key"), classify(data).userauth, NOW_S) is None


@given(rules=RULES, hosts=PATHS, then=HOSTS, arrived=st.booleans())
def test_one_hop_more_never_shows_a_key_that_was_hidden(
    rules: tuple[Destination, ...], hosts: list[str], then: str, *, arrived: bool
) -> None:
    if may_see(rules, path(*hosts, then, arrived=arrived)):
        assert may_see(rules, path(*hosts, arrived=False))


@given(rules=RULES, hosts=PATHS, user=st.sampled_from(["ada", "bob", "eve"]))
def test_a_key_that_may_be_used_may_be_seen(
    rules: tuple[Destination, ...], hosts: list[str], user: str
) -> None:
    if may_use(rules, path(*hosts), user):
        assert may_see(rules, path(*hosts))


@given(rules=RULES, more=STEPS, hosts=PATHS, arrived=st.booleans())
def test_one_constraint_more_only_permits_more(
    rules: tuple[Destination, ...], more: Destination, hosts: list[str], *, arrived: bool
) -> None:
    bindings = path(*hosts, arrived=arrived)
    if may_see(rules, bindings):
        assert may_see((*rules, more), bindings)
    if may_use(rules, bindings):
        assert may_use((*rules, more), bindings)


@given(rules=RULES, hosts=PATHS, user=st.sampled_from(["ada", "bob", "eve"]))
def test_a_use_is_permitted_as_the_plain_definition_says(
    rules: tuple[Destination, ...], hosts: list[str], user: str
) -> None:
    """Every hop is one of the steps, and the last one also fits the user."""
    fitting = {"": True, "ada": user == "ada", "a*": user.startswith("a"), "bob": user == "bob"}
    taken = list(zip(["", *hosts], hosts, strict=False))
    names = {blob_of(name): name for name in "abc"}

    def ends(rule: Destination) -> tuple[str, str]:
        source = names[rule.source.keys[0].blob] if rule.source.keys else ""
        return source, names[rule.target.keys[0].blob]

    known = {ends(rule) for rule in rules}
    final = {ends(rule) for rule in rules if fitting[rule.target.user]}
    expected = all(pair in known for pair in taken) and taken[-1] in final
    assert may_use(rules, path(*hosts), user) is expected


@given(
    bodies=st.lists(
        st.one_of(
            st.binary(max_size=80),
            st.builds(
                lambda host, number, forwarding: bind_body(
                    host, session_of(number), forwarding=forwarding
                ),
                HOSTS,
                st.integers(0, 4),
                st.booleans(),
            ),
        ),
        max_size=24,
    )
)
def test_binds_only_ever_add_to_what_is_known(bodies: list[bytes]) -> None:
    bindings = UNBOUND
    for body in bodies:
        after, refusal = bind(bindings, body)
        assert after.is_attempted
        assert after.is_remote or not bindings.is_remote
        assert after.is_remote or not refusal
        assert after.hops[: len(bindings.hops)] == bindings.hops
        assert all(hop.is_forwarding for hop in after.hops[:-1])
        assert len(after.hops) <= 16
        bindings = after


@given(data=st.data(), forwarding=st.booleans())
def test_a_bind_with_any_byte_changed_binds_nothing_new(
    data: st.DataObject, *, forwarding: bool
) -> None:
    good = bind_body("a", session_of(0), forwarding=forwarding)
    body = bytearray(good)
    # The last byte is the flag, which nobody signs.
    body[data.draw(st.integers(0, len(body) - 2))] ^= data.draw(st.integers(1, 255))
    bindings, refusal = bind(UNBOUND, bytes(body))
    assert refusal in ("bind_malformed", "bind_bad_signature")
    assert bindings.hops == ()


@given(body=st.binary(max_size=300))
def test_parsers_raise_wire_errors_only(body: bytes) -> None:
    for parse in (parse_destinations, parse_associated_certificates, parse_session_bind):
        with suppress(WireError):
            parse(body)
    assert classify(body).kind in DataKind


@given(rules=RULES, data=st.data())
def test_mutated_constraints_are_refused_or_read_back_the_same(
    rules: tuple[Destination, ...], data: st.DataObject
) -> None:
    body = bytearray(encode_destinations(rules))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(0, 255))
    with suppress(WireError):
        parsed = parse_destinations(bytes(body))
        assert parse_destinations(encode_destinations(parsed)) == parsed


@given(data=st.data(), host=st.none() | HOSTS)
def test_a_mutated_login_is_never_a_login_of_another_kind(
    data: st.DataObject, host: str | None
) -> None:
    body = bytearray(login_data(session_of(0), host=None if host is None else blob_of(host)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    assert classify(bytes(body)).kind in (DataKind.USERAUTH, DataKind.OTHER)
