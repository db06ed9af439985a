"""Completion in the shells themselves: commands, options, and the ids of the fleet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmdm.cli.main import main

ROOT = Path(__file__).resolve().parents[2]

POLICY = """---
id: disk-encrypted
name: The disk is encrypted
checks: [{key: disk, op: eq, value: true}]
"""

# What a shell does when somebody presses the tabulator, without a person to press it.
BASH = """
source <(fleetmdm completion bash)
COMP_WORDS=({words}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_fleetmdm_completion fleetmdm
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -Uz compinit; compinit -u -d "$HOME/dump"
source <(fleetmdm completion zsh)
compadd() {{ local name=${{@[-1]}}; print -l ${{(P)name}} }}
_describe() {{ local name=${{@[-2]}}; [[ -n ${{(P)name}} ]] || name=${{@[-1]}}; print -l ${{${{(P)name}}%%:*}} }}
words=({words}) CURRENT=${{#words}}
_fleetmdm_completion
"""
FISH = """
fleetmdm completion fish | source
complete --do-complete '{line}'
"""
SHELLS = {"bash": ("-c", BASH), "zsh": ("-fc", ZSH), "fish": ("-c", FISH)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the program on PATH and a small fleet in the home folder."""
    folder = tmp_path_factory.mktemp("completion")
    program = folder / "fleetmdm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fleetmdm "$@"\n')
    program.chmod(0o755)
    (folder / "p.yaml").write_text(POLICY)
    document = (
        '{"device_id": "%s", "hostname": "h", "os": "linux", "os_version": "12",'
        ' "serial": null, "last_seen": "2026-01-01T00:00:00Z", "facts": {}}'
    )
    (folder / "d.ndjson").write_text("\n".join(document % n for n in ("web-1", "web-2", "db-1")))
    database = str(folder / "fleet.db")
    for words in (
        ["init"],
        ["ingest", str(folder / "d.ndjson")],
        ["policy", "add", str(folder / "p.yaml")],
    ):
        assert main([*words, "--db", database, "--quiet"]) == 0
    return folder


def offered(place: Path, shell: str, path: str, *words: str) -> set[str]:
    flags, script = SHELLS[shell]
    quoted = " ".join(f"'{word}'" for word in ("fleetmdm", *words))
    line = " ".join(("fleetmdm", *words))
    done = subprocess.run(
        [path, flags, script.format(words=quoted, line=line)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={
            "PATH": f"{place}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(place),
            "FLEETMDM_DB": str(place / "fleet.db"),
            "LANG": "C.UTF-8",
        },
    )
    assert done.returncode == 0, done.stderr
    return {line.split("\t")[0].strip() for line in done.stdout.splitlines() if line.strip()}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_devices_and_policies(
    place: Path, shell: str, require_program: Callable[[str], str]
) -> None:
    path = require_program(shell)
    assert offered(place, shell, path, "re") == {"report"}
    assert offered(place, shell, path, "device", "show", "web") == {"web-1", "web-2"}
    assert offered(place, shell, path, "report", "--policy", "di") == {"disk-encrypted"}


def test_what_is_offered_where_there_is_no_fleet_is_nothing(
    tmp_path: Path, command_line: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    asked = {
        "_FLEETMDM_COMPLETE": "bash_complete",
        "COMP_WORDS": "fleetmdm device show web",
        "COMP_CWORD": "3",
        "FLEETMDM_DB": str(tmp_path / "none.db"),
    }
    done = command_line("fleetmdm", env=asked)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    asked |= {"COMP_WORDS": "fleetmdm report --sort-by s", "COMP_CWORD": "3"}
    done = command_line("fleetmdm", env=asked)
    assert done.stdout.split() == ["plain,severity", "plain,score"]
