"""Every command of secretive-agent, -client and -bench: help, failures, and rough surroundings.

As for fleetmdm (`test_scripts_fleetmdm_tree.py`): no agent answers, no file is there, and each
command says so in the documented form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from forked import (
    SURROUNDINGS,
    Ended,
    Main,
    assert_envelope,
    assert_interrupted_soundly,
    assert_sound,
    interrupt_after,
    leaves,
    nothing,
    run_forked,
)
from locales import LOCALES, STRICT, run_in_locale

from secretivex.cli import agent
from secretivex.cli.bench import program as bench
from secretivex.cli.client import program as client
from secretivex.errors import CODES

PROGRAMS: Mapping[str, tuple[click.Command, Main]] = {
    "secretive-agent": (agent.service_group(), agent.main),
    "secretive-client": (client.build(), client.main),
    "secretive-bench": (bench.build(), bench.main),
}
COMMANDS = {
    (program, *path): command
    for program, (group, _) in PROGRAMS.items()
    for path, command in leaves(group)
}
STANDARD = {"--format", "--output", "--quiet", "--debug"}
CHANGES_THE_SYSTEM = {("secretive-agent", word) for word in ("install", "uninstall", "status")}
"""Commands that speak to the service manager: only their help and their usage are tried here."""

SAID = {"shell": "bash", "kind": "p256", "store": "none", "type": "p256"}

each_command = pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
each_that_ends = pytest.mark.parametrize(
    "path", [path for path in COMMANDS if path not in CHANGES_THE_SYSTEM], ids=" ".join
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secretive")


def required(path: tuple[str, ...]) -> list[str]:
    """Words for what the command cannot do without; where it would stay, what ends it at once."""
    words = ["--config", "none.toml"] if path == ("secretive-agent", "run") else []
    if path == ("secretive-client", "wait-ready"):
        words += ["--timeout-ms", "1"]
    if path == ("secretive-agent", "suggest"):
        words += ["--calibrate-s", "0"]
    for param in COMMANDS[path].params:
        if param.required:
            value = SAID.get(param.name or "", "missing")
            words += [value] if isinstance(param, click.Argument) else [param.opts[0], value]
    return words


def ended(path: tuple[str, ...], *words: str, place: Path, surroundings: str = "") -> Ended:
    prepare, env = SURROUNDINGS[surroundings] if surroundings else (nothing, {})
    main = PROGRAMS[path[0]][1]
    return run_forked(main, [*path[1:], *words], place, prepare, env)


@each_command
def test_help_is_short_and_complete(path: tuple[str, ...], place: Path) -> None:
    found = ended(path, "--help", place=place)
    assert found.status == 0, found
    assert 10 < len(COMMANDS[path].get_short_help_str(200)) < 120
    assert "Examples:" in found.stdout
    for option in STANDARD:
        assert option in found.stdout


@each_command
def test_a_wrong_option_is_told_in_the_envelope(path: tuple[str, ...], place: Path) -> None:
    found = ended(path, "--format", "json", "--no-such-option", place=place)
    assert_sound(found)
    assert_envelope(found, CODES)
    assert json.loads(found.stdout)["error"]["code"] == "usage"


@each_that_ends
def test_a_failure_in_json_mode_is_an_envelope(path: tuple[str, ...], place: Path) -> None:
    found = ended(path, *required(path), "--format", "json", place=place)
    assert_sound(found)
    assert_envelope(found, CODES)


@each_that_ends
def test_a_command_ends_in_order(path: tuple[str, ...], place: Path) -> None:
    """Two of the surroundings for each command, in turn."""
    first = 2 * list(COMMANDS).index(path)
    names = list(SURROUNDINGS)
    for name in (names[first % len(names)], names[(first + 1) % len(names)]):
        form = [] if name == "no reader" else ["--format", "json"]
        found = ended(path, *required(path), *form, place=place, surroundings=name)
        assert_sound(found)
        if found.stdout and form:
            assert_envelope(found, CODES)


@pytest.mark.long
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@each_that_ends
def test_a_command_ends_in_order_everywhere(
    path: tuple[str, ...], surroundings: str, place: Path
) -> None:
    assert_sound(ended(path, *required(path), place=place, surroundings=surroundings))


@each_that_ends
def test_ctrl_c_ends_a_command_at_any_moment(path: tuple[str, ...], place: Path) -> None:
    delay_s = 0.002 * (1 + list(COMMANDS).index(path) % 8)
    main = PROGRAMS[path[0]][1]
    words = [*path[1:], *required(path), "--format", "json"]
    assert_interrupted_soundly(run_forked(main, words, place, interrupt_after(delay_s)))


MODULES = {
    "secretive-agent": "secretivex.cli.agent",
    "secretive-client": "secretivex.cli.client",
    "secretive-bench": "secretivex.cli.bench",
}
NAMED = {
    "secretive-agent": ("check-config", "--config", "Gerät\u202e.toml"),
    "secretive-client": ("list", "--socket", "Gerät\u202e.sock"),
    "secretive-bench": ("run", "--socket", "Gerät\u202e.sock"),
}
"""A command of each program with a name that not every encoding has."""


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_locale_does_not_matter(program: str, locale: str, place: Path) -> None:
    more = STRICT if locale in ("C", "xx_YY.UTF-8") else {}
    argv = [*NAMED[program], "--format", "json"]
    found = run_in_locale(MODULES[program], argv, place, locale, more)
    assert_sound(found)
    assert_envelope(found, CODES)


@pytest.mark.long
@pytest.mark.parametrize("locale", LOCALES)
@each_that_ends
def test_the_locale_does_not_matter_to_any_command(
    path: tuple[str, ...], locale: str, place: Path
) -> None:
    assert_sound(run_in_locale(MODULES[path[0]], [*path[1:], *required(path)], place, locale))


@pytest.mark.parametrize(
    ("program", "argv", "meant"),
    [
        ("secretive-client", ["lisst"], "list"),
        ("secretive-client", ["list", "--opensh"], "--openssh"),
        ("secretive-client", ["keys", "creat"], "create"),
        ("secretive-bench", ["comapre"], "compare"),
        ("secretive-agent", ["run", "--worker", "2"], "--workers"),
        ("secretive-bench", ["run", "--mode", "x"], "sign"),
    ],
)
def test_what_was_probably_meant_is_said(
    program: str, argv: list[str], meant: str, place: Path
) -> None:
    found = run_forked(PROGRAMS[program][1], argv, place)
    assert found.status == 2
    assert meant in found.stderr
