"""Several sources, tags, conflicts and watched folders as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Fleet = Callable[..., "subprocess.CompletedProcess[str]"]

ROOT = Path(__file__).resolve().parents[2]

POLICY = """\
---
id: tagged
name: Tagged devices are patched
targets: {tags: [prod]}
checks:
  - {key: patched, op: eq, value: true}
"""


def document(device_id: str, serial: str | None = None, **facts: Any) -> str:
    return json.dumps(
        {
            "device_id": device_id,
            "hostname": f"{device_id}.example.org",
            "os": "linux",
            "os_version": "12",
            "serial": serial,
            "last_seen": "2026-01-01T00:00:00Z",
            "facts": facts,
        }
    )


@pytest.fixture
def fleet(command_line: CommandLine, tmp_path: Path) -> Fleet:
    """The command line on a database of its own."""

    def run(
        *words: str | Path, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return command_line("fleetmdm", *words, "--db", tmp_path / "f.db", stdin=stdin, env=env)

    assert run("init").returncode == 0
    return run


def data(done: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)["data"]


def error(done: subprocess.CompletedProcess[str], status: int) -> Any:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)["error"]


def shown(fleet: Fleet, device_id: str) -> Any:
    return data(fleet("device", "show", device_id, "--format", "json"))


def test_two_sources_of_one_device_do_not_wipe_each_other(fleet: Fleet) -> None:
    table = (
        "device_id,os,facts.patched,facts.owner,last_seen\na,windows,no,x,2026-02-01T00:00:00Z\n"
    )
    words = (
        "ingest",
        "-",
        "--from",
        "csv",
        "--format",
        "json",
        "--map",
        "facts.patched:bool=facts.patched",
    )
    assert data(fleet(*words, stdin=table))["added"] == 1
    assert shown(fleet, "a")["os"] == "windows"
    assert (
        data(fleet("ingest", "-", "--format", "json", stdin=document("a", patched=True)))["added"]
        == 1
    )
    merged = shown(fleet, "a")
    assert merged["facts"] == {"patched": True, "owner": "x"}
    assert (merged["os"], merged["hostname"]) == ("linux", "a.example.org")
    assert merged["last_seen"] == "2026-02-01T00:00:00Z"
    alone = fleet("device", "show", "a", "--source", "csv", "--format", "json")
    assert data(alone)["facts"] == {"patched": False, "owner": "x"}
    none = fleet("device", "show", "a", "--source", "fleet", "--format", "json")
    assert error(none, 4)["code"] == "device_not_found"
    # A source that is ingested again changes its own snapshot only.
    newer = table.replace(",x,2026-02-01", ",y,2026-02-02")
    assert data(fleet(*words, stdin=newer))["changed"] == 1
    assert shown(fleet, "a")["facts"] == {"patched": True, "owner": "y"}
    assert data(fleet(*words, stdin=newer))["unchanged"] == 1
    assert data(fleet("device", "list", "--format", "json"))["total"] == 1


def test_the_real_samples_go_in_and_what_is_broken_is_named(
    fleet: Fleet, shared_data: Path
) -> None:
    ansible = ("ingest", shared_data / "ansible-facts", "--from", "ansible", "--format", "json")
    done = fleet(*ansible, "--map", "device_id=inventory_hostname")
    assert data(done, 1)["received"] == 5
    assert "dead.dev.local.json:1: unreachable" in done.stderr
    assert "invalid_file.json:1: malformed" in done.stderr
    log = shared_data / "osquery" / "results" / "filebeat-test.log"
    done = fleet("ingest", log, "--from", "osquery", "--format", "json")
    assert data(done, 1)["added"] == 1
    assert "filebeat-test.log:2: no_identity" in done.stderr
    again = data(fleet("ingest", log, "--from", "osquery", "--format", "json"), 1)
    assert (again["unchanged"], again["refused"]) == (1, 1)


def test_tags_of_people_stay_when_documents_change_and_choose_policies(
    fleet: Fleet, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    assert fleet("policy", "add", tmp_path / "p.yaml").returncode == 0
    fleet("ingest", "-", stdin=document("a", patched=False))
    assert fleet("check").returncode == 0
    tagged = data(fleet("device", "tag", "add", "a", " Prod", "web", "--format", "json"))
    assert tagged["tags"] == ["prod", "web"]
    fleet("ingest", "-", stdin=document("a", patched=False, more=1).replace("01-01", "01-02"))
    assert shown(fleet, "a")["tags"] == ["prod", "web"]
    assert fleet("check").returncode == 0
    rows = data(fleet("drift", "--format", "json"))["rows"]
    assert [(row["before"], row["after"]) for row in rows] == [("notapplicable", "fail")]
    removed = data(fleet("device", "tag", "remove", "a", "web", "never", "--format", "json"))
    assert removed["tags"] == ["prod"]
    assert fleet("device", "list", "--tag", "prod").stdout.count("a.example.org") == 1
    # What a run judged stays as it was.
    assert data(fleet("drift", "--format", "json"))["rows"] == rows


def test_tags_that_cannot_be_changed(fleet: Fleet) -> None:
    tagged = json.dumps({**json.loads(document("a")), "tags": ["own"]})
    fleet("ingest", "-", stdin=tagged)
    for words, status, code in (
        (("add", "b", "x"), 4, "device_not_found"),
        (("add", "a", " "), 2, "usage"),
        (("remove", "a", "own"), 6, "tag_not_removable"),
    ):
        found = error(fleet("device", "tag", *words, "--format", "json"), status)
        assert found["code"] == code
    fleet("device", "tag", "add", "a", "own")
    assert data(fleet("device", "tag", "remove", "a", "own", "--format", "json"))["tags"] == ["own"]


def test_devices_that_claim_one_serial_are_reported(fleet: Fleet) -> None:
    placeholder = "To Be Filled By O.E.M."
    documents = [
        document("a", "S-1"),
        document("b", "S-2"),
        document("c", placeholder),
        document("d", placeholder),
    ]
    words = ("ingest", "-", "--format", "json")
    assert data(fleet(*words, stdin="\n".join(documents)))["conflicts"] == []
    found = data(fleet(*words, stdin=document("e", "S-1")))["conflicts"]
    assert found == [{"serial": "S-1", "device_ids": ["a", "e"], "count": 2}]
    assert (
        "serial S-1 is claimed by a, e" in fleet("ingest", "-", stdin=document("e", "S-1")).stdout
    )
    told = error(fleet("doctor", "--integrity-check", "--format", "json"), 1)
    assert told["code"] == "identity_conflicts"
    fleet("device", "retire", "a")
    assert data(fleet("doctor", "--format", "json"))["conflicts"] == []


def test_limits_are_settings(fleet: Fleet, tmp_path: Path) -> None:
    env = {"FLEETMDM_INGEST_MAX_DEPTH": "2"}
    deep = document("a", x={"y": {"z": 1}})
    found = error(fleet("ingest", "-", "--format", "json", stdin=deep, env=env), 3)
    assert found["details"]["documents"][0]["reason"] == "too_deep"
    config = tmp_path / "c.toml"
    config.write_text("[ingest]\nmax_tags = 0\n")
    done = fleet("ingest", "-", "--config", config, "--format", "json", stdin=deep)
    assert "max_tags" in error(done, 3)["message"]


@pytest.fixture
def watcher(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(folder: Path, *words: str) -> subprocess.Popen[str]:
        command = ["ingest", "--watch", str(folder), "--db", str(tmp_path / "f.db"), *words]
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(tmp_path),
            "FLEETMDM_INGEST_WATCH_INTERVAL_S": "0.05",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "fleetmdm", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


def wait_for(fleet: Fleet, total: int) -> None:
    deadline = time.monotonic() + 60
    while data(fleet("device", "list", "--format", "json"))["total"] != total:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watched_folder_is_taken_in_until_the_signal(
    number: signal.Signals,
    fleet: Fleet,
    watcher: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text(document("a"))
    (folder / "bad.json").write_text("{")
    (folder / "note.txt").write_text("no inventory")
    with watcher(folder, "--format", "json") as running:
        wait_for(fleet, 1)
        (folder / ".b.json").write_text(document("b"))
        (folder / ".b.json").rename(folder / "b.json")
        wait_for(fleet, 2)
        (folder / ".a.json").write_text("\n".join([document("a"), document("c")]))
        (folder / ".a.json").rename(folder / "a.json")
        wait_for(fleet, 3)
        running.send_signal(number)
        output, talk = running.communicate(timeout=60)
    assert running.returncode == 0, talk
    totals = json.loads(output)["data"]
    assert (totals["added"], totals["unchanged"]) == (3, 1)
    assert talk.count("bad.json:1: truncated") == 1
    assert "Traceback" not in talk


def test_only_a_folder_can_be_watched(fleet: Fleet, tmp_path: Path) -> None:
    for path in ("-", str(tmp_path / "none")):
        found = error(fleet("ingest", "--watch", path, "--format", "json"), 2)
        assert found["code"] == "usage"


def test_what_is_exported_goes_in_elsewhere_unchanged(
    fleet: Fleet, command_line: CommandLine, tmp_path: Path
) -> None:
    fleet("ingest", "-", stdin="\n".join([document("a", "S", x=[1]), document("b")]))
    fleet("device", "tag", "add", "a", "prod")
    lines = fleet("inventory", "export").stdout
    assert [json.loads(line)["device_id"] for line in lines.splitlines()] == ["a", "b"]
    assert data(fleet("inventory", "export", "--format", "json"))["devices"] == [
        json.loads(line) for line in lines.splitlines()
    ]
    other = ("--db", tmp_path / "other.db")
    assert command_line("fleetmdm", "init", *other).returncode == 0
    words = ("fleetmdm", "ingest", "-", *other, "--format", "json")
    assert data(command_line(*words, stdin=lines))["added"] == 2
    assert command_line("fleetmdm", "inventory", "export", *other).stdout == lines
    only = fleet("inventory", "export", "--tag", "prod", "--format", "json")
    assert [one["device_id"] for one in data(only)["devices"]] == ["a"]
    assert data(fleet("inventory", "export", "--os", "x", "--format", "json"))["devices"] == []


def test_validation_keeps_nothing_and_needs_no_database(
    command_line: CommandLine, tmp_path: Path
) -> None:
    words = ("fleetmdm", "inventory", "validate", "-", "--format", "json")
    assert data(command_line(*words, stdin=document("a")))["valid"] == 1
    done = command_line(*words, stdin=document("a") + "\n{}")
    assert data(done, 1)["refused"] == 1
    assert error(done, 1)["code"] == "inventory_findings"
    table = "Asset,Cores\nA,x\n"
    mapped = ("--from", "csv", "--map", "device_id=Asset", "--map", "facts.cores:int=Cores")
    found = error(command_line(*words, *mapped, stdin=table), 1)
    assert found["details"]["documents"][0]["reason"] == "wrong_type"
    assert not list(tmp_path.rglob("*.db"))


def test_the_schema_is_printed_with_the_limits_in_force(command_line: CommandLine) -> None:
    env = {"FLEETMDM_INGEST_MAX_TAGS": "7"}
    printed = json.loads(command_line("fleetmdm", "schema", "inventory", env=env).stdout)
    assert printed["properties"]["tags"]["maxItems"] == 7
    again = command_line("fleetmdm", "inventory", "schema", "--format", "json", env=env)
    assert data(again) == printed
