"""Every command of fleetmdm, found by walking the tree: help, failures, and rough surroundings.

Each runs in a fork of this process, which costs no start-up and lets descriptors, session and
signals be its own. What is asserted holds for every command, also for those yet to come.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import click
import pytest
from forked import (
    SURROUNDINGS,
    Ended,
    assert_envelope,
    assert_interrupted_soundly,
    assert_sound,
    interrupt_after,
    leaves,
    nothing,
    run_forked,
)
from locales import LOCALES, STRICT, run_in_locale

from clikit.errors import Exit
from fleetmdm.cli.main import build, main
from fleetmdm.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
STANDARD = {"--db", "--config", "--format", "--output", "--quiet", "--debug"}

POLICY = """---
id: disk
name: The disk is encrypted
checks: [{key: disk, op: eq, value: true}]
"""
DEVICE = (
    '{"device_id": "a", "hostname": "a", "os": "linux", "os_version": "12",'
    ' "serial": null, "last_seen": "2026-01-01T00:00:00Z", "facts": {"disk": false}}'
)

SAID: Mapping[str, str] = {
    "device_id": "a",
    "policy_id": "disk",
    "shell": "bash",
    "platform": "linux",
    "answer": "pass",
}
"""What required words are, by name; the others name something that is not there."""


COMMANDS = dict(leaves(build()))
SERVERS = {("dashboard",)}
"""Commands that stay until they are stopped."""
each_command = pytest.mark.parametrize(
    "path", [path for path in COMMANDS if path not in SERVERS], ids=" ".join
)


def required(path: tuple[str, ...]) -> list[str]:
    """Words for whatever the command cannot do without."""
    words = []
    for param in COMMANDS[path].params:
        if param.required:
            value = SAID.get(param.name or "", "missing")
            words += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
    return words


def fork(
    argv: Sequence[str], folder: Path, prepare: Callable[[], None], env: Mapping[str, str]
) -> Ended:
    return run_forked(main, argv, folder, prepare, env)


def _make_fleet(folder: Path) -> Path:
    """A home with a fleet of one device and one policy, checked twice."""
    (folder / "d.json").write_text(DEVICE)
    (folder / "p.yaml").write_text(POLICY)
    for words in (
        ["init"],
        ["ingest", str(folder / "d.json")],
        ["policy", "add", str(folder / "p.yaml")],
        ["check"],
        ["check", "--full"],
    ):
        ended = fork([*words, "--quiet"], folder, nothing, {})
        assert ended.status == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that every command may change."""
    return _make_fleet(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that stays as it is."""
    return _make_fleet(tmp_path_factory.mktemp("calm"))


def envelope(ended: Ended) -> None:
    assert_envelope(ended, CODES)


@each_command
def test_help_is_short_and_complete(path: tuple[str, ...], place: Path) -> None:
    ended = fork([*path, "--help"], place, nothing, {})
    assert ended.status == 0
    short = COMMANDS[path].get_short_help_str(200)
    assert 10 < len(short) < 120
    assert "Examples:" in ended.stdout
    for option in STANDARD:
        assert option in ended.stdout
    assert "json" in ended.stdout


@each_command
def test_failures_in_json_mode_have_an_envelope_with_a_documented_code(
    path: tuple[str, ...], place: Path
) -> None:
    json_mode = ["--format", "json"]
    for words, expected in (
        ([*path, *json_mode, "--no-such-option"], {"usage"}),
        ([*path, *required(path), *json_mode, "--config", "none.yaml"], None),
        ([*path, *required(path), *json_mode, "--db", "p.yaml"], None),
        ([*path, *required(path), *json_mode], None),
        ([*path, *required(path), *json_mode, "--output", "/none/x"], None),
    ):
        ended = fork(words, place, nothing, {})
        assert_sound(ended)
        if "--output" in words and ended.status == 0:
            continue
        if ended.stdout:
            envelope(ended)
        else:
            assert "--output" in words, ended
        if expected:
            assert json.loads(ended.stdout)["error"]["code"] in expected


@each_command
def test_a_command_ends_in_order(path: tuple[str, ...], place: Path) -> None:
    """Two of the surroundings for each command, in turn; `make test-long` tries all."""
    first = 2 * list(COMMANDS).index(path)
    names = list(SURROUNDINGS)
    for number in (first, first + 1):
        ends_in_order(path, names[number % len(names)], place)


@pytest.mark.long
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@each_command
def test_a_command_ends_in_order_everywhere(
    path: tuple[str, ...], surroundings: str, place: Path
) -> None:
    ends_in_order(path, surroundings, place)


def ends_in_order(path: tuple[str, ...], surroundings: str, place: Path) -> None:
    prepare, env = SURROUNDINGS[surroundings]
    form = [] if surroundings == "no reader" else ["--format", "json"]
    ended = fork([*path, *required(path), *form], place, prepare, env)
    assert_sound(ended)
    if ended.stdout and form:
        envelope(ended)


def test_what_cannot_be_printed_is_said(calm: Path) -> None:
    assert fork(["errors"], calm, *SURROUNDINGS["closed stdout"]).status == Exit.UNAVAILABLE
    assert "stdout is closed" in fork(["errors"], calm, *SURROUNDINGS["closed stdout"]).stderr
    assert fork(["errors"], calm, *SURROUNDINGS["no reader"]).status == 141
    full = fork(["errors"], calm, *SURROUNDINGS["a full device"])
    assert full.status == Exit.UNAVAILABLE
    assert "No space left" in full.stderr


@each_command
def test_ctrl_c_ends_a_command_at_any_moment(path: tuple[str, ...], place: Path) -> None:
    delay_s = 0.002 * (1 + list(COMMANDS).index(path) % 8)
    words = [*path, *required(path), "--format", "json"]
    assert_interrupted_soundly(fork(words, place, interrupt_after(delay_s), {}))


def until_read(pipe: IO[str]) -> None:
    """Wait until the other end has taken all that was written."""
    deadline = time.monotonic() + 60
    while any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_while_waiting_for_input_is_said_and_keepsnothing(calm: Path) -> None:
    argv = [sys.executable, "-m", "fleetmdm", "ingest", "-", "--format", "json"]
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"HOME": str(calm), "PYTHONPATH": str(ROOT / "src"), "PATH": os.defpath},
    ) as process:
        assert process.stdin is not None
        process.stdin.write(DEVICE.replace('"a"', '"late"') + "\n")
        process.stdin.flush()
        until_read(process.stdin)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err
    gone = fork(["device", "show", "late", "--format", "json"], calm, nothing, {})
    assert json.loads(gone.stdout)["error"]["code"] == "device_not_found"


@pytest.mark.parametrize("locale", LOCALES)
def test_the_locale_does_not_matter(calm: Path, locale: str) -> None:
    argv = ["device", "show", "Gerät\u202e", "--format", "json"]
    for more, code in (({}, "device_not_found"), (STRICT, "usage")):
        ended = run_in_locale("fleetmdm", argv, calm, locale, more)
        assert_sound(ended)
        envelope(ended)
        assert json.loads(ended.stdout)["error"]["code"] in {code, "device_not_found"}


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES)
@each_command
def test_the_locale_does_not_matter_to_any_command(
    path: tuple[str, ...], place: Path, locale: str
) -> None:
    assert_sound(run_in_locale("fleetmdm", [*path, *required(path)], place, locale))


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["devise", "list"], "device"),
        (["device", "lsit"], "list"),
        (["report", "--only-failng"], "--only-failing"),
        (["device", "show", "aa"], ""),
        (["report", "--policy", "disc"], "disk"),
        (["policy", "show", "dsk"], "disk"),
        (["evidence", "verfy"], "verify"),
    ],
)
def test_what_was_probably_meant_is_said(argv: list[str], meant: str, calm: Path) -> None:
    ended = fork(argv, calm, nothing, {})
    assert ended.status in {Exit.USAGE, Exit.NOT_FOUND}
    assert not meant or meant in ended.stderr


@pytest.mark.parametrize(
    ("argv", "values"),
    [
        (["report", "--format", "x"], ["table", "json", "sarif", "oscal", "html"]),
        (["report", "--sort-by", "x"], ["severity", "failed", "name", "passed", "score"]),
        (["check", "--fail-on", "x"], ["fail", "error", "unknown"]),
        (["report", "--severity", "x"], ["info", "critical"]),
    ],
)
def test_an_error_lists_the_values_there_are(
    argv: list[str], values: list[str], calm: Path
) -> None:
    ended = fork(argv, calm, nothing, {})
    assert ended.status == Exit.USAGE
    assert all(value in ended.stderr for value in values)
