"""Inventory that other programs wrote becomes device documents, or says why it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.fields import find_field
from fleetmdm.ingest.files import open_inventory
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import InventoryFile, Reading, Refused
from fleetmdm.ingest.sources import Source

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)


def take(
    source: Source,
    *contents: str | bytes,
    columns: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
    kept: Device | None = None,
) -> tuple[list[Device], list[Refused]]:
    """Devices and refusals of files of one form."""
    files = []
    for number, content in enumerate(contents):
        data = content.encode() if isinstance(content, str) else content
        cut = [data[at : at + 7] for at in range(0, len(data), 7)]
        name = names[number] if names else f"f{number}"
        files.append(InventoryFile(name, lambda cut=cut: cut, WRITTEN))  # type: ignore[misc] # the loop's own value
    reading = Reading(NOW, columns=columns, kept=lambda _id: kept)
    items = list(FORMS[source].read(files, reading))
    devices = [item for item in items if isinstance(item, Device)]
    return devices, [item for item in items if isinstance(item, Refused)]


def reasons(refused: list[Refused]) -> list[tuple[str, int, str]]:
    return [(one.file, one.line, one.reason) for one in refused]


# Ansible.

HOST: dict[str, Any] = {
    "ansible_system": "Linux",
    "ansible_distribution": "Ubuntu",
    "ansible_distribution_version": "24.04",
    "ansible_fqdn": "web.example.org",
    "ansible_kernel": "6.8.0-31-generic",
    "ansible_machine": "x86_64",
    "ansible_pkg_mgr": "apt",
    "ansible_product_uuid": "4C4C4544-0042-3510-8052-B4C04F4A3232",
    "ansible_product_serial": "To Be Filled By  O.E.M.",
    "ansible_machine_id": "0123456789abcdef0123456789abcdef",
    "ansible_date_time": {"iso8601": "2026-10-01T08:00:00Z"},
    "ansible_selinux": {"status": "enabled", "config_mode": "enforcing"},
    "ansible_apparmor": {"status": "enabled"},
    "ansible_env": {"TOKEN": "secret"},
}


def test_facts_of_ansible_become_a_device_with_ours_where_they_say_the_same() -> None:
    (device,), refused = take(Source.ANSIBLE, json.dumps(HOST, indent=4))
    assert refused == []
    assert (device.device_id, device.hostname) == (HOST["ansible_product_uuid"], "web.example.org")
    assert (device.os, device.os_version, device.serial) == ("linux", "24.04", None)
    assert device.last_seen == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert device.facts["kernel"] == {"release": "6.8.0-31-generic", "machine": "x86_64"}
    assert device.facts["packages"] == {"manager": "dpkg"}
    assert device.facts["mac"] == {"selinux": "enforcing", "apparmor": True}
    assert device.facts["ansible"]["distribution"] == "Ubuntu"
    assert "env" not in device.facts["ansible"]


@pytest.mark.parametrize("prefix", ["ansible_", ""])
@pytest.mark.parametrize("wrapped", [True, False])
def test_facts_of_ansible_may_be_wrapped_and_may_lack_the_prefix(
    prefix: str, *, wrapped: bool
) -> None:
    facts = {prefix + name.removeprefix("ansible_"): value for name, value in HOST.items()}
    document = {"ansible_facts": facts, "changed": False} if wrapped else facts
    (device,), _ = take(Source.ANSIBLE, json.dumps(document))
    assert device == take(Source.ANSIBLE, json.dumps(HOST))[0][0]


@pytest.mark.parametrize(
    ("change", "identity"),
    [
        ({"ansible_product_uuid": "NA"}, HOST["ansible_machine_id"]),
        ({"ansible_product_uuid": "00000000-0000-0000-0000-000000000000"}, "0123456789abcdef" * 2),
        ({"ansible_product_uuid": None}, HOST["ansible_machine_id"]),
        ({"ansible_product_uuid": "", "ansible_machine_id": "not specified"}, None),
        ({"ansible_product_uuid": 7, "ansible_machine_id": [1]}, None),
    ],
)
def test_the_identity_of_ansible_is_never_a_placeholder(
    change: dict[str, Any], identity: str | None
) -> None:
    devices, refused = take(Source.ANSIBLE, json.dumps({**HOST, **change}))
    assert [device.device_id for device in devices] == ([identity] if identity else [])
    assert [one.reason for one in refused] == ([] if identity else ["no_identity"])


def test_a_host_that_ansible_could_not_read_is_named() -> None:
    dead = json.dumps({"changed": False, "msg": "no route", "unreachable": True})
    failed = json.dumps({"failed": True, "msg": "sudo"})
    contents = (dead, failed, "no json", "[]", '{"a": 1}', '{"ansible_facts": 1}')
    devices, refused = take(Source.ANSIBLE, *contents)
    assert devices == []
    assert [one.reason for one in refused] == [
        "unreachable",
        "failed",
        "malformed",
        "wrong_type",
        "wrong_type",
    ]
    assert "no route" in refused[0].message


def test_the_name_of_a_cache_file_can_be_the_identity() -> None:
    columns = ("device_id=product_uuid", "device_id=inventory_hostname")
    host = {**HOST, "ansible_product_uuid": "NA"}
    (device,), _ = take(
        Source.ANSIBLE, json.dumps(host), columns=columns, names=("cache/db-1.example.org",)
    )
    assert device.device_id == "db-1.example.org"
    with pytest.raises(FleetError, match="only the identity"):
        take(Source.ANSIBLE, json.dumps(host), columns=("hostname=fqdn",))


@pytest.mark.parametrize("name", ["db", "db.json", "x/db.json.gz", "db.zst"])
def test_a_suffix_is_no_part_of_the_name_of_a_host(name: str) -> None:
    columns = ("device_id=inventory_hostname",)
    (device,), _ = take(Source.ANSIBLE, json.dumps(HOST), columns=columns, names=(name,))
    assert device.device_id == "db"


def test_what_comes_through_a_pipe_has_no_name_to_go_by() -> None:
    data = json.dumps(HOST).encode()
    reading = Reading(NOW, columns=("device_id=inventory_hostname",))
    (item,) = FORMS[Source.ANSIBLE].read([InventoryFile("<stdin>", lambda: [data])], reading)
    assert isinstance(item, Refused)
    assert item.reason == "no_identity"


def test_the_real_cache_gives_its_hosts_and_names_the_broken_files(shared_data: Path) -> None:
    folder = shared_data / "ansible-facts"
    with open_inventory([str(folder)], None, suffixes=frozenset()) as files:  # type: ignore[arg-type] # stdin is not named
        columns = ("device_id=inventory_hostname",)
        items = list(FORMS[Source.ANSIBLE].read(files, Reading(NOW, columns=columns)))
        strict = list(FORMS[Source.ANSIBLE].read(files, Reading(NOW)))
    devices = {item.device_id: item for item in items if isinstance(item, Device)}
    assert {name: (one.os, one.os_version) for name, one in devices.items()} == {
        "app.uat.local": ("linux", "6.0.10"),
        "centos.dev.local": ("linux", "6.6"),
        "debian.dev.local": ("linux", "6.0.10"),
        "openbsd.dev.local": ("openbsd", "5.6"),
        "win.dev.local": ("windows", "2012"),
    }
    assert {one.reason for one in items if isinstance(one, Refused)} >= {"unreachable", "malformed"}
    found = [item for item in strict if isinstance(item, Device)]
    assert {one.device_id for one in found} == {"00a3ac55878f7a9340c879050000036c"}
    lost = [one.file for one in strict if isinstance(one, Refused) and one.reason == "no_identity"]
    names = {Path(name).name.partition(".")[0] for name in lost}
    assert names == {"centos", "openbsd", "win"}


# osquery.


def result(name: str, at: int, host: str = "h1", **rest: Any) -> str:
    record = {"name": name, "hostIdentifier": host, "unixTime": str(at), "epoch": "0", **rest}
    return json.dumps(record) + "\n"


def added(name: str, at: int, counter: int, action: str = "added", **columns: str) -> str:
    return result(name, at, counter=str(counter), action=action, columns=columns)


DETAILS = (
    result(
        "pack_x_os_version",
        100,
        action="snapshot",
        snapshot=[
            {
                "name": "Debian GNU/Linux",
                "version": "12 (bookworm)",
                "platform": "debian",
                "codename": "bookworm",
                "arch": "x86_64",
            }
        ],
    )
    + result(
        "system_info",
        101,
        action="snapshot",
        snapshot=[{"hostname": "h1.example.org", "hardware_serial": "S1", "uuid": "U"}],
    )
    + result("kernel_info", 102, action="snapshot", snapshot=[{"version": "6.1.0"}])
    + result(
        "system_controls",
        103,
        action="snapshot",
        snapshot=[
            {"name": "kernel.randomize_va_space", "current_value": "2"},
            {"name": "kernel.unheard.of", "current_value": "2"},
        ],
    )
)


def test_snapshots_of_osquery_become_a_device_with_its_details() -> None:
    (device,), refused = take(Source.OSQUERY, DETAILS)
    assert refused == []
    assert (device.device_id, device.hostname, device.serial) == ("h1", "h1.example.org", "S1")
    assert (device.os, device.os_version) == ("linux", "12")
    assert device.last_seen == datetime.fromtimestamp(103, UTC)
    assert device.facts["kernel"] == {"machine": "x86_64", "release": "6.1.0"}
    assert device.facts["os_release"] == {"id": "debian", "version_codename": "bookworm"}
    assert device.facts["sysctl"] == {"kernel": {"randomize_va_space": 2}}
    assert device.facts["osquery"]["kernel_info"] == [{"version": "6.1.0"}]


def test_differences_are_applied_in_order_of_time_whatever_the_order_of_files() -> None:
    late = added("u", 20, 1, user="b") + added("u", 30, 2, "removed", user="a")
    early = added("u", 10, 0, user="a") + added("u", 10, 0, user="c")
    (device,), refused = take(Source.OSQUERY, late, early)
    assert refused == []
    assert device.facts["osquery"]["u"] == [{"user": "c"}, {"user": "b"}]
    batch = result("u", 40, diffResults={"added": [{"user": "d"}], "removed": [{"user": "c"}]})
    (device,), _ = take(Source.OSQUERY, late, early, batch)
    assert device.facts["osquery"]["u"] == [{"user": "b"}, {"user": "d"}]


def test_a_query_without_its_beginning_is_unread_and_never_empty() -> None:
    (device,), _ = take(Source.OSQUERY, added("u", 10, 4, "removed", user="a"))
    assert device.facts["osquery"] == {}
    assert device.facts["unread"][0]["key"] == "osquery.u"
    assert (device.os, device.hostname) == ("unknown", "h1")


def test_a_rotated_log_goes_on_from_what_was_kept() -> None:
    first = DETAILS + added("u", 110, 0, user="a")
    (kept,), _ = take(Source.OSQUERY, first)
    (device,), _ = take(Source.OSQUERY, added("u", 120, 1, user="b"), kept=kept)
    assert device.facts["osquery"]["u"] == [{"user": "a"}, {"user": "b"}]
    assert (device.os, device.os_version, device.serial) == ("linux", "12", "S1")
    (again,), _ = take(Source.OSQUERY, first, kept=kept)
    assert again == kept


def test_lines_of_many_hosts_may_be_mixed() -> None:
    lines = [result("t", at, f"h{at % 3}", snapshot=[{"at": str(at)}]) for at in range(30)]
    devices, refused = take(Source.OSQUERY, "".join(lines))
    assert refused == []
    assert [(one.device_id, one.facts["osquery"]["t"][0]["at"]) for one in devices] == [
        ("h0", "27"),
        ("h1", "28"),
        ("h2", "29"),
    ]


def test_details_of_enrolment_and_what_the_tls_logger_sends_are_read() -> None:
    details = {"system_info": {"hostname": "n", "hardware_serial": "0"}, "os_version": {}}
    enrolled = json.dumps({"host_identifier": "h2", "host_details": details, "enroll_secret": "x"})
    sent = json.dumps(
        {
            "log_type": "result",
            "data": [json.loads(result("t", 5, "h3", snapshot=[]))],
        }
    )
    status = json.dumps({"log_type": "status", "data": [{"severity": "0"}]})
    devices, refused = take(Source.OSQUERY, enrolled, sent, status)
    assert refused == []
    assert [(one.device_id, one.hostname, one.serial) for one in devices] == [
        ("h2", "n", None),
        ("h3", "h3", None),
    ]
    assert devices[0].last_seen == WRITTEN
    assert "x" not in json.dumps(devices[0].facts)


def test_lines_of_osquery_that_cannot_be_used_are_named() -> None:
    lines = [
        '{"name": "t", "unixTime": "1", "snapshot": []}',
        '{"name": "t", "hostIdentifier": "0000", "unixTime": "1", "snapshot": []}',
        '{"name": "t", "hostIdentifier": "h", "unixTime": "soon", "snapshot": []}',
        '{"name": "t", "hostIdentifier": "h", "unixTime": "99999999999", "snapshot": []}',
        '{"name": "t", "hostIdentifier": "h", "unixTime": "1"}',
        '{"hostIdentifier": "h", "unixTime": "1", "snapshot": []}',
        '{"name": "t", "hostIdentifier": "h", "unixTime": 1, "snapshot": [{"a": 1}]}',
        "{",
    ]
    devices, refused = take(Source.OSQUERY, "\n".join(lines))
    assert [one.reason for one in refused] == [
        "no_identity",
        "no_identity",
        "bad_time",
        "clock_skew",
        "unknown_shape",
        "unknown_shape",
        "malformed",
    ]
    assert [one.line for one in refused] == [1, 2, 3, 4, 5, 6, 8]
    assert [device.device_id for device in devices] == ["h"]


def test_a_stream_of_events_is_not_kept_as_state() -> None:
    lines = [added("events", 10, 0, n=str(number)) for number in range(5001)]
    (device,), _ = take(Source.OSQUERY, "".join(lines))
    assert device.facts["osquery"] == {}
    assert device.facts["unread"] == [{"key": "osquery.events", "reason": "more than 5000 rows"}]


def test_the_real_results_give_one_host_and_one_line_without_identity(shared_data: Path) -> None:
    path = shared_data / "osquery" / "results" / "filebeat-test.log"
    (device,), refused = take(Source.OSQUERY, path.read_bytes())
    assert device.device_id == "192-168-0-4.rdsnet.ro"
    assert device.last_seen == datetime.fromtimestamp(1514472008, UTC)
    assert reasons(refused) == [("f0", 2, "no_identity")]


# Fleet.

FLEET_HOST: dict[str, Any] = {
    "id": 3,
    "uuid": "72a6f06a-d27d-45ec-996d-0ca298f50c61",
    "hostname": "kube-1",
    "platform": "ubuntu",
    "os_version": "Ubuntu 24.04.3 LTS",
    "code_name": "noble",
    "cpu_type": "aarch64",
    "hardware_serial": "SN-7",
    "seen_time": "2026-11-20T17:38:07Z",
    "detail_updated_at": "2026-11-20T16:00:00Z",
    "memory": 25141047296,
    "gigs_disk_space_available": 74.88,
    "disk_encryption_enabled": True,
    "team_name": None,
    "labels": [
        {"name": "All Hosts", "label_type": "builtin"},
        {"name": "Kube", "label_type": "regular"},
    ],
}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"hosts": [FLEET_HOST]}),
        json.dumps({"hosts": [FLEET_HOST], "software": {"a": "]"}, "meta": [1]}, indent=2),
        json.dumps({"meta": None, "hosts": [FLEET_HOST]}),
        json.dumps({"host": FLEET_HOST}, indent=1),
        json.dumps([FLEET_HOST]),
        json.dumps(FLEET_HOST),
        json.dumps({"kind": "host", "apiVersion": "v1", "spec": FLEET_HOST}),
    ],
)
def test_a_host_of_fleet_is_the_same_whichever_answer_it_stands_in(content: str) -> None:
    (device,), refused = take(Source.FLEET, content)
    assert refused == []
    assert device.device_id == FLEET_HOST["uuid"]
    assert (device.hostname, device.os, device.os_version) == ("kube-1", "linux", "24.04.3")
    assert (device.serial, device.tags) == ("SN-7", ("kube",))
    assert device.last_seen == datetime(2026, 11, 20, 17, 38, 7, tzinfo=UTC)
    assert device.facts["disk_encryption"] == {"root": True}
    assert device.facts["kernel"] == {"machine": "aarch64"}
    assert device.facts["os_release"] == {"version_codename": "noble"}
    assert device.facts["fleet"]["memory"] == 25141047296
    assert "uuid" not in device.facts["fleet"]


def test_pages_of_hosts_may_follow_each_other_and_each_bad_host_is_named() -> None:
    other = {**FLEET_HOST, "uuid": "other-uuid"}
    bad = {**FLEET_HOST, "uuid": "Not Settable"}
    pages = [[FLEET_HOST, bad], [other]]
    text = "\n".join(json.dumps({"hosts": page}, indent=1) for page in pages)
    devices, refused = take(Source.FLEET, text)
    assert [device.device_id for device in devices] == [FLEET_HOST["uuid"], "other-uuid"]
    assert [one.reason for one in refused] == ["no_identity"]
    assert refused[0].line > 10


@pytest.mark.parametrize("tail", ["", "}", '], "software": ', "]} x", "] x"])
def test_a_page_that_is_cut_off_gives_nothing(tail: str) -> None:
    text = json.dumps({"hosts": [FLEET_HOST]})[:-2] + tail
    devices, refused = take(Source.FLEET, text)
    assert devices == []
    assert next(one.reason for one in refused) in {"truncated", "trailing"}


REPORT = """\
created_at,id,seen_time,hostname,uuid,platform,os_version,memory,hardware_serial,\
gigs_disk_space_available,disk_encryption_enabled,refetch_requested
2026-01-01T00:00:00Z,1,2026-11-20T17:38:07Z,mac,UUID-1,darwin,macOS 14.5,17179869184,C02,12.5,true,false
2026-01-01T00:00:00Z,2,0001-01-01T00:00:00Z,pc,UUID-2,windows,Windows 11 Pro 10.0.22631,,,,,
2026-01-01T00:00:00Z,3,2026-11-20T17:38:07Z,lost,,ubuntu,Ubuntu 22.04,,,,,
"""


def test_the_report_of_fleet_gives_the_types_of_the_api() -> None:
    devices, refused = take(Source.FLEET, REPORT)
    assert reasons(refused) == [("f0", 4, "no_identity")]
    mac, pc = devices
    assert (mac.os, mac.os_version, mac.serial) == ("darwin", "14.5", "C02")
    assert mac.facts["fleet"]["memory"] == 17179869184
    assert mac.facts["fleet"]["gigs_disk_space_available"] == 12.5
    assert mac.facts["fleet"]["refetch_requested"] is False
    assert mac.facts["disk_encryption"] == {"root": True}
    assert (pc.os, pc.os_version, pc.last_seen) == ("windows", "10.0.22631", WRITTEN)
    assert "memory" not in pc.facts["fleet"]


# CSV.

TABLE = """\
asset;name;system;seen;cores;patched;ports;extra;labels
A-1;web;linux;2026-11-01T00:00:00Z;8;yes;22;{"a": [1]};prod, web
A-2;;;;;;;;
n/a;x;linux;;1;no;;;
A-3;db;linux;2026-11-01T00:00:00Z;many;no;;;
A-4;db
"""

MAP = (
    "device_id=asset",
    "hostname=name",
    "os=system",
    "last_seen=seen",
    "facts.cpu.cores:int=cores",
    "facts.patched:bool=patched",
    "facts.ports:list=ports",
    "facts.extra:json=extra",
    "tags=labels",
)


def test_a_table_becomes_devices_by_its_map() -> None:
    (web, bare), refused = take(Source.CSV, TABLE, columns=MAP)
    assert (web.device_id, web.hostname, web.os, web.os_version) == (
        "A-1",
        "web",
        "linux",
        "unknown",
    )
    assert web.facts == {
        "cpu": {"cores": 8},
        "patched": True,
        "ports": ["22"],
        "extra": {"a": [1]},
    }
    assert web.tags == ("prod", "web")
    assert (bare.hostname, bare.os, bare.last_seen, bare.facts) == ("A-2", "unknown", WRITTEN, {})
    assert reasons(refused) == [
        ("f0", 4, "no_identity"),
        ("f0", 5, "wrong_type"),
        ("f0", 6, "malformed"),
    ]


def test_columns_with_the_names_of_fields_need_no_map() -> None:
    table = '\ufeffdevice_id,facts.a.b,os,other\r\n"d\n1",1,linux,x\r\nd2,"a ""b"", c",linux,\r\n'
    (device,), refused = take(Source.CSV, table)
    assert device.facts == {"a": {"b": 'a "b", c'}}
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (b"", "malformed"),
        (b"device_id,device_id\na,b\n", "malformed"),
        (b'device_id,os\n"a,linux\n', "malformed"),
        (b"device_id,os\na,\xff\n", "not_utf8"),
        (b"device_id,os\na,b\x00\n", "malformed"),
        (b"device_id,last_seen\na,yesterday\n", "bad_time"),
        (b"device_id,facts.a,facts.a.b\na,1,2\n", "wrong_type"),
    ],
)
def test_tables_that_cannot_be_read_say_why(table: bytes, reason: str) -> None:
    devices, refused = take(Source.CSV, table)
    assert devices == []
    assert {one.reason for one in refused} <= {reason, "control_character"}
    assert refused


def test_a_map_that_names_no_column_or_no_field_is_told() -> None:
    _, refused = take(Source.CSV, "device_id,os\na,b\n", columns=("hostname=host",))
    assert [one.reason for one in refused] == ["unknown_column"]
    assert "device_id, os" in refused[0].hint
    for bad in ("hostname", "host=x", "facts.=x", "facts.a:date=x", "os:int=x", "=x", "os="):
        with pytest.raises(FleetError) as caught:
            take(Source.CSV, "device_id\na\n", columns=(bad,))
        assert caught.value.code == "usage"


@pytest.mark.parametrize("source", [Source.DOCUMENT, Source.FLEET, Source.OSQUERY])
def test_a_map_where_it_means_nothing_is_refused(source: Source) -> None:
    with pytest.raises(FleetError, match="--map"):
        take(source, "{}", columns=("device_id=x",))


def test_facts_that_are_mapped_are_in_the_catalogue() -> None:
    devices = [
        *take(Source.ANSIBLE, json.dumps(HOST))[0],
        *take(Source.OSQUERY, DETAILS)[0],
        *take(Source.FLEET, json.dumps(FLEET_HOST))[0],
    ]
    own = {"ansible", "osquery", "fleet", "unread"}
    for device in devices:
        facts = {name: value for name, value in device.facts.items() if name not in own}
        assert facts
        for path in leaves(facts):
            assert find_field(path) is not None, path


def leaves(value: Any, path: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [path]
    return [
        leaf
        for name, inner in value.items()
        for leaf in leaves(inner, f"{path}.{name}" if path else name)
    ]
