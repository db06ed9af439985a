"""OpenSSH's agent, ours, and the rules as a function agree on random paths and constraints."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ssh_hosts import bind_body, blob_of, certificate_of, key_of, login_data, session_of

from agentclient.client import AgentClient
from agentclient.errors import AgentRefused
from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.context.destinations import refuse_sight, refuse_use
from secretivex.context.signed_data import classify
from sshwire.agent.constraints import RESTRICT_DESTINATION, ConstraintExtension, Constraints
from sshwire.agent.destinations import (
    ORIGIN,
    SESSION_BIND,
    Destination,
    Hop,
    HopKey,
    SessionBind,
    encode_destinations,
    encode_session_bind,
)
from sshwire.agent.numbers import SignFlag
from sshwire.agent.requests import AddRequest, ExtensionRequest
from sshwire.privkey import encode_private_fields, parse_private_keys
from sshwire.wire import Reader

SCENARIOS = 300
NAMES = ("a", "b", "c")
USERS = ("", "ada", "a*", "?da", "bob", "ada,bob")
HOST_KEYS = {
    "a": (blob_of("a"), certificate_of("a", "ca", "a", "x")),
    "b": (blob_of("b"), certificate_of("b", "ca")),
    "c": (blob_of("c"), certificate_of("c", "other"), certificate_of("c", "ca", valid=(0, 1))),
}


@dataclass(frozen=True)
class Scenario:
    """Constraints of one key, the binds that a connection makes, and what it wants signed."""

    destinations: tuple[Destination, ...]
    binds: tuple[bytes, ...]
    data: bytes


def draw(rng: random.Random) -> Scenario:
    """Mostly honest, so that a good part of the signatures is permitted."""
    hosts = rng.choices(NAMES, k=rng.choice((0, 1, 1, 2, 2, 3, 4)))
    keys = [rng.choice(HOST_KEYS[host][: rng.choice((1, 1, 3))]) for host in hosts]
    is_login = rng.random() < 0.9
    binds = []
    for number, (host, key) in enumerate(zip(hosts, keys, strict=True)):
        forwarding = number < len(hosts) - 1 or not is_login
        session_id = session_of(number if rng.random() < 0.98 else 0)
        if rng.random() < 0.03:
            forwarding = not forwarding
        binds.append(bind_body(host, session_id, forwarding=forwarding, host_key=key))
    return Scenario(
        _draw_rules(rng, hosts), tuple(binds), _draw_data(rng, len(hosts), keys[-1:] or [b""])
    )


def _draw_rules(rng: random.Random, hosts: list[str]) -> tuple[Destination, ...]:
    """Steps along the path, some of them left out, some others added."""
    pairs = list(zip(["", *hosts], hosts, strict=False))
    steps = [pair for pair in pairs if rng.random() < 0.95]
    steps += [(rng.choice(("", *NAMES)), rng.choice(NAMES)) for _ in range(rng.randint(0, 3))]
    rng.shuffle(steps)
    return tuple(
        Destination(
            _draw_hop(rng, source, "") if source else ORIGIN,
            _draw_hop(rng, target, rng.choice(USERS) if rng.random() < 0.25 else ""),
        )
        for source, target in steps or [("", "a")]
    )


def _draw_hop(rng: random.Random, host: str, user: str) -> Hop:
    """A host by its key, its authority, or both; behind an authority its name may be a pattern.

    Patterns in principals are left out, for OpenSSH's agent reads them since 10.3 only.
    """
    key, authority = HopKey(blob_of(host), is_ca=False), HopKey(blob_of("ca"), is_ca=True)
    name = host if rng.random() < 0.8 else rng.choice("?*")
    return Hop(user, name, rng.choice(((key, authority), (authority, key), (key,), (authority,))))


def _draw_data(rng: random.Random, hops: int, host_keys: list[bytes]) -> bytes:
    session_id = session_of(hops - 1 if hops and rng.random() < 0.9 else 9)
    honest = host_keys[-1] or None
    host = honest if rng.random() < 0.85 else rng.choice((None, blob_of("b")))
    user = rng.choice(("ada", "ada", "bob"))
    key = "key" if rng.random() < 0.95 else "x"
    data = login_data(session_id, key, user, host)
    return data if rng.random() < 0.95 else data[:-1]


def predict(scenario: Scenario, now_s: float) -> tuple[list[bool], bool, bool]:
    """Which binds are accepted, whether the key is listed, whether the data are signed."""
    bindings: Bindings = UNBOUND
    accepted = []
    for body in scenario.binds:
        bindings, refusal = bind(bindings, body)
        accepted.append(not refusal)
    login = classify(scenario.data).userauth
    seen = refuse_sight(scenario.destinations, bindings, now_s)
    used = refuse_use(scenario.destinations, bindings, blob_of("key"), login, now_s)
    return accepted, seen is None, used is None


def observe(address: str, scenario: Scenario) -> tuple[list[bool], bool, bool]:
    """The same, of an agent."""
    private = encode_private_fields(key_of("key"))
    reader = Reader(private)
    constraint = ConstraintExtension(
        RESTRICT_DESTINATION, encode_destinations(scenario.destinations)
    )
    with AgentClient(address, timeout_s=60) as client:
        client.perform(
            AddRequest(reader.text(), reader.rest(), "key", Constraints(extensions=(constraint,)))
        )
    with AgentClient(address, timeout_s=60) as client:

        def succeeds(ask: Callable[[], object]) -> bool:
            try:
                ask()
            except AgentRefused:
                return False
            return True

        accepted = [
            succeeds(lambda body=body: client.perform(ExtensionRequest(SESSION_BIND, body)))  # type: ignore[misc] # mypy cannot infer a lambda with a default
            for body in scenario.binds
        ]
        seen = blob_of("key") in [identity.blob for identity in client.identities()]
        return accepted, seen, succeeds(lambda: client.sign(blob_of("key"), scenario.data))


@pytest.mark.parametrize("kind", ["ssh-agent", "secretive-agent"])
def test_hosts_of_every_kind_of_key_are_bound(
    kind: str, start_agent: Callable[[str], Any], key_files: dict[str, Path]
) -> None:
    address = start_agent(kind).address
    for path in key_files.values():
        (key,) = parse_private_keys(path.read_bytes())
        for flags in (SignFlag.RSA_SHA2_256, SignFlag.RSA_SHA2_512):
            session_id = session_of(flags)
            request = SessionBind(
                key.public.blob, session_id, key.sign(session_id, flags), is_forwarding=False
            )
            with AgentClient(address, timeout_s=60) as client:
                client.perform(ExtensionRequest(SESSION_BIND, encode_session_bind(request)))


@pytest.mark.parametrize("kind", ["ssh-agent", "secretive-agent"])
def test_an_agent_does_what_the_rules_say(kind: str, start_agent: Callable[[str], Any]) -> None:
    address = start_agent(kind).address
    permitted = 0
    for seed in range(SCENARIOS):
        scenario = draw(random.Random(seed))
        expected = predict(scenario, time.time())
        assert observe(address, scenario) == expected, f"seed {seed}"
        permitted += expected[2]
    assert SCENARIOS // 10 < permitted < SCENARIOS * 9 // 10
