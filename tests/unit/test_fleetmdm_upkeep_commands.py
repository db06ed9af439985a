"""Commands around the core: seed, db, policy update, export and import."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.cli.inventory.seed import SAMPLES
from fleetmdm.cli.main import main
from fleetmdm.store.migrations import load_migrations
from fleetmdm.store.sqlite import open_store

Answer = Callable[..., Any]
POLICY = "id: {0}\nname: n\nchecks: [{{key: x, op: eq, value: {1}}}]\n"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Answer:
    """Run a command on the test's own database; answers its JSON document."""

    def run(*words: str | Path, status: int = 0, db: str = "fleet.db") -> Any:
        code = main([*map(str, words), "--db", str(tmp_path / db), "--format", "json"])
        told = capsys.readouterr()
        assert code == status, told
        return json.loads(told.out)

    return run


def test_the_sample_fleet_shows_every_state(answer: Answer) -> None:
    made = answer("seed")["data"]
    assert (made["devices"], made["added"]) == (len(SAMPLES), len(SAMPLES))
    assert answer("seed")["data"]["added"] == 0
    told = answer("check")["data"]
    assert {"pass", "fail", "error", "unknown", "notapplicable"} <= told["run"]["counts"].keys()
    assert told["run"]["counts"]["pass"] > 400
    stale = [line for line in told["policies"] if "stale" in line["effective"]]
    assert stale


def test_a_sample_fleet_does_not_mix_with_a_real_one(answer: Answer, tmp_path: Path) -> None:
    answer("init")
    document = {
        "device_id": "real",
        "hostname": "h",
        "os": "linux",
        "os_version": "1",
        "last_seen": "2026-01-01T00:00:00Z",
    }
    (tmp_path / "d.json").write_text(json.dumps(document))
    answer("ingest", tmp_path / "d.json")
    assert answer("seed", status=6)["error"]["code"] == "fleet_not_empty"


def test_an_old_database_is_migrated_with_a_backup(answer: Answer, tmp_path: Path) -> None:
    steps = load_migrations()
    open_store(tmp_path / "fleet.db", create=True, now=NOW, migrations=steps[:2]).close()
    told = answer("db", "migrate")["data"]
    assert (told["from"], told["to"], len(told["backups"])) == (2, steps[-1].version, 1)
    assert Path(told["backups"][0]).is_file()
    told = answer("db", "migrate")["data"]
    assert (told["from"], told["backups"]) == (steps[-1].version, [])
    assert answer("db", "migrate", db="none.db", status=4)["error"]["code"] == "database_not_found"


def test_the_revisions_of_an_old_database_survive_the_new_table(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    steps = load_migrations()
    with closing(open_store(path, create=True, now=NOW, migrations=steps[:2])) as store:
        store._connection.execute(
            "INSERT INTO revisions (at, kind, detail) VALUES ('2026', 'policies', '{}')"
        )
        before = store._connection.execute("SELECT * FROM revisions").fetchall()
    with closing(open_store(path, now=NOW)) as store:
        assert store._connection.execute("SELECT * FROM revisions").fetchall() == before
        store._connection.execute(
            "INSERT INTO revisions (at, kind, detail) VALUES ('2026', 'waiver', '{}')"
        )
        newest = store._connection.execute("SELECT max(revision) FROM revisions").fetchone()
        assert newest == (len(before) + 1,)
        assert not list(store.find_problems())


def test_the_parts_of_a_database_are_counted(answer: Answer) -> None:
    answer("seed")
    told = answer("db", "stats")["data"]
    assert told["bytes"] > 0
    assert told["rows"]["documents"] == len(SAMPLES)


def test_policies_go_from_one_database_to_another_byte_for_byte(
    answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"p": "---\n" + POLICY.format("p", 1), "q": POLICY.format("q", '"ü"').rstrip()}
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    answer("init")
    answer("policy", "add", *(tmp_path / f"{name}.yaml" for name in files))
    exported = answer("policy", "export")
    sources = {one["id"]: one["source"] for one in exported["data"]["policies"]}
    (tmp_path / "e.json").write_text(json.dumps(exported))
    assert main(["policy", "export", "--db", str(tmp_path / "fleet.db")]) == 0
    (tmp_path / "e.yaml").write_text(capsys.readouterr().out)
    for form in ("json", "yaml"):
        other = f"{form}.db"
        answer("init", db=other)
        made = answer("policy", "import", tmp_path / f"e.{form}", db=other)["data"]
        assert made["added"] == ["p", "q"]
        again = answer("policy", "export", db=other)["data"]["policies"]
        assert [one["id"] for one in again] == ["p", "q"]
        if form == "json":
            assert {one["id"]: one["source"] for one in again} == sources
    only = answer("policy", "export", "q")["data"]["policies"]
    assert [one["id"] for one in only] == ["q"]
    assert answer("policy", "export", "z", status=4)["error"]["code"] == "policy_not_found"


@pytest.mark.parametrize("text", ["{", '{"policies": 1}', '{"policies": [{"id": 1}]}', "[" * 9999])
def test_what_is_no_export_is_not_imported(answer: Answer, tmp_path: Path, text: str) -> None:
    (tmp_path / "e.json").write_text("{" * (text[0] == "[") + text)
    answer("init")
    told = answer("policy", "import", tmp_path / "e.json", status=3)
    assert told["error"]["code"] == "input_unreadable"


def test_update_replaces_and_never_adds(answer: Answer, tmp_path: Path) -> None:
    answer("init")
    (tmp_path / "p.yaml").write_text(POLICY.format("p", 1))
    told = answer("policy", "update", tmp_path / "p.yaml", status=4)
    assert told["error"]["code"] == "policy_not_found"
    answer("policy", "add", tmp_path / "p.yaml")
    assert answer("policy", "update", tmp_path / "p.yaml")["data"]["unchanged"] == ["p"]
    (tmp_path / "p.yaml").write_text(POLICY.format("p", 2))
    assert answer("policy", "update", tmp_path / "p.yaml")["data"]["replaced"] == ["p"]


def test_the_example_of_the_settings_page_is_a_valid_file(answer: Answer, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "fleetmdm-settings.md").read_text()
    (tmp_path / "config.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    told = answer("config", "show", "--config", tmp_path / "config.yaml")["data"]
    assert told["check.stale_after"]["value"] == "14d"
    assert "config.yaml" in told["check.fail_on"]["origin"]
