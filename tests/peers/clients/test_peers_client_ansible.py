"""ansible-core: logins with our agent's keys, and our agent as the one that it starts itself."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
HOSTS = 3
"""ansible takes most of a second of processor time a host."""
Ansible = Callable[..., Any]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Room for the socket of an agent that ansible starts; a test's folder has too long a name."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def ansible(
    run_client: Callable[..., Any], hosts: Any, tmp_path: Path, short_folder: Path
) -> Ansible:
    """Run one module on the first hosts; each host's result by its address."""
    ssh = " ".join(shlex.quote(word) for word in hosts.options)
    inventory = tmp_path / "inventory"
    inventory.write_text(
        "\n".join(hosts.fleet[:HOSTS]) + "\n[all:vars]\n"
        f"ansible_port={hosts.port}\nansible_user={hosts.user}\n"
        f"ansible_ssh_common_args={ssh}\nansible_python_interpreter=/usr/bin/python3\n"
    )
    config, told = tmp_path / "ansible.cfg", tmp_path / "told"
    config.write_text("")
    kept = {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(short_folder),
        "ANSIBLE_REMOTE_TMP": str(tmp_path / "remote"),
        # A connection kept for later would outlive the test.
        "ANSIBLE_TIMEOUT": "60",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree",
        "ANSIBLE_CALLBACK_TREE_DIR": str(told),
    }

    def run(module: str, *arguments: str, **env: str) -> dict[str, dict[str, Any]]:
        command = ("-m", "ansible", "adhoc", "all", "-i", inventory, "-m", module)
        run_client(sys.executable, *command, *arguments, env={**kept, **env})
        return {path.name: json.loads(path.read_text()) for path in told.iterdir()}

    return run


def test_ansible_pings_every_host(ansible: Ansible, hosts: Any) -> None:
    results = ansible("ping")
    assert {host: told["ping"] for host, told in results.items()} == dict.fromkeys(
        hosts.fleet[:HOSTS], "pong"
    )


@pytest.fixture
def agent_executable(tmp_path: Path) -> str:
    """Our agent as a program, writing down how it was called."""
    script = tmp_path / "secretive-agent"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n'
        f'PYTHONPATH={ROOT}/src exec {sys.executable} -m secretivex.cli.agent "$@"\n'
    )
    script.chmod(0o700)
    return str(script)


def test_ansible_starts_our_agent_and_adds_its_key(
    ansible: Ansible, agent_executable: str, hosts: Any, key_files: dict[str, Path], tmp_path: Path
) -> None:
    results = ansible(
        *("raw", "-a", "ssh-add -l"),
        ANSIBLE_SSH_AGENT="auto",
        ANSIBLE_SSH_AGENT_EXECUTABLE=agent_executable,
        ANSIBLE_PRIVATE_KEY=key_files["p256"].read_text(),
        ANSIBLE_SSH_EXTRA_ARGS="-A",
        SSH_AUTH_SOCK="/nonexistent",
    )
    (called,) = (tmp_path / "called").read_text().splitlines()
    assert called.startswith("-D -s -a ")
    assert set(results) == set(hosts.fleet[:HOSTS])
    for told in results.values():
        (line,) = told["stdout_lines"]
        assert line.endswith("(ECDSA)")
