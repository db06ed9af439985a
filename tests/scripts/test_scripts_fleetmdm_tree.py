"""Every command of fleetmdm, found by walking the tree: help, failures, and rough surroundings.

Each runs in a fork of this process, which costs no start-up and lets descriptors, session and
signals be its own. What is asserted holds for every command, also for those yet to come.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from clikit.errors import Exit
from fleetmdm.cli.main import build, main
from fleetmdm.errors import CODES

ROOT = Path(__file__).resolve().parents[2]
STANDARD = {"--db", "--config", "--format", "--output", "--quiet", "--debug"}
STATUSES = {int(status) for status in Exit} | {141}

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


def leaves(
    command: click.Command, path: tuple[str, ...] = (), above: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(command, info_name=path[-1] if path else "fleetmdm", parent=above)
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, (*path, name), context)


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


@dataclass(frozen=True)
class Ended:
    """How a command ended in a fork."""

    status: int
    stdout: str
    stderr: str


def fork(
    argv: Sequence[str], folder: Path, prepare: Callable[[], None], env: Mapping[str, str]
) -> Ended:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _be_the_command(argv, folder, (out.fileno(), err.fileno()), prepare, env)
        _, waited = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        status = os.waitstatus_to_exitcode(waited)
        return Ended(status, out.read().decode(), err.read().decode())


def _be_the_command(
    argv: Sequence[str],
    folder: Path,
    descriptors: tuple[int, int],
    prepare: Callable[[], None],
    env: Mapping[str, str],
) -> None:
    status = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for target, descriptor in zip((1, 2), descriptors, strict=True):
            os.dup2(descriptor, target)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update({"HOME": str(folder), "PATH": os.defpath, **env})
        prepare()
        sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
        status = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - the child must not become a second pytest
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _stream(descriptor: int, mode: str) -> Any:
    """A standard stream as the interpreter makes it: None where the descriptor is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    return open(descriptor, mode, closefd=False)


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
        ended = fork([*words, "--quiet"], folder, _nothing, {})
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


def _nothing() -> None:
    pass


def sound(ended: Ended) -> None:
    """Whatever happened, it ended as documented and no trace of Python shows."""
    assert ended.status in STATUSES - {70}, ended
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "Exception ignored" not in ended.stderr, ended.stderr


def envelope(ended: Ended) -> None:
    """One document on stdout, with a verdict that fits the exit status."""
    document = json.loads(ended.stdout)
    assert document["schema"] == 1
    assert document["ok"] is (ended.status == 0)
    if not document["ok"]:
        error = document["error"]
        assert set(error) == {"code", "message", "hint", "details"}
        assert int(CODES[error["code"]].exit_status) == ended.status
        assert error["message"]


@each_command
def test_help_is_short_and_complete(path: tuple[str, ...], place: Path) -> None:
    ended = fork([*path, "--help"], place, _nothing, {})
    assert ended.status == 0
    short = COMMANDS[path].get_short_help_str(200)
    assert 10 < len(short) < 120
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
        ended = fork(words, place, _nothing, {})
        sound(ended)
        if "--output" in words and ended.status == 0:
            continue
        if ended.stdout:
            envelope(ended)
        else:
            assert "--output" in words, ended
        if expected:
            assert json.loads(ended.stdout)["error"]["code"] in expected


def _no_output() -> None:
    os.close(1)


def _no_streams() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def _no_reader() -> None:
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(reader)
    os.close(writer)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _full_device() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


SURROUNDINGS: Mapping[str, tuple[Callable[[], None], Mapping[str, str]]] = {
    "closed stdout": (_no_output, {}),
    "closed streams": (_no_streams, {}),
    "no reader": (_no_reader, {}),
    "a full device": (_full_device, {}),
    "no terminal": (os.setsid, {"TERM": "none", "COLUMNS": "1", "LINES": "0"}),
    "no home that can be written": (_nothing, {"HOME": "/proc"}),
    "no home": (_nothing, {"HOME": ""}),
    "colour asked for": (_nothing, {"FORCE_COLOR": "1", "COLUMNS": "20"}),
}


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
    sound(ended)
    if ended.stdout and form:
        envelope(ended)


def test_what_cannot_be_printed_is_said(calm: Path) -> None:
    assert fork(["errors"], calm, _no_output, {}).status == Exit.UNAVAILABLE
    assert "stdout is closed" in fork(["errors"], calm, _no_output, {}).stderr
    assert fork(["errors"], calm, _no_reader, {}).status == 141
    full = fork(["errors"], calm, _full_device, {})
    assert full.status == Exit.UNAVAILABLE
    assert "No space left" in full.stderr


@each_command
def test_ctrl_c_ends_a_command_at_any_moment(path: tuple[str, ...], place: Path) -> None:
    delay_s = 0.002 * (1 + list(COMMANDS).index(path) % 8)

    def interrupt() -> None:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, delay_s)

    ended = fork([*path, *required(path), "--format", "json"], place, interrupt, {})
    # Before and after `main`, the interpreter itself is what is interrupted.
    if ended.status != 99:
        sound(ended)
        if ended.status == 130:
            document = json.loads(ended.stdout)
            # What was done in time is the only document; the status says the rest.
            assert document["ok"] or document["error"]["code"] == "interrupted"


def test_ctrl_c_while_waiting_for_input_is_said_and_keeps_nothing(calm: Path) -> None:
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
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err
    gone = fork(["device", "show", "late", "--format", "json"], calm, _nothing, {})
    assert json.loads(gone.stdout)["error"]["code"] == "device_not_found"


LOCALES = ("C", "POSIX", "xx_YY.UTF-8", "")


STRICT = {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""An interpreter that takes the locale at its word."""


def _in_locale(
    argv: Sequence[str], place: Path, locale: str, more: Mapping[str, str] = STRICT
) -> Ended:
    env = {"HOME": str(place), "PYTHONPATH": str(ROOT / "src"), "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-m", "fleetmdm", *argv],
        capture_output=True,
        timeout=60,
        check=False,
        env={**env, **more, "LC_ALL": locale},
    )
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("locale", LOCALES)
def test_the_locale_does_not_matter(calm: Path, locale: str) -> None:
    argv = ["device", "show", "Gerät\u202e", "--format", "json"]
    for more, code in (({}, "device_not_found"), (STRICT, "usage")):
        ended = _in_locale(argv, calm, locale, more)
        sound(ended)
        envelope(ended)
        assert json.loads(ended.stdout)["error"]["code"] in {code, "device_not_found"}


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES)
@each_command
def test_the_locale_does_not_matter_to_any_command(
    path: tuple[str, ...], place: Path, locale: str
) -> None:
    sound(_in_locale([*path, *required(path)], place, locale))


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
    ended = fork(argv, calm, _nothing, {})
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
    ended = fork(argv, calm, _nothing, {})
    assert ended.status == Exit.USAGE
    assert all(value in ended.stderr for value in values)
