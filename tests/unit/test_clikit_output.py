"""Files appear whole or not at all; tables and logs never pass a terminal's control characters."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from pathlib import Path

import pytest

from clikit import logs
from clikit.errors import Failure
from clikit.output import atomic_file, write_atomic
from clikit.progress import Progress, render_progress
from clikit.table import render_table, show_text


def test_a_file_has_its_mode_and_no_sibling_is_left(tmp_path: Path) -> None:
    write_atomic(tmp_path / "out", [b"a", b"b"], mode=0o600)
    assert (tmp_path / "out").read_bytes() == b"ab"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_mode_for_others_holds_against_the_umask_where_it_is_exact(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "own", [b"a"], mode=0o644)
        write_atomic(tmp_path / "all", [b"a"], mode=0o644, is_exact=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("own", "all")]
    assert modes == [0o600, 0o644]


def test_a_failure_inside_the_block_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(target) as file:
            file.write(b"half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["missing-folder/out", "."])
def test_an_impossible_place_is_a_failure_with_a_hint(tmp_path: Path, name: str) -> None:
    with pytest.raises(Failure) as caught:
        write_atomic(tmp_path / name, [b"x"])
    assert caught.value.code == "output_failed"
    assert caught.value.hint


def test_a_full_device_is_told_from_other_trouble() -> None:
    def fill() -> None:
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    with pytest.raises(OSError, match="No space") as caught:
        fill()
    from clikit.output import write_failure

    assert write_failure(Path("f"), caught.value).code == "disk_full"


@pytest.mark.parametrize("hostile", ["\x1b[31mred", "a\nb", "a\rb", "\u202eevil", "\x00", "\x9b1m"])
def test_control_characters_are_spelled_out(hostile: str) -> None:
    shown = show_text(hostile)
    assert shown.isprintable()
    assert shown != hostile


def test_a_table_fits_its_width_and_keeps_wide_characters_aligned() -> None:
    text = render_table(("name", "long"), [("日本", "x" * 80), ("a", "y")], width=40)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 40
    assert "…" in lines[2]
    assert lines[3] == "a     y"


def test_json_logs_are_one_object_a_line_with_the_given_fields_only() -> None:
    stream = io.StringIO()
    logs.configure(level="info", format="json", stream=stream)
    logging.getLogger("app").info("hello\nworld", extra={"fields": {"count": 3}})
    logging.getLogger("app").debug("too fine")
    record = json.loads(stream.getvalue())
    assert (record["message"], record["count"], record["level"]) == ("hello\nworld", 3, "info")


def test_text_logs_stay_on_one_line() -> None:
    stream = io.StringIO()
    logs.configure(level="info", format="text", stream=stream)
    logging.getLogger("app").warning("a\nb", extra={"fields": {"path": "x\x1b[0m"}})
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_progress_is_silent_where_it_is_not_wanted() -> None:
    stream = io.StringIO()
    with Progress("work", 3, stream, enabled=False) as progress:
        progress.advance(3)
    assert stream.getvalue() == ""
    assert render_progress("work", 1, 2).endswith("1/2")
    assert render_progress("work", 7, None) == "work: 7"


def test_prose_at_the_end_gives_way_before_ids_are_cut() -> None:
    rows = [("ssh.no-root-password-login", "2026-11-22T08:07:19Z", "a long story " * 9)]
    line = render_table(("policy", "since", "why"), rows, width=80).splitlines()[2]
    assert "ssh.no-root-password-login  2026-11-22T08:07:19Z  a long story" in line
    assert len(line) == 80
    assert line.endswith("…")
