"""Every list takes --limit, --offset, --sort and --filter alike; hostile checks stay bounded."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.cli.inventory.seed import SAMPLES
from fleetmdm.cli.listing import Listing
from fleetmdm.cli.main import main
from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError
from fleetmdm.policy_yaml import parse_selector, read_policies

Answer = Callable[..., Any]
RUNS = 3


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the sample fleet and some runs."""
    path = tmp_path_factory.mktemp("fleet") / "fleet.db"
    for words in (["seed"], *[["check"]] * RUNS):
        assert main([*words, "--db", str(path)]) == 0
    return path


@pytest.fixture
def answer(fleet: Path, capsys: pytest.CaptureFixture[str]) -> Answer:
    """Run a command on the sample fleet; answers its JSON document."""

    def run(*words: str | Path, status: int = 0) -> Any:
        code = main([*map(str, words), "--db", str(fleet), "--format", "json"])
        told = capsys.readouterr()
        assert code == status, told
        return json.loads(told.out)

    return run


def test_a_list_is_filtered_sorted_and_cut(answer: Answer) -> None:
    def devices(*words: str) -> list[str]:
        return [one["device_id"] for one in answer("device", "list", *words)["data"]["devices"]]

    assert devices("--filter", "os=macos") == ["mac-1", "mac-2"]
    assert devices("--filter", "tags=prod", "--filter", "tags=db") == ["db-1", "db-2"]
    assert devices("--filter", "os_version=14.4.1") == ["mac-1"]
    assert devices("--sort", "-device_id", "--limit", "2") == ["web-3", "web-2"]
    assert devices("--sort", "last_seen", "--limit", "1") == ["lab-3"]
    assert devices("--offset", str(len(SAMPLES) - 1)) == ["web-3"]
    assert len(devices("--limit", "0")) == len(SAMPLES)


def test_runs_and_history_are_listed_by_their_keys(answer: Answer) -> None:
    runs = answer("runs", "--sort", "run_id")["data"]
    assert [run["run_id"] for run in runs] == list(range(1, RUNS + 1))
    assert [run["run_id"] for run in answer("runs", "--filter", "run_id=3")["data"]] == [3]
    assert answer("runs", "--filter", "counts.fail=9999")["data"] == []
    rows = answer("history", "--filter", "status=error")["data"]
    assert {row["status"] for row in rows} == {"error"}


@pytest.mark.parametrize(
    "words",
    [
        ("device", "list"),
        ("policy", "list"),
        ("policy", "assignments"),
        ("waiver", "list"),
        ("attest", "list"),
        ("runs",),
        ("history",),
        ("triage",),
        ("drift",),
        ("ledger", "show"),
    ],
)
def test_each_list_takes_the_same_options(answer: Answer, words: tuple[str, ...]) -> None:
    answer(*words, "--limit", "1", "--offset", "1")
    assert answer(*words, "--filter", "nothing", status=2)["error"]["code"] == "usage"


def test_triage_drift_and_the_ledger_are_lists_too(answer: Answer) -> None:
    ranked = answer("triage")["data"]["policies"]
    some = answer("triage", "--sort", "-devices", "--limit", "2")["data"]
    by_devices = sorted(ranked, key=lambda one: one["devices"], reverse=True)
    assert some["policies"] == by_devices[:2]
    assert some["total"] == len(ranked)
    severity = ranked[0]["severity"]
    chosen = answer("triage", "--filter", f"severity={severity}")["data"]["policies"]
    assert chosen == [one for one in ranked if one["severity"] == severity]
    leaves = answer("ledger", "show", "--limit", "2")["data"]
    assert [one["entry"]["run_id"] for one in leaves] == [RUNS - 1, RUNS]
    assert [one["index"] for one in answer("ledger", "show", "--offset", "1")["data"]] == [0, 1]
    assert answer("ledger", "show", "--filter", "entry.run_id=2")["data"] == leaves[:1]
    assert answer("drift", "--filter", "change=regressed")["data"]["rows"] == []


def test_a_value_that_no_row_has_is_told_with_those_there_are(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["device", "list", "--filter", "os=linus", "--db", str(fleet)]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "no row has os=linus; did you mean linux? there are: " in told
    assert "macos" in told


def test_numbers_go_by_size_and_nothing_goes_first() -> None:
    rows: list[dict[str, Any]] = [{"n": each} for each in (10, "b", 9, None, 2.5, "A")]
    chosen = Listing(sort="n").choose(FleetCall(), rows, lambda row: row)
    assert [row["n"] for row in chosen] == [None, 2.5, 9, 10, "A", "b"]


def test_a_key_that_rows_do_not_have_is_named_with_the_nearest(answer: Answer) -> None:
    error = answer("device", "list", "--sort", "hostnme", status=2)["error"]
    assert error["code"] == "usage"
    assert "did you mean hostname?" in error["hint"]


# Hostile input to what people write: bounded, with a clear error.


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "x" * 10_000_000,
        '{key: x, op: regex, value: "' + "(" * 100_000 + '"}',
        '{key: x, op: regex, value: "(x{1000}){1000}"}',
        '{key: x, op: regex, value: "' + "a?" * 50_000 + '"}',
        "{key: " + "a." * 200_000 + "b, op: exists}",
        "{key: '" + "a[0]" * 100_000 + "', op: exists}",
        "{key: 'a[99999999999999999999]', op: exists}",
        "{key: x, op: eq, value: &a [*a]}",
        "{<<: {key: x}, op: exists}",
        "!!python/object/apply:os.system [id]",
        "{key: x, key: y, op: exists}",
        "{key: x, op: eq, value: no}",
        "{any: " * 100 + "[]" + "}" * 100,
        "{key: x, op: exists}\n---\n{key: y, op: exists}",
        "\x00",
        "{key: 'a\u202eb', op: \ud800}",
    ],
    ids=lambda text: text[:24].encode("unicode_escape").decode(),
)
def test_hostile_selectors_are_refused_in_bounded_time(text: str) -> None:
    started = time.process_time()
    with pytest.raises(FleetError) as caught:
        parse_selector(text.encode("utf-8", "replace").decode(), name="s")
    assert caught.value.code == "policy_invalid"
    assert caught.value.details["problems"][0]["line"] >= 1
    assert time.process_time() - started < 20


def test_a_scalar_of_ten_megabytes_is_refused_before_it_is_read() -> None:
    started = time.process_time()
    file = read_policies(b"id: a\nname: " + b"x" * 10_000_000, name="p")
    assert [problem.code for problem in file.problems] == ["too_large"]
    assert time.process_time() - started < 5
