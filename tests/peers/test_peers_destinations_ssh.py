"""`ssh-add -h` and `ssh -A` over real hosts: our agent permits and refuses what OpenSSH's does."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

from secretivex.cli.agent import main

NAMES = ("gate", "middle", "end")
"""Three sshd processes with a host key each; `end` has a certificate too."""
PATIENCE_S = 60.0
TRUSTED = ("ed25519", "p256")

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Hosts:
    """How to reach the hosts: one configuration of ssh and one known_hosts file."""

    config: Path
    known_hosts: Path


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory,
    key_files: dict[str, Path],
    require_program: Callable[[str], str],
) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("path")
    keygen = require_program("ssh-keygen")
    for name in (*NAMES, "authority"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    certify: list[str | Path] = [
        keygen,
        "-q",
        "-s",
        folder / "authority",
        "-I",
        "end",
        "-n",
        "end",
        "-h",
    ]
    subprocess.run([*certify, folder / "end.pub"], check=True)
    (folder / "key.pub").write_text(key_files["ed25519"].with_suffix(".pub").read_text())
    (folder / "authorized").write_text(
        "".join(key_files[kind].with_suffix(".pub").read_text() for kind in TRUSTED)
    )
    known = [f"{name} {(folder / name).with_suffix('.pub').read_text()}" for name in NAMES[:2]]
    known.append(f"@cert-authority end {(folder / 'authority.pub').read_text()}")
    (folder / "known").write_text("".join(known))
    ports = {name: free_port() for name in NAMES}
    _write_config(folder, ports)
    with ExitStack() as stack:
        for name, port in ports.items():
            stack.enter_context(_sshd(require_program("sshd"), folder, name, port))
        yield Hosts(folder / "config", folder / "known")


def _write_config(folder: Path, ports: dict[str, int]) -> None:
    blocks = [f"Host {name}\n Port {port}\n HostKeyAlias {name}\n" for name, port in ports.items()]
    (folder / "config").write_text(
        "".join(blocks)
        + f"Host *\n HostName 127.0.0.1\n User {getpass.getuser()}\n BatchMode yes\n"
        f" UserKnownHostsFile {folder}/known\n GlobalKnownHostsFile /dev/null\n"
        # The public half alone: the private one can only be the agent's.
        f" StrictHostKeyChecking yes\n IdentityFile {folder}/key.pub\n IdentitiesOnly yes\n"
    )


@contextmanager
def _sshd(program: str, folder: Path, name: str, port: int) -> Iterator[None]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    certificate = f"HostCertificate {folder}/end-cert.pub\n" if name == "end" else ""
    (folder / f"{name}.conf").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/{name}\n{certificate}PidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nUsePAM no\nStrictModes no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"SetEnv HOME={folder}\n"
    )
    log = folder / f"{name}.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / f"{name}.conf"], stderr=stderr
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "Server listening" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


class User:
    """Somebody at the agent's machine, with the hosts in reach."""

    def __init__(self, address: str, hosts: Hosts, key: Path) -> None:
        self._environ = {"PATH": os.environ.get("PATH", ""), "SSH_AUTH_SOCK": address}
        self.address = address
        self.hosts = hosts
        self.key = key

    def run(self, *command: str | Path) -> Done:
        """Run a command with the agent."""
        return subprocess.run(
            [str(word) for word in command],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def restrict(self, *steps: str) -> None:
        """Add the key anew, for these steps only."""
        options = [option for one in steps for option in ("-h", one)]
        done = self.run("ssh-add", "-q", "-H", self.hosts.known_hosts, *options, self.key)
        assert done.returncode == 0, done.stderr

    def visit(self, *names: str, command: str = "echo there") -> Done:
        """Run a command at the last of these hosts, the agent forwarded to each."""
        for name in reversed(names):
            command = shlex.join(["ssh", "-A", "-F", str(self.hosts.config), name, command])
        return self.run(*shlex.split(command))


@pytest.fixture(params=["ssh-agent", "secretive-agent"])
def user(
    request: pytest.FixtureRequest,
    start_agent: Callable[[str], Any],
    hosts: Hosts,
    key_files: dict[str, Path],
) -> User:
    """With an agent that holds every key already; `restrict` replaces the Ed25519 one."""
    return User(start_agent(request.param).address, hosts, key_files["ed25519"])


@pytest.fixture
def our_user(start_agent: Callable[[str], Any], hosts: Hosts, key_files: dict[str, Path]) -> User:
    """With our agent, where it differs from OpenSSH's."""
    return User(start_agent("secretive-agent").address, hosts, key_files["ed25519"])


def arrives(user: User, *names: str) -> bool:
    done = user.visit(*names)
    assert done.stdout in ("there\n", ""), done
    assert (done.returncode == 0) is (done.stdout == "there\n"), done
    return done.returncode == 0


def test_ssh_binds_its_connection(user: User) -> None:
    done = user.run("ssh", "-v", "-F", user.hosts.config, "gate", "echo there")
    assert done.stdout == "there\n", done.stderr
    assert "bound agent to hostkey" in done.stderr


def test_a_key_goes_to_its_destination_and_no_further(user: User) -> None:
    user.restrict("gate")
    assert arrives(user, "gate")
    assert not arrives(user, "middle")
    assert not arrives(user, "gate", "middle")
    assert not arrives(user, "gate", "gate")


def test_a_key_follows_the_whole_path_and_no_other(user: User) -> None:
    user.restrict("gate", "gate>middle", "middle>end")
    assert arrives(user, "gate", "middle", "end")
    assert not arrives(user, "gate", "end")
    assert not arrives(user, "middle")
    assert not arrives(user, "end")


def test_a_host_is_known_by_its_certificate(user: User) -> None:
    user.restrict("end", "end>gate")
    assert arrives(user, "end", "gate")
    assert not arrives(user, "gate")


def test_the_user_must_be_the_permitted_one(user: User) -> None:
    user.restrict("nobody@gate")
    assert not arrives(user, "gate")
    user.restrict(f"{getpass.getuser()}@gate", "gate>nobody@middle")
    assert arrives(user, "gate")
    assert not arrives(user, "gate", "middle")
    user.restrict("gate", f"gate>{getpass.getuser()[0]}*@middle")
    assert arrives(user, "gate", "middle")


def test_a_host_sees_the_keys_that_lead_on_from_it(user: User) -> None:
    def listed(*names: str) -> set[str]:
        done = user.visit(*names, command="ssh-add -L")
        return {line.split()[2] for line in done.stdout.splitlines()}

    others = {"p256", "p384", "p521", "rsa"}
    user.restrict("gate", "gate>middle")
    assert listed() == listed("gate") == {"ed25519", *others}
    assert listed("gate", "middle") == others


def test_a_restricted_key_signs_nothing_but_logins(user: User, tmp_path: Path) -> None:
    user.restrict("gate")
    message, key = tmp_path / "message", tmp_path / "key.pub"
    message.write_text("words")
    key.write_text(user.key.with_suffix(".pub").read_text())
    done = user.run("ssh-keygen", "-Y", "sign", "-U", "-n", "file", "-f", key, message)
    assert done.returncode != 0
    assert not message.with_suffix(".sig").exists()


def test_from_another_host_nothing_is_added_removed_or_locked(
    our_user: User, key_files: dict[str, Path]
) -> None:
    before = our_user.run("ssh-add", "-L").stdout
    for command in (
        f"ssh-add {key_files['rsa']}",
        f"ssh-add -d {key_files['rsa']}",
        "SSH_ASKPASS=/bin/pwd SSH_ASKPASS_REQUIRE=force ssh-add -x",
        "ssh-add -D",
    ):
        assert our_user.visit("gate", command=command).returncode == 1, command
    assert our_user.run("ssh-add", "-L").stdout == before


Govern = Callable[[str], None]


@pytest.fixture
def govern(our_user: User, hosts: Hosts, tmp_path: Path) -> Govern:
    """Give the agent other rules; a host's or authority's name stands for its key."""
    config = tmp_path / "agent.toml"
    stores = config.read_text()

    def reload(rules: str) -> None:
        for name in (*NAMES, "authority"):
            line = (hosts.config.parent / f"{name}.pub").read_text().strip()
            rules = rules.replace(f"<{name}>", f"'{line}'")
        config.write_text(rules + stores)
        deadline = time.monotonic() + 60
        # The agent serves clients before anybody can ask it for a reload.
        while main(["reload", "--socket", our_user.address]):
            assert time.monotonic() < deadline, "no reload"
            time.sleep(0.05)

    return reload


def test_rules_know_the_host_that_ssh_logs_in_to(our_user: User, govern: Govern) -> None:
    govern("[[policy.rules]]\neffect = 'allow'\nhosts = [<gate>, <authority>]\n")
    assert arrives(our_user, "gate")
    assert not arrives(our_user, "middle")
    assert not arrives(our_user, "gate", "middle")
    assert arrives(our_user, "end"), "by the authority that certified it"
    govern("[[policy.rules]]\neffect = 'deny'\nhosts = [<end>]\n")
    assert not arrives(our_user, "end"), "by the key in its certificate"
    assert arrives(our_user, "gate", "middle")
    me = getpass.getuser()
    govern(f"[[policy.rules]]\neffect = 'deny'\nhosts = [<middle>]\nusers = ['{me[0]}*']\n")
    assert arrives(our_user, "gate")
    assert not arrives(our_user, "middle")


def test_rules_know_what_comes_by_a_forwarded_connection(our_user: User, govern: Govern) -> None:
    govern("hide_denied = true\n[[policy.rules]]\neffect = 'deny'\nforwarded = true\n")
    assert arrives(our_user, "gate")
    assert not arrives(our_user, "gate", "middle")
    assert our_user.run("ssh-add", "-L").stdout.count("\n") == 5
    assert our_user.visit("gate", command="ssh-add -L").stdout == "The agent has no identities.\n"
    govern("[[policy.rules]]\neffect = 'allow'\nforwarded = true\nhosts = [<end>]\n")
    assert not arrives(our_user, "end")
    assert not arrives(our_user, "gate")


def test_rules_judge_a_key_beside_its_destinations(our_user: User, govern: Govern) -> None:
    our_user.restrict("gate", "middle")
    govern("[[policy.rules]]\neffect = 'deny'\nhosts = [<middle>]\n")
    assert arrives(our_user, "gate")
    assert not arrives(our_user, "middle")
    govern("[[policy.rules]]\neffect = 'allow'\nhosts = [<gate>, <end>]\n")
    # A reload shows keys of files again: the one with the destinations goes first still.
    assert arrives(our_user, "gate")
    assert not arrives(our_user, "end")
