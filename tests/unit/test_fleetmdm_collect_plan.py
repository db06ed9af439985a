"""The hosts file and the plan made of it: what is read, what is refused, and how it is quoted."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.collect.hosts import HostEntry, parse_hosts
from fleetmdm.collect.plan import Pace, exporter_command, plan_collection
from fleetmdm.errors import FleetError
from fleetmdm.exporters.linux import parse_arguments

FULL = b"""\
---
- name: web-1
- name: web-2
  address: 192.0.2.7
  port: 2222
  user: audit
  root: /srv/hosts/web-2
  tags: [web, edge]
  device_id: "web 2"
"""


def refused(data: bytes) -> list[dict[str, Any]]:
    with pytest.raises(FleetError) as caught:
        parse_hosts(data, name="hosts.yaml")
    assert caught.value.code == "hosts_invalid"
    assert caught.value.hint
    problems: list[dict[str, Any]] = caught.value.details["problems"]
    assert all(problem["file"] == "hosts.yaml" for problem in problems)
    return problems


def test_only_the_name_is_required_and_everything_can_be_said() -> None:
    first, second = parse_hosts(FULL.replace(b'"web 2"', b"web-2"), name="hosts.yaml")
    assert first == HostEntry("web-1", "web-1", 22)
    assert second == HostEntry(
        name="web-2",
        address="192.0.2.7",
        port=2222,
        user="audit",
        root="/srv/hosts/web-2",
        tags=("web", "edge"),
        device_id="web-2",
    )


def test_an_ipv6_address_is_an_address() -> None:
    (host,) = parse_hosts(b'- {name: six, address: "2001:db8::7"}\n', name="hosts.yaml")
    assert host.address == "2001:db8::7"


@pytest.mark.parametrize(
    ("data", "line", "code"),
    [
        (b"", 1, "missing_key"),
        (b"[]\n", 1, "missing_key"),
        (b"hosts: []\n", 1, "wrong_type"),
        (b"- web-1\n", 1, "wrong_type"),
        (b"- {address: a}\n", 1, "missing_key"),
        (b"- name: a\n  adress: b\n", 2, "unknown_key"),
        (b"- name: a\n  name: b\n", 2, "duplicate_key"),
        (b"- name: a\n- name: a\n", 2, "duplicate_id"),
        (b"- name: a\n  port: 0\n", 2, "invalid_value"),
        (b"- name: a\n  port: 65536\n", 2, "invalid_value"),
        (b'- name: a\n  port: "22"\n', 2, "wrong_type"),
        (b"- name: a\n  port: true\n", 2, "wrong_type"),
        (b"- name: a\n  address: -oProxyCommand=x\n", 2, "invalid_value"),
        (b"- name: a\n  user: 'x y'\n", 2, "invalid_value"),
        (b'- name: a\n  user: "x\\ny"\n', 2, "invalid_value"),
        (b"- name: a\n  root: srv\n", 2, "invalid_value"),
        (b"- name: a\n  tags: ['x,y']\n", 2, "invalid_value"),
        (b"- name: a\n  tags: {x: y}\n", 2, "wrong_type"),
        (b"- name: ''\n", 1, "invalid_value"),
        (b"- name: no\n", 1, "ambiguous_scalar"),
        (b"- name: a\n- &x {name: b}\n", 2, "alias"),
        (b"- name: a\n  x: [\n", 3, "yaml_syntax"),
        (b"---\n- name: a\n---\n- name: b\n", 1, "missing_key"),
        (b"- name: \xff\n", 1, "yaml_syntax"),
        (b"#" * ((1 << 20) + 1), 1, "too_large"),
        (FULL, 9, "invalid_value"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(data: bytes, line: int, code: str) -> None:
    assert (line, code) in {(problem["line"], problem["code"]) for problem in refused(data)}


def test_every_problem_is_said_at_once() -> None:
    assert len(refused(b"- name: a\n  port: 0\n  root: x\n- {adress: b}\n")) == 4


def test_the_plan_fills_in_who_logs_in_and_contacts_nobody() -> None:
    hosts = (HostEntry("a", "a"), HostEntry("b", "192.0.2.1", 23, user="root"))
    first, second = plan_collection(hosts, user="ada")
    assert (first.user, second.user) == ("ada", "root")
    assert (second.address, second.port) == ("192.0.2.1", 23)
    assert first.command == "python3 -I -"


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


@given(root=words, device_id=words, tags=st.lists(words.filter(lambda t: "," not in t), max_size=3))
def test_whatever_a_host_is_called_reaches_the_exporter_as_it_is(
    root: str, device_id: str, tags: list[str]
) -> None:
    host = HostEntry("a", "a", root="/" + root, device_id=device_id, tags=tuple(tags))
    interpreter, *arguments = shlex.split(exporter_command(host))
    assert interpreter == "python3"
    assert arguments[:2] == ["-I", "-"]
    wanted = [f"--root=/{root}", f"--device-id={device_id}"]
    wanted += [f"--tags={','.join(tags)}"] if tags else []
    assert arguments[2:] == wanted


def test_the_exporter_takes_the_arguments_that_the_plan_gives() -> None:
    host = HostEntry("a", "a", root="/", device_id="--pretty", tags=("x", "y"))
    given_arguments = parse_arguments(shlex.split(exporter_command(host))[3:])
    assert given_arguments.device_id == "--pretty"
    assert given_arguments.tags == "x,y"
    assert given_arguments.pretty is False


def test_waits_double_up_to_a_bound_and_jitter_takes_at_most_half() -> None:
    pace = Pace(backoff_s=0.5, max_backoff_s=8.0)
    assert [pace.wait_s(attempt, 0.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert pace.wait_s(3, 1.0) == 1.0
