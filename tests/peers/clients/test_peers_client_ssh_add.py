"""A day with the agent in ssh-agent's place: keys by ssh-add, used by ssh, git and dbclient.

What ssh-add may ask of several workers at once is tested beside the server; here it is one user's
agent, started by a shell line, that ends when it is told to.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]


@pytest.fixture
def agent_env(client_env: dict[str, str]) -> dict[str, str]:
    return {**client_env, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def day(run_client: Run, agent_env: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    """Run a program with an agent that the line of the shell started, and end it by `-k`."""
    program = (sys.executable, "-m", "secretivex.cli.agent")
    said = run_client(*program, "-s", "-a", tmp_path / "day.sock", env=agent_env).stdout
    words = dict(word.split("=", 1) for word in said.split(";") if "=" in word)
    env = {name.strip(): value for name, value in words.items()}
    assert set(env) == {"SSH_AUTH_SOCK", "SSH_AGENT_PID"}
    yield lambda *command, **more: run_client(*command, env={**env, **more.pop("env", {})}, **more)
    run_client(*program, "-k", env={**agent_env, **env})
    end = time.monotonic() + 60
    while (tmp_path / "day.sock").exists() or is_running(env["SSH_AGENT_PID"]):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.02)


def is_running(pid: str) -> bool:
    """Whether a process exists and is no zombie, for want of somebody who takes it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def names(listed: Any) -> list[str]:
    """Comments of the keys that `ssh-add -l` prints."""
    return [line.split()[2] for line in listed.stdout.splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_key_logs_in_until_it_is_removed(
    day: Run, hosts: Any, key_files: dict[str, Path], kind: str
) -> None:
    login = ("ssh", *hosts.options, hosts.only[kind], "echo in")
    assert day(*login, ok=False).returncode == 255
    day("ssh-add", "-q", key_files[kind])
    assert day(*login).stdout == "in\n"
    day("ssh-add", "-q", "-d", key_files[kind])
    assert day(*login, ok=False).returncode == 255


def test_a_locked_agent_logs_nobody_in(
    day: Run, hosts: Any, key_files: dict[str, Path], tmp_path: Path
) -> None:
    ask = tmp_path / "ask"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o700)
    prompt = {"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
    login = ("ssh", *hosts.options, hosts.addresses[0], "echo in")
    day("ssh-add", "-q", key_files["p256"], key_files["rsa"])
    day("ssh-add", "-q", "-x", env=prompt)
    assert day(*login, ok=False).returncode == 255
    day("ssh-add", "-q", "-X", env=prompt)
    assert day(*login).stdout == "in\n"


def test_ssh_adds_the_key_that_it_used(day: Run, hosts: Any, key_files: dict[str, Path]) -> None:
    use = ("-i", key_files["p384"], "-o", "IdentitiesOnly=yes", "-o", "AddKeysToAgent=10m")
    day("ssh", *hosts.options, *use, hosts.only["p384"], "true")
    assert names(day("ssh-add", "-l")) == ["p384"]
    # From now on the agent's will do.
    assert day("ssh", *hosts.options, hosts.only["p384"], "echo in").stdout == "in\n"


def test_a_certificate_is_added_with_its_key_and_logs_in(
    day: Run, hosts: Any, key_files: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy2(key_files["p521"], tmp_path / "user")
    shutil.copy2(key_files["p521"].with_suffix(".pub"), tmp_path / "user.pub")
    sign = ("-q", "-s", key_files["p384"], "-I", "ada", "-n", hosts.user)
    day("ssh-keygen", *sign, tmp_path / "user.pub")
    day("ssh-add", "-q", tmp_path / "user")
    listed = day("ssh-add", "-l").stdout
    assert sorted(line.rpartition("(")[2] for line in listed.splitlines()) == [
        "ECDSA)",
        "ECDSA-CERT)",
    ]
    assert day("ssh", *hosts.options, hosts.authority, "echo in").stdout == "in\n"


def test_other_clients_use_an_added_key(
    day: Run, hosts: Any, key_files: dict[str, Path], tmp_path: Path
) -> None:
    day("ssh-add", "-q", *key_files.values())
    public = key_files["rsa"].with_suffix(".pub")
    sign = ("-Y", "sign", "-U", "-f", public, "-n", "file")
    assert "SIGNATURE" in day("ssh-keygen", *sign, stdin="words\n").stdout
    day("git", "init", "-q", tmp_path / "repository")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "gpg.format=ssh")
    commit = (*who, "-c", f"user.signingkey={public}", "commit", "-q", "-S", "--allow-empty")
    day("git", "-C", tmp_path / "repository", *commit, "-m", "signed")
    known = tmp_path / "home" / ".ssh" / "known_hosts"
    known.write_text(f"{hosts.only['p521']} {hosts.host_key}\n")
    where = ("-p", str(hosts.port), "-l", hosts.user, hosts.only["p521"])
    assert day("dbclient", "-A", "-T", *where, "echo in").stdout == "in\n"


def test_an_agent_around_a_command_ends_with_it(
    run_client: Run, agent_env: dict[str, str], key_files: dict[str, Path]
) -> None:
    script = f'ssh-add -q {key_files["ed25519"]} && ssh-add -l && echo "$SSH_AUTH_SOCK"'
    program = (sys.executable, "-m", "secretivex.cli.agent")
    done = run_client(*program, "sh", "-c", script, env=agent_env)
    line, address = done.stdout.splitlines()
    assert line.endswith("ed25519 (ED25519)")
    # The agent learns of the end by itself, a moment after us.
    deadline = time.monotonic() + 60
    while Path(address).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(address).exists()


def test_a_person_is_asked_for_what_a_forwarded_agent_is_to_sign(
    run_client: Run,
    agent_env: dict[str, str],
    hosts: Any,
    key_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    """A first login on the way, a second one from there; then the person says no."""
    asked, no = tmp_path / "asked", tmp_path / "no"
    person = tmp_path / "person"
    person.write_text(f'#!/bin/sh\nprintf "%s\\n--\\n" "$1" >> {asked}\n[ ! -e {no} ]\n')
    person.chmod(0o755)
    hop = " ".join(("ssh", "-A", *(f"'{word}'" for word in hosts.options)))
    first, second = hosts.addresses[3], hosts.addresses[4]
    story = (
        f"ssh-add -q -c {key_files['ed25519']} && {hop} {first} \"{hop} {second} 'echo far'\";"
        f" touch {no}; {hop} {first} true || echo refused"
    )
    env = {**agent_env, "SSH_ASKPASS": str(person), "SSH_ASKPASS_REQUIRE": "force"}
    env |= {"TMPDIR": str(tmp_path)}
    done = run_client(sys.executable, "-m", "secretivex.cli.agent", "sh", "-c", story, env=env)
    assert done.stdout == "far\nrefused\n", done.stderr
    texts = asked.read_text().split("\n--\n")[:-1]
    host = run_client("ssh-keygen", "-lf", hosts.authorized.with_name("host.pub")).stdout.split()[1]
    where = f"In order to: log in as {hosts.user} at the host with key {host}"
    assert [text.splitlines()[3] for text in texts] == [where] * 3
    assert [text.splitlines()[4:] for text in texts] == [
        [],
        [f"Forwarded from: the host with key {host}"],
        [],
    ]


def test_a_host_cannot_empty_the_agent_that_is_forwarded_to_it(
    day: Run, hosts: Any, key_files: dict[str, Path]
) -> None:
    day("ssh-add", "-q", key_files["ed25519"])
    far = f"ssh-add -D; ssh-add -d {key_files['ed25519']}.pub; ssh-add -l"
    done = day("ssh", "-A", *hosts.options, hosts.addresses[3], far)
    assert names(done) == ["ed25519"]
    assert "Failed to remove all identities" in done.stderr
    day("ssh-add", "-D")
    assert day("ssh-add", "-l", ok=False).returncode == 1
