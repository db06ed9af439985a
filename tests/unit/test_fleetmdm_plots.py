"""--plot: the trend and the drift as pictures, alike every time, whatever ids hold."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hostile import CORPUS
from lxml import etree

from clikit.command.plotting import check_plot
from clikit.errors import Failure
from fleetmdm.cli.main import main
from fleetmdm.drift import Strangers, judge_drift
from fleetmdm.report.plot import drift, trend
from fleetmdm.results import Run, Status, Transition

ROOT = Path(__file__).resolve().parents[2]
BEGAN = datetime(2026, 9, 1, 6, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def a_run(number: int, failed: int) -> Run:
    when = BEGAN + timedelta(days=number)
    counts = {Status.PASS: 5_000 - failed, Status.FAIL: failed, Status.UNKNOWN: 7}
    return Run(number, when, when, when, 100, 51, counts, "0.1.0", "", "", "")


RUNS = [a_run(number, 1_200 - 100 * number) for number in range(1, 6)]


def texts(svg: bytes) -> list[str]:
    return ["".join(each.itertext()) for each in etree.fromstring(svg).iter(f"{SVG}text")]


def drawn(ids: list[str]) -> bytes:
    rows = [Transition(str(n), name, Status.PASS, Status.FAIL) for n, name in enumerate(ids)]
    found = judge_drift(rows, new=Strangers(), vanished=Strangers())
    return drift.render(RUNS[0], RUNS[1], found, suffix=".svg")


def test_a_trend_tells_the_last_figures_and_draws_the_same_bytes_again() -> None:
    picture = trend.render(RUNS, suffix=".svg")
    assert picture == trend.render(RUNS, suffix=".svg")
    said = texts(picture)
    assert {"Compliance trend", "85.9 %", "fail 700", "unknown 7", "score in %"} <= set(said)
    assert "5 runs; the last judged 100 devices under 51 policies" in said
    first = trend.render(RUNS[:1], suffix=".png")
    assert first.startswith(b"\x89PNG")
    assert first == trend.render(RUNS[:1], suffix=".png")


def test_a_drift_has_a_bar_for_the_worst_policies_and_one_for_the_rest() -> None:
    ids = [f"p.{number:02}" for number in range(40) for _ in range(1 + number % 3)]
    said = texts(drawn(ids))
    assert {"Drift from run 1 to run 2", f"regressed {len(ids)}", "p.02", "16 more policies"} <= {
        *said
    }
    assert "no verdict changed" in texts(drawn([]))


def test_names_from_outside_are_only_ever_text() -> None:
    names = [*CORPUS, "$\\frac{1}{2}$", "$", "x" * 10_000]
    for some in (names[:20], names[20:40], names[40:]):
        picture = drawn(some)
        assert not {each.tag for each in etree.fromstring(picture).iter()} & {
            f"{SVG}{name}" for name in ("script", "a", "image", "foreignObject", "h1", "img")
        }
        assert all(len(each) <= 120 and each.isprintable() for each in texts(picture))


def test_a_picture_follows_the_scheme_and_asks_nobody_for_anything() -> None:
    picture = trend.render(RUNS, suffix=".svg").decode()
    assert "@media (prefers-color-scheme: dark)" in picture
    # Names of vocabularies aside, and the document type, which nothing fetches.
    body = picture.partition("</metadata>")[2]
    assert "http" not in body
    assert "url(" not in body.replace("url(#", "")


@pytest.mark.parametrize("name", ["out.gif", "out", "fleet.db", "out.svg.txt"])
def test_another_form_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(Failure, match="must end in"):
        check_plot(Path(name))


@pytest.fixture
def seeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEETMDM_DB", str(tmp_path / "fleet.db"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.yaml").write_text("---\nid: a\nname: A\nchecks: [{key: hostname, op: exists}]\n")
    document = (
        '{"device_id": "d", "hostname": "d", "os": "linux", "os_version": "12",'
        ' "serial": null, "last_seen": "2026-01-01T00:00:00Z", "facts": {}}'
    )
    (tmp_path / "d.json").write_text(document)
    policy, inventory = str(tmp_path / "p.yaml"), str(tmp_path / "d.json")
    for words in (["init"], ["policy", "add", policy], ["ingest", inventory], ["check"]):
        assert main([*words, "--quiet"]) == 0
    return tmp_path


def test_the_commands_draw_and_still_say(seeded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--quiet"]) == 0
    capsys.readouterr()
    for words in (["runs"], ["drift"]):
        path = seeded / f"{words[0]}.svg"
        path.write_bytes(b"an older picture")
        assert main([*words, "--plot", str(path), "--format", "json"]) == 0
        said = capsys.readouterr()
        assert '"ok": true' in said.out
        assert f"drawn: {path}" in said.err
        assert path.read_bytes().startswith(b"<?xml")
    assert [each.name for each in seeded.glob(".*.tmp")] == []


def test_what_cannot_be_drawn_is_said_and_leaves_no_file(
    seeded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(seeded / "x.svg")
    for words, status, code in (
        (["runs", "--plot", path, "--output", path], 2, "usage"),
        (["runs", "--plot", str(seeded / "none" / "x.svg")], 5, "output_failed"),
        (["runs", "--filter", "run_id=9", "--plot", path], 4, "run_not_found"),
        (["drift", "--plot", path], 4, "insufficient_runs"),
    ):
        capsys.readouterr()
        assert main([*words, "--format", "json"]) == status
        assert f'"code": "{code}"' in capsys.readouterr().out
    assert not (seeded / "x.svg").exists()


def test_without_the_library_the_extra_is_named_and_nothing_is_done(seeded: Path) -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from fleetmdm.cli.main import main\n"
        "sys.exit(main(['runs', '--plot', 'x.svg', '--format', 'json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=seeded,
        env={"PYTHONPATH": str(ROOT / "src"), "HOME": str(seeded)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5
    assert '"code": "missing_extra"' in done.stdout
    assert "secretivex-fleetmdm[plot]" in done.stderr
    assert not (seeded / "x.svg").exists()
