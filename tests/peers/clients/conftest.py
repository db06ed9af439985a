"""Hosts to log in to, and programs that do it with the keys of our agent alone.

Two sshd processes stand for 21 hosts: the addresses 127.0.0.1 to 127.0.0.21 on one port. Most
trust every key; five trust one kind each, for clients that take whatever key the agent lists, and
the last trusts an authority.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

ADDRESSES = tuple(f"127.0.0.{number}" for number in range(1, 22))
PER_SERVER = 11
"""sshd listens on 16 sockets at most."""
FLEET = ADDRESSES[:20]
AUTHORITY = ADDRESSES[20]
CHOOSY = ADDRESSES[15:20]
"""Each of these trusts one kind of key."""
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Hosts:
    """Where to log in, and how to know that one is there."""

    port: int
    addresses: tuple[str, ...]
    fleet: tuple[str, ...]
    """The twenty that some key of the agent opens."""
    only: Mapping[str, str]
    """Kind of key: the address of the host that trusts no other."""
    authority: str
    """The address of the host that trusts certificates by the P-384 key, and no key."""
    user: str
    home: Path
    """What the hosts take for the user's home."""
    host_key: str
    """Type and base64 of the public host key."""
    known_hosts: Path
    authorized: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Options of ssh, scp and sftp: nothing of the caller's, no questions."""
        return (
            *("-F", "none", "-o", f"Port={self.port}", "-o", f"User={self.user}"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"),
        )


@pytest.fixture(scope="session")
def agent(standing_agent: Callable[..., Any]) -> Any:
    """Our agent with two workers and a key of each kind."""
    return standing_agent("secretive-agent")


@pytest.fixture(scope="session")
def hosts(
    tmp_path_factory: pytest.TempPathFactory,
    key_files: dict[str, Path],
    require_program: Callable[[str], str],
) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    key = folder / "host"
    keygen = require_program("ssh-keygen")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=60)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    port = free_port(*ADDRESSES)
    (folder / "known").write_text("".join(f"[{host}]:{port} {public}\n" for host in ADDRESSES))
    (folder / "home").mkdir(mode=0o700)
    _write_trust(folder, key_files)
    with ExitStack() as stack:
        for first in range(0, len(ADDRESSES), PER_SERVER):
            listen = ADDRESSES[first : first + PER_SERVER]
            config = folder / "config"
            stack.enter_context(_sshd(require_program("sshd"), config, listen, port))
        yield Hosts(
            port,
            ADDRESSES,
            FLEET,
            _choosy(key_files),
            AUTHORITY,
            getpass.getuser(),
            folder / "home",
            public,
            folder / "known",
            folder / "authorized",
        )


def _choosy(key_files: dict[str, Path]) -> dict[str, str]:
    return dict(zip(key_files, CHOOSY, strict=True))


def _write_trust(folder: Path, key_files: dict[str, Path]) -> None:
    lines = {kind: path.with_suffix(".pub").read_text() for kind, path in key_files.items()}
    (folder / "authorized").write_text("".join(lines.values()))
    for kind, line in lines.items():
        (folder / f"only-{kind}").write_text(line)
    (folder / "config").write_text(
        f"HostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 200\n"
        "Subsystem sftp internal-sftp\n"
        # The far side of a login must not touch the real home either.
        f"SetEnv HOME={folder}/home\n"
        f"AuthorizedKeysFile {folder}/authorized {folder}/home/.ssh/authorized_keys\n"
    )
    with (folder / "config").open("a") as config:
        config.write(f"Match LocalAddress {AUTHORITY}\n AuthorizedKeysFile none\n")
        config.write(f" TrustedUserCAKeys {folder}/only-p384\n")
        for kind, address in _choosy(key_files).items():
            config.write(
                f"Match LocalAddress {address}\n AuthorizedKeysFile {folder}/only-{kind}\n"
            )


@contextmanager
def _sshd(program: str, config: Path, listen: tuple[str, ...], port: int) -> Iterator[None]:
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    log = config.with_name(f"{config.name}-{listen[0]}.log")
    command = [program, "-D", "-e", "-f", str(config)]
    for address in listen:
        command += ["-o", f"ListenAddress {address}:{port}"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_S
        while log.read_text().count("Server listening") < len(listen):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture(scope="session")
def agent_host_port(
    tmp_path_factory: pytest.TempPathFactory,
    agent: Any,
    hosts: Hosts,
    key_files: dict[str, Path],
    require_program: Callable[[str], str],
) -> Iterator[int]:
    """Port of a host at 127.0.0.1 whose own keys are the agent's."""
    config = tmp_path_factory.mktemp("agent-host") / "config"
    config.write_text(
        f"HostKeyAgent {agent.address}\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nPasswordAuthentication no\nAuthorizedKeysFile {hosts.authorized}\n"
    )
    with config.open("a") as more:
        for kind in key_files:
            more.write(f"HostKey {hosts.authorized.with_name(f'only-{kind}')}\n")
    port = free_port()
    with _sshd(require_program("sshd"), config, ("127.0.0.1",), port):
        yield port


@pytest.fixture
def public_file(tmp_path: Path, key_files: dict[str, Path]) -> Callable[[str], Path]:
    """A file with the public half alone, so that the private one can only be the agent's."""

    def write(kind: str) -> Path:
        path = tmp_path / f"{kind}-only.pub"
        path.write_text(key_files[kind].with_suffix(".pub").read_text())
        return path

    return write


@pytest.fixture
def client_env(tmp_path: Path, agent: Any) -> dict[str, str]:
    """The environment of a client: our agent, and a home of its own."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    return {
        "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "SSH_AUTH_SOCK": agent.address,
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@pytest.fixture
def run_client(
    tmp_path: Path, client_env: dict[str, str], require_program: Callable[[str], str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a client program to its end; a failure it was not to have shows what it said."""

    def run(
        program: str,
        *arguments: str | Path,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        ok: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [require_program(program), *map(str, arguments)],
            env={**client_env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0 or not ok, f"{done.args}: {done.stdout}{done.stderr}"
        return done

    return run
