"""Every form on any bytes and any values: devices or refusals, never a crash; and osquery's order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import InventoryFile, Reading, Refused
from fleetmdm.ingest.sources import Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

NAMES = [
    "ansible_facts",
    "system",
    "distribution",
    "distribution_version",
    "fqdn",
    "kernel",
    "machine",
    "product_uuid",
    "machine_id",
    "date_time",
    "iso8601",
    "selinux",
    "status",
    "config_mode",
    "unreachable",
    "msg",
    "hosts",
    "host",
    "spec",
    "kind",
    "uuid",
    "hostname",
    "platform",
    "os_version",
    "labels",
    "name",
    "label_type",
    "seen_time",
    "disk_encryption_enabled",
    "hostIdentifier",
    "unixTime",
    "snapshot",
    "columns",
    "action",
    "diffResults",
    "added",
    "removed",
    "counter",
    "epoch",
    "host_details",
    "log_type",
    "data",
    "os_version",
    "system_info",
    "hardware_serial",
    "current_value",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**19)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["Linux", "1", "0", "added", "removed", "NA", "h", "2026-01-01T00:00:00Z"])
    | st.text(max_size=6)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=20,
)
foreign = st.sampled_from(list(FORMS))


def read(source: Source, data: bytes, size: int = 64) -> list[Device | Refused]:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return list(FORMS[source].read([InventoryFile("f", lambda: chunks)], Reading(NOW)))


@given(foreign, st.lists(values, max_size=4), st.booleans())
def test_any_values_give_devices_or_refusals(
    source: Source, documents: list[Any], lines: bool
) -> None:
    text = "\n".join(map(json.dumps, documents)) if lines else json.dumps(documents)
    for item in read(source, text.encode("utf-8", "surrogatepass")):
        assert isinstance(item, Device | Refused)


@given(foreign, st.binary(max_size=120) | st.text('device_id,;"\n\ta1[]{}:', max_size=80))
def test_any_bytes_give_devices_or_refusals(source: Source, junk: bytes | str) -> None:
    data = junk if isinstance(junk, bytes) else junk.encode()
    whole = read(source, data, 10_000)
    assert read(source, data, 3) == whole


@st.composite
def histories(draw: st.DrawFn) -> list[set[str]]:
    """What one query finds, execution by execution."""
    return draw(st.lists(st.sets(st.sampled_from("abcd")), min_size=1, max_size=6))


def log_of(states: list[set[str]]) -> list[str]:
    """The lines that osquery logs: the first result whole, then what changed."""
    lines = []
    before: set[str] = set()
    for counter, state in enumerate(states):
        for action, rows in (("removed", before - state), ("added", state - before)):
            for row in sorted(rows):
                record = {
                    "name": "q",
                    "hostIdentifier": "h",
                    "unixTime": 1000 + counter,
                    "epoch": 0,
                    "counter": counter,
                    "action": action,
                    "columns": {"row": row},
                }
                lines.append(json.dumps(record))
        before = state
    return lines


@given(histories(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_differences_give_the_last_state_however_they_are_cut(
    states: list[set[str]], random: Any, cut: int
) -> None:
    states = [{"a"}, *states]
    lines = log_of(states)
    mixed = list(lines)
    random.shuffle(mixed)
    assert rows(read(Source.OSQUERY, "\n".join(mixed).encode())) == states[-1]
    # In two ingests, the second going on from what the first kept; and the whole once more.
    kept: Device | None = None
    for part in (lines[: 1 + cut], lines[1 + cut :], lines):
        if part:
            data = "\n".join(part).encode()
            file = InventoryFile("f", lambda data=data: [data])  # type: ignore[misc] # the loop's own value
            reading = Reading(NOW, kept=lambda _id, kept=kept: kept)  # type: ignore[misc] # same
            (item,) = FORMS[Source.OSQUERY].read([file], reading)
            assert isinstance(item, Device)
            kept = item
    assert rows([kept]) == states[-1]


def rows(items: list[Any]) -> set[str]:
    (device,) = items
    return {row["row"] for row in device.facts["osquery"]["q"]}
