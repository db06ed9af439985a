"""git: commits and tags signed by the agent (gpg.format=ssh), and repositories over ssh."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]
Public = Callable[[str], Path]
Repository = Callable[[str], Path]


@pytest.fixture
def repository(
    run_client: Run, client_env: dict[str, str], public_file: Public, tmp_path: Path
) -> Repository:
    """A repository whose author signs with this kind of key, and who knows all signers."""

    def make(kind: str) -> Path:
        allowed = "".join(f"ada@example.org {public_file(k).read_text()}" for k in KINDS)
        (tmp_path / "allowed").write_text(allowed)
        Path(client_env["GIT_CONFIG_GLOBAL"]).write_text(
            "[user]\n name = Ada\n email = ada@example.org\n"
            f" signingkey = {public_file(kind)}\n"
            "[gpg]\n format = ssh\n"
            f'[gpg "ssh"]\n allowedSignersFile = {tmp_path}/allowed\n'
            "[init]\n defaultBranch = main\n"
        )
        run_client("git", "init", "-q", tmp_path / "repository")
        return tmp_path / "repository"

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_commit_and_a_tag_are_signed_and_verified(
    run_client: Run, repository: Repository, kind: str
) -> None:
    at = ("-C", repository(kind))
    run_client("git", *at, "commit", "-q", "-S", "--allow-empty", "-m", "signed")
    told = run_client("git", *at, "verify-commit", "HEAD").stderr
    assert 'Good "git" signature for ada@example.org' in told
    run_client("git", *at, "tag", "-s", "-m", "signed", "v1")
    assert "Good" in run_client("git", *at, "verify-tag", "v1").stderr


def test_the_key_may_be_given_by_its_text_or_taken_from_the_agent(
    run_client: Run, repository: Repository, public_file: Public
) -> None:
    at = ("-C", repository("rsa"))
    literal = f"key::{public_file('p521').read_text().strip()}"
    by_text = ("-c", f"user.signingkey={literal}")
    run_client("git", *at, *by_text, "commit", "-q", "-S", "--allow-empty", "-m", "one")
    assert "ECDSA" in run_client("git", *at, "verify-commit", "HEAD").stderr
    # With no key configured git asks a command for it; this one gives the agent's first.
    run_client("git", "config", "--global", "--unset", "user.signingkey")
    first = ("-c", "gpg.ssh.defaultKeyCommand=ssh-add -L")
    run_client("git", *at, *first, "commit", "-q", "-S", "--allow-empty", "-m", "two")
    assert "ED25519" in run_client("git", *at, "verify-commit", "HEAD").stderr


def test_a_signature_by_another_is_not_good(run_client: Run, repository: Repository) -> None:
    where = repository("p256")
    run_client("git", "-C", where, "commit", "-q", "-S", "--allow-empty", "-m", "signed")
    allowed = where.parent / "allowed"
    kept = [line for line in allowed.read_text().splitlines() if "nistp256" not in line]
    allowed.write_text("\n".join(kept) + "\n")
    assert run_client("git", "-C", where, "verify-commit", "HEAD", ok=False).returncode != 0


def test_a_repository_is_cloned_fetched_and_pushed_over_ssh(
    run_client: Run, repository: Repository, hosts: Any, tmp_path: Path
) -> None:
    at = ("-C", repository("ed25519"))
    run_client("git", *at, "commit", "-q", "-S", "--allow-empty", "-m", "first")
    run_client("git", "clone", "-q", "--bare", tmp_path / "repository", tmp_path / "far.git")
    ssh = {"GIT_SSH_COMMAND": shlex.join(("ssh", *hosts.options))}
    url = f"ssh://{hosts.only['p384']}{tmp_path}/far.git"
    run_client("git", "clone", "-q", url, tmp_path / "near", env=ssh)
    near = ("-C", tmp_path / "near")
    run_client("git", *near, "commit", "-q", "-S", "--allow-empty", "-m", "second")
    run_client("git", *near, "push", "-q", "--signed=if-asked", env=ssh)
    run_client("git", *near, "fetch", "-q", env=ssh)
    log = run_client("git", "-C", tmp_path / "far.git", "log", "--format=%s %G?").stdout
    assert log == "second G\nfirst G\n"
