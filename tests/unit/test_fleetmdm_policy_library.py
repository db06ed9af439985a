"""The policies that ship: each can be decided from our exporter's facts, and can go either way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.device import Device, parse_device
from fleetmdm.evaluate import evaluate
from fleetmdm.exporters.linux import READERS
from fleetmdm.exporters.linux_sshd import SSHD_KEYWORDS
from fleetmdm.exporters.linux_system import SYSCTLS
from fleetmdm.fields import FIELDS, Kind, find_field
from fleetmdm.policy import CompliancePolicy, Group, Leaf, Node, PolicyTest
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.results import Status

Export = Callable[..., dict[str, Any]]

FILES = {
    path.name: path.read_bytes()
    for path in files("fleetmdm.policies").iterdir()
    if path.name.endswith(".yaml")
}
POLICIES = [policy for name, data in FILES.items() for policy in parse_policies(data, name=name)]
IDS = [policy.id for policy in POLICIES]
DOCUMENT_KEYS = frozenset({"tags", "hostname", "os", "os_version", "serial", "device_id"})
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def leaves(node: Node | None) -> Iterator[Leaf]:
    if isinstance(node, Leaf):
        yield node
    elif isinstance(node, Group):
        for member in node.members:
            yield from leaves(member)


def keys(policy: CompliancePolicy) -> set[str]:
    nodes = (policy.check, policy.targets.where, policy.targets.os_version)
    return {leaf.key for node in nodes for leaf in leaves(node)}


def example(test: PolicyTest) -> Device:
    given = dict(test.device)
    return Device(
        device_id=given.get("device_id", "example"),
        hostname=given.get("hostname", "example"),
        os=given.get("os", "linux"),
        os_version=given.get("os_version", "12"),
        serial=None,
        last_seen=NOW,
        facts=given.get("facts", {}),
        tags=tuple(given.get("tags", ())),
    )


def status(policy: CompliancePolicy, device: Device, now: datetime) -> Status:
    return evaluate([device], [policy], now)[0].status


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a document; a list of plain values is a leaf."""
    if isinstance(value, dict):
        for name, member in value.items():
            plain = name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name) else json.dumps(name)
            yield from flatten(member, f"{path}.{plain}" if path else plain)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for index, member in enumerate(value):
            yield from flatten(member, f"{path}[{index}]")
    else:
        yield path, value


def fits(value: Any, kind: Kind) -> bool:
    members = value if isinstance(value, list) else []
    return {
        Kind.BOOL: type(value) is bool,
        Kind.NUMBER: type(value) is int,
        Kind.TEXT: type(value) is str,
        Kind.TIME: type(value) is str and value.endswith("Z"),
        Kind.TEXTS: type(value) is list and all(type(each) is str for each in members),
        Kind.NUMBERS: type(value) is list and all(type(each) is int for each in members),
        Kind.ANY: True,
    }[kind]


@pytest.fixture
def described(hardened_root: Path, weak_root: Path, export: Export) -> dict[str, Device]:
    """What the real exporter says of a well-kept and of a neglected host."""
    now = datetime.now(UTC)
    return {
        "hardened": parse_device(export(hardened_root), now=now),
        "weak": parse_device(export(weak_root), now=now),
    }


def test_the_library_has_its_files_and_no_id_twice() -> None:
    assert {"linux-server.yaml", "ssh-daemon.yaml"} <= FILES.keys()
    assert len(POLICIES) >= 16
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_every_policy_says_why_what_to_do_and_what_it_answers(policy: CompliancePolicy) -> None:
    assert policy.description
    assert policy.rationale
    assert policy.remediation
    assert [each for each in policy.references if each.framework == "NIST 800-53"]
    assert policy.targets.os == ("linux",)


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_every_embedded_test_holds_and_each_outcome_has_one(policy: CompliancePolicy) -> None:
    for test in policy.tests:
        found = status(policy, example(test), test.as_of or NOW)
        assert found is test.expect, test.name
    assert {Status.PASS, Status.FAIL, Status.UNKNOWN} <= {test.expect for test in policy.tests}


@pytest.mark.parametrize("policy", POLICIES, ids=IDS)
def test_every_fact_that_a_policy_asks_for_is_in_the_catalogue(policy: CompliancePolicy) -> None:
    for key in keys(policy) - DOCUMENT_KEYS:
        row = find_field(key.removesuffix("[*]"))
        assert row is not None, key
        assert "linux" in row.platforms


def test_every_policy_passes_on_a_well_kept_host(described: dict[str, Device]) -> None:
    batch = evaluate([described["hardened"]], POLICIES, datetime.now(UTC))
    wrong = {
        verdict.policy_id: (verdict.status, verdict.findings)
        for verdict in batch
        if verdict.status is not Status.PASS
    }
    assert not wrong


def test_every_policy_fails_on_a_neglected_host(described: dict[str, Device]) -> None:
    batch = evaluate([described["weak"]], POLICIES, datetime.now(UTC))
    wrong = {v.policy_id: v.status for v in batch if v.status is not Status.FAIL}
    assert not wrong


def test_every_fact_that_a_policy_asks_for_is_written_by_the_exporter(
    described: dict[str, Device],
) -> None:
    written = {
        re.sub(r"\[[0-9]+\]", "[*]", path)
        for device in described.values()
        for path, _ in flatten(device.facts)
    }
    asked = {key.removesuffix("[*]") for policy in POLICIES for key in keys(policy)}
    assert asked - DOCUMENT_KEYS <= written


def test_every_fact_that_the_exporter_writes_is_in_the_catalogue_with_its_type(
    described: dict[str, Device], exporter: Path
) -> None:
    live = subprocess.run(
        [sys.executable, "-I", exporter, "--device-id=here"], capture_output=True, check=True
    )
    here = parse_device(json.loads(live.stdout), now=datetime.now(UTC))
    for device in (*described.values(), here):
        for path, value in flatten(device.facts):
            row = find_field(path)
            if value == [] and row is None:
                row = find_field(path + "[0].path") or find_field(path + "[0].port")
                assert row or path in ("sshd.match_blocks", "unread"), path
                continue
            assert row is not None, path
            assert fits(value, row.kind), (path, value)


def test_the_catalogue_has_no_row_that_the_exporter_does_not_write() -> None:
    paths = {field.path for field in FIELDS}
    kernel = {f"sysctl.{name}" for name in SYSCTLS} | {"sysctl.source"}
    assert {path for path in paths if path.startswith("sysctl.")} == kernel
    daemon = {f"sshd.settings.{name}" for name in SSHD_KEYWORDS}
    assert {path for path in paths if path.startswith("sshd.settings.")} == daemon
    areas = {key for key, _ in READERS} | {"exporter", "unread"}
    assert {path.split(".")[0].removesuffix("[*]") for path in paths} == areas


def test_the_catalogue_is_sorted_and_has_no_row_twice() -> None:
    paths = [field.path for field in FIELDS]
    assert paths == sorted(set(paths))
    assert all(field.sentence and not field.sentence.endswith(".") for field in FIELDS)


def test_the_catalogue_finds_names_behind_wildcards_and_nothing_else() -> None:
    row = find_field('packages.versions."a.b"')
    assert row is not None
    assert row.path == "packages.versions.*"
    assert find_field("listening.tcp[7].port") is find_field("listening.tcp[*].port")
    assert find_field("packages.versions") is None
    assert find_field("files.shadow.mode.more") is None
    assert find_field("nothing") is None


def test_every_cis_control_that_a_policy_names_exists(shared_data: Path) -> None:
    text = (shared_data / "compliance-as-code/controls/cis_debian12.yml").read_text()
    known = set(re.findall(r"^ +- id: ([0-9.]+)$", text, re.MULTILINE))
    named = {
        reference.control
        for policy in POLICIES
        for reference in policy.references
        if reference.framework == "CIS Debian 12"
    }
    assert named <= known
    assert len(named) > 30
