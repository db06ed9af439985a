"""How every command ends: one document on stdout, words on stderr, the status of its code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from clikit.command import Call, run, standard_options
from clikit.command.group import LazyGroup
from clikit.errors import COMMON_ROWS, ErrorRow, ErrorTable, Exit, Failure


class AppError(Failure):
    table = ErrorTable((*COMMON_ROWS, ErrorRow("broken", Exit.FOUND, "something is wrong")))


def build() -> click.Group:
    group = click.Group("app")

    @group.command()
    @click.argument("what")
    @click.option("--late", is_flag=True, help="Ctrl-C comes when the result is out.")
    @standard_options(("table", "json", "csv"))
    def show(call: Call, what: str, late: bool) -> None:
        found = AppError("broken", "it is broken", hint="mend it") if what == "broken" else None
        if what == "fail":
            raise AppError("config_invalid", "bad\x1b[31m", details={"n": 1})
        if what == "crash":
            raise ZeroDivisionError(what)
        if what == "foreign":
            raise LookupError(what)
        try:
            if call.format == "csv":
                call.emit_chunks(iter(["a,b\n", "1,2\n"]), found=found, more=what == "more")
            else:
                call.emit({"what": what}, lambda: [f"{what}\n"], found=found)
        finally:
            if late:
                raise KeyboardInterrupt

    return group


def status(*argv: str) -> int:
    def translate(error: Exception) -> Failure | None:
        return AppError("output_failed", "foreign") if isinstance(error, LookupError) else None

    return run(build(), argv, prog="app", failure=AppError, translate=translate)


@pytest.fixture
def document(capsys: pytest.CaptureFixture[str]) -> Callable[[], Any]:
    return lambda: json.loads(capsys.readouterr().out)


def test_success_is_data_in_an_envelope(document: Callable[[], Any]) -> None:
    assert status("show", "x", "--format", "json") == 0
    assert document() == {"schema": 1, "ok": True, "data": {"what": "x"}}


def test_done_and_wrong_has_both_data_and_error(document: Callable[[], Any]) -> None:
    assert status("show", "broken", "--format", "json") == 1
    answer = document()
    assert answer["data"] == {"what": "broken"}
    assert answer["error"]["code"] == "broken"
    assert answer["ok"] is False


@pytest.mark.parametrize(
    ("argv", "expected", "code"),
    [
        (("show", "fail", "--format", "json"), 3, "config_invalid"),
        (("show", "crash", "--format=json"), 70, "internal"),
        (("show", "foreign", "--format", "JSON"), 5, "output_failed"),
        (("show", "--format", "json"), 2, "usage"),
        (("nothing", "--format", "json"), 2, "usage"),
        (("show", "x", "--no-such", "--format", "json"), 2, "usage"),
    ],
)
def test_every_failure_is_one_envelope_and_its_status(
    document: Callable[[], Any], argv: tuple[str, ...], expected: int, code: str
) -> None:
    assert status(*argv) == expected
    answer = document()
    assert answer["error"]["code"] == code
    assert "data" not in answer


@pytest.mark.parametrize(
    ("what", "form", "expected"),
    [
        ("x", "json", 0),
        ("broken", "json", 1),
        ("x", "table", 0),
        ("x", "csv", 0),
        ("broken", "csv", 1),
        ("more", "csv", 130),
    ],
)
def test_ctrl_c_changes_no_result_that_is_out_whole(what: str, form: str, expected: int) -> None:
    assert status("show", what, "--late", "--format", form) == expected


def test_text_mode_keeps_stdout_for_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("show", "fail") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "app: bad\\x1b[31m\n"


def test_output_goes_whole_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.csv"
    assert status("show", "x", "--format", "csv", "--output", str(target)) == 0
    assert target.read_text() == "a,b\n1,2\n"
    assert capsys.readouterr().out == ""


def test_a_lazy_group_suggests_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    group = LazyGroup("app", table={"check": ("nowhere:command", "Evaluate.")})
    assert run(group, ["chek"], prog="app", failure=AppError) == 2
    assert "Did you mean 'check'?" in capsys.readouterr().err


def test_codes_are_unique_by_construction() -> None:
    with pytest.raises(ValueError, match="twice"):
        ErrorTable((COMMON_ROWS[0], COMMON_ROWS[0]))
