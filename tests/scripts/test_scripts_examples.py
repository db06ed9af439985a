"""The examples at the end of each command's help: each one runs, or where it cannot here, parses."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from forked import Ended, leaves, run_forked

from clikit.command.group import LazyGroup
from fleetmdm.cli.examples import EXAMPLES
from fleetmdm.cli.main import build, main
from secretivex.cli.agent import service_group
from secretivex.cli.bench import program as bench
from secretivex.cli.client import program as client

ELSEWHERE = {
    "collect": "needs hosts",
    "evidence timestamp": "needs an authority's answer",
    "evidence reveal": "needs a pseudonym of this fleet",
    "completion": "writes where administrators write",
}
"""Commands of which the examples are only parsed, and why."""

FILES = {
    "policies/disk.yaml": """---
id: disk
name: The disk is encrypted
severity: high
references: [{framework: CIS, control: "1.2"}]
checks: [{key: disk_encryption.root, op: eq, value: true}]
tests:
  - {name: p, device: {facts: {disk_encryption: {root: true}}}, expect: pass}
  - {name: f, device: {facts: {disk_encryption: {root: false}}}, expect: fail}
""",
    "training.yaml": """---
id: training
name: People took the course
attestation: {question: Did everyone take it, period: 365d}
""",
    "device.json": (
        '{"device_id": "one", "hostname": "one", "os": "linux", "os_version": "12",'
        ' "serial": null, "last_seen": "2026-01-01T00:00:00Z", "facts": {}}'
    ),
    "hosts.csv": "asset,hostname,os,os_version,last_seen\nA1,a1,linux,12,2026-01-01T00:00:00Z\n",
    "waivers.yaml": """---
id: W-8
policy: disk
scope: {device: lab-1}
reason: old
risk_owner: ana
approver: ben
expires: 2099-03-31
zone: UTC
""",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the examples speak of: a seeded fleet with two runs."""
    folder = tmp_path_factory.mktemp("examples")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "inventory").mkdir()
    (folder / "inventory" / "d.json").write_text(FILES["device.json"])
    for name in ("partner", "witness_key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    for words in ("seed", "policy add policies training.yaml", "check", "check --full"):
        ended = a_line(f"fleetmdm {words}", folder)
        assert ended.status == 0, ended
    return folder


def a_line(line: str, folder: Path) -> Ended:
    return run_forked(main, shlex.split(line)[1:], folder, env={"PATH": os.environ["PATH"]})


def test_every_example_does_what_it_says(home: Path, tmp_path: Path) -> None:
    """In the order of the table: later ones build on what earlier ones made."""
    failed = []
    for words, lines in EXAMPLES.items():
        for line in lines if words not in ELSEWHERE else ():
            assert line.startswith("fleetmdm ")
            if "|" in line or "/srv/" in line:
                continue
            ended = a_line(line.replace("~/", f"{home}/"), home)
            # A gate may find something: then the work was done.
            if ended.status not in ({0, 1} if "--fail-on" in line else {0}):
                failed.append((line, ended.status, ended.stderr.strip()[:300]))
    assert failed == [], "\n".join(map(str, failed))


PROGRAMS: dict[str, Callable[[], click.Command]] = {
    "fleetmdm": build,
    "secretive-agent": service_group,
    "secretive-client": client.build,
    "secretive-bench": bench.build,
}


def commands() -> Iterator[tuple[str, tuple[str, ...], click.Command]]:
    for program, make in PROGRAMS.items():
        for path, command in leaves(make()):
            yield program, path, command


@pytest.mark.parametrize(
    ("program", "path", "command"),
    [pytest.param(*each, id=" ".join((each[0], *each[1]))) for each in commands()],
)
def test_help_ends_with_examples_that_parse(
    program: str, path: tuple[str, ...], command: click.Command
) -> None:
    text = command.get_help(click.Context(command, info_name=path[-1]))
    block = text.partition("Examples:")[2]
    lines = [line.strip() for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        words = shlex.split(line.rpartition(" | ")[2].partition(" > ")[0])
        assert words[0] == program, line
        made = PROGRAMS[program]()
        assert isinstance(made, LazyGroup)
        parse(made, words[1:], program)


def parse(command: click.Command, words: list[str], name: str) -> None:
    """Whether a command line is one; nothing is run."""
    above: click.Context | None = None
    while True:
        context = command.make_context(name, list(words), parent=above)
        if not isinstance(command, click.Group):
            return
        rest = [*context._protected_args, *context.args]
        found, below, words = command.resolve_command(context, rest)
        assert below is not None
        command, name, above = below, found or "", context
