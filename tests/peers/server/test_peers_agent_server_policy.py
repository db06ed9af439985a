"""Rules of the policy in a running agent, with OpenSSH's own clients and several workers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

Service = Any  # the fixture's own class, which tests cannot import
Start = Callable[..., Service]


@pytest.fixture
def with_rules(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> Callable[..., Service]:
    """An agent with the keys of `key_files` and these lines of configuration."""

    def start(lines: str, *arguments: str, workers: int = 2) -> Service:
        paths = ", ".join(f"'{path}'" for path in key_files.values())
        config = tmp_path / "agent.toml"
        store = f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = [{paths}]\n"
        config.write_text(lines + store)
        return start_service("--config", config, *arguments, workers=workers)

    return start


@pytest.fixture
def sign(key_files: dict[str, Path], tmp_path: Path) -> Callable[..., bool]:
    """Whether ssh-keygen gets a signature, by the public half alone."""
    for kind, path in key_files.items():
        (tmp_path / f"{kind}.pub").write_bytes(Path(f"{path}.pub").read_bytes())

    def ask(service: Service, kind: str = "ed25519", namespace: str = "git") -> bool:
        public = str(tmp_path / f"{kind}.pub")
        command = ("ssh-keygen", "-Y", "sign", "-f", public, "-n", namespace)
        return bool(service.tool(*command, stdin="message").returncode == 0)

    return ask


@pytest.mark.parametrize("workers", [1, 2])
def test_namespaces_programs_and_keys_are_told_apart(
    with_rules: Callable[..., Service],
    sign: Callable[..., bool],
    tmp_path: Path,
    workers: int,
    require_program: Callable[[str], str],
) -> None:
    keygen = os.path.realpath(require_program("ssh-keygen"))
    service = with_rules(
        f"[[policy.rules]]\neffect = 'allow'\nexecutables = ['{keygen}']\nuids = [{os.getuid()}]\n"
        "[[policy.rules]]\nname = 'no files'\neffect = 'deny'\nnamespaces = ['file']\n"
        "[[policy.rules]]\neffect = 'deny'\nkey_types = ['ecdsa-*']\nkinds = ['sshsig']\n",
        workers=workers,
    )
    assert sign(service)
    assert not sign(service, namespace="file")
    assert not sign(service, "p256")
    # The same signature for another program: ssh-add is not among those allowed.
    assert service.ssh_add("-T", str(tmp_path / "ed25519.pub")).returncode != 0
    assert service.ssh_add("-T", str(tmp_path / "p256.pub")).returncode != 0


def test_a_count_is_exact_over_workers_however_many_ask_at_once(
    with_rules: Callable[..., Service], sign: Callable[..., bool]
) -> None:
    service = with_rules(
        "[[policy.rules]]\neffect = 'allow'\nrate = { at_most = 7, per_s = 3600, each = 'key' }\n"
    )
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(sign, service, kind) for kind in ("ed25519", "rsa") for _ in range(12)]
        assert sum(one.result() for one in asked) == 14
    # A reload forgets nothing: the counts are not the configuration's.
    service.process.send_signal(1)
    assert not sign(service)
    assert sign(service, "p256")


def test_what_could_never_be_signed_is_not_listed_where_that_is_wanted(
    with_rules: Callable[..., Service], require_program: Callable[[str], str]
) -> None:
    adder = os.path.realpath(require_program("ssh-add"))
    service = with_rules(
        "hide_denied = true\n"
        "[[policy.rules]]\neffect = 'deny'\nkey_types = ['ecdsa-*']\n"
        f"[[policy.rules]]\neffect = 'deny'\ncomments = ['rsa']\nexecutables = ['{adder}']\n"
        "[[policy.rules]]\neffect = 'deny'\ncomments = ['ed25519']\nkinds = ['other']\n",
    )
    listed = [line.split()[2] for line in service.ssh_add("-l").stdout.splitlines()]
    assert listed == ["ed25519"]
    shown = subprocess.run(
        ["python3", "-c", LIST, str(service.address)], capture_output=True, check=True, timeout=60
    )
    assert shown.stdout.split() == [b"2"]


LIST = (
    "import socket, struct, sys\n"
    "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'\\0\\0\\0\\1\\x0b')\n"
    "print(struct.unpack('>IBI', s.recv(9))[2])\n"
)


def test_a_rule_may_have_a_person_asked(
    start_service: Start, key_files: dict[str, Path], sign: Callable[..., bool], tmp_path: Path
) -> None:
    asked, no = tmp_path / "asked", tmp_path / "no"
    code = f'echo "$SECRETIVE_CONFIRM_CALLER_ANCESTORS" >> {asked}; [ ! -e {no} ]'
    config = tmp_path / "agent.toml"
    config.write_text(
        f"[[policy.rules]]\neffect = 'confirm'\nnamespaces = ['release']\n"
        f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = ['{key_files['ed25519']}']\n"
    )
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\n{code}\n")
    askpass.chmod(0o755)
    environ = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    service = start_service("--config", config, env=environ)
    assert sign(service, namespace="git")
    assert not asked.exists()
    assert sign(service, namespace="release")
    assert asked.read_text().count("\n") == 1
    no.touch()
    assert not sign(service, namespace="release")
    assert sign(service, namespace="git")


def test_a_refusal_is_recorded_with_its_rule_and_the_program_that_asked(
    with_rules: Callable[..., Service],
    sign: Callable[..., bool],
    tmp_path: Path,
    require_program: Callable[[str], str],
) -> None:
    keygen = os.path.realpath(require_program("ssh-keygen"))
    log = tmp_path / "audit.jsonl"
    service = with_rules(
        f"audit_requests = true\naudit_path = '{log}'\n"
        f"[[policy.rules]]\nname = 'no \"files\"'\neffect = 'deny'\nnamespaces = ['file']\n"
        f"executables = ['{keygen}']\n",
        workers=1,
    )
    assert not sign(service, namespace="file")
    assert sign(service)
    assert service.stop() == 0
    found = [json.loads(line) for line in log.read_text().splitlines()]
    refused, signed = (one for one in found if one.get("event") == "sign")
    assert (refused["outcome"], refused["rule"]) == ("policy_denied", 'no "files"')
    assert refused["executable"] == keygen == signed["executable"]
    assert "rule" not in signed


def test_a_rule_that_is_not_understood_starts_nothing(
    tmp_path: Path, run_agent: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        "[[policy.rules]]\neffect = 'allow'\nnamespace = ['git']\n"
        "[[policy.rules]]\neffect = 'deny'\nhours = '9 to 5'\n"
    )
    done = run_agent("run", "--config", config, "--socket", tmp_path / "s")
    assert done.returncode == 3
    assert f"{config}:3: policy.rules[0].namespace: unknown key" in done.stderr
    assert f"{config}:6: policy.rules[1].hours: '9 to 5' is no span of hours" in done.stderr
