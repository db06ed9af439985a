"""Five hosts on one machine: real sshd processes, each with its own tree, host key and port."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from account import DemoFailedError, run

COPIED = (
    "etc/os-release",
    "etc/login.defs",
    "etc/passwd",
    "etc/group",
    "etc/security/pwquality.conf",
    "etc/apt/apt.conf.d/20auto-upgrades",
    "var/lib/dpkg/status",
)
"""Files of this machine that every tree starts with, where they exist."""

HARDENED = """\
PermitRootLogin prohibit-password
PasswordAuthentication no
PermitEmptyPasswords no
X11Forwarding no
MaxAuthTries 4
LoginGraceTime 60
ClientAliveInterval 300
ClientAliveCountMax 3
AllowTcpForwarding no
"""

WEAKENED = """\
PermitRootLogin yes
PasswordAuthentication yes
PermitEmptyPasswords no
X11Forwarding yes
MaxAuthTries 10
LoginGraceTime 0
ClientAliveInterval 0
"""


@dataclass
class Host:
    """One sshd and the tree that tells it apart."""

    name: str
    root: Path
    port: int
    host_key: Path
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        """The very file that this host's sshd runs with."""
        return self.root / "etc/ssh/sshd_config"

    def known_hosts_line(self) -> str:
        """What a client must know to trust this host."""
        key_type, blob = self.host_key.with_suffix(".pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {key_type} {blob}\n"

    def change(self, settings: str) -> None:
        """Rewrite sshd_config and have the running sshd read it again."""
        self.config.write_text(settings + plumbing(self.root, self.port, self.host_key))
        self.process.send_signal(signal.SIGHUP)
        wait_for_port(self.port)

    def stop(self) -> None:
        """End this sshd."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def plumbing(root: Path, port: int, host_key: Path) -> str:
    """What lets an sshd run in a temporary folder beside others."""
    return f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey {host_key}
AuthorizedKeysFile {root.parent}/authorized_keys
PidFile {root.parent}/sshd.pid
PubkeyAuthentication yes
UsePAM no
StrictModes no
LogLevel ERROR
"""


def start_host(folder: Path, name: str, trusted_key: str, sshd: str) -> Host:
    """Make a tree and a host key, and start an sshd that trusts only `trusted_key`."""
    root = folder / name / "root"
    make_tree(root, name)
    host_key = folder / name / "host_key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", host_key)
    (folder / name / "authorized_keys").write_text(trusted_key)
    port = free_port()
    config = root / "etc/ssh/sshd_config"
    config.write_text(HARDENED + plumbing(root, port, host_key))
    if os.getuid() == 0:
        # Debian's sshd, started by root, wants this folder for privilege separation.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(config)], stderr=(folder / name / "sshd.log").open("wb")
    )
    host = Host(name, root, port, host_key, process)
    wait_for_port(port)
    return host


def make_tree(root: Path, name: str) -> None:
    """A host's files: copies of this machine's, with a name and an id of its own."""
    for relative in COPIED:
        source = Path("/") / relative
        if source.is_file():
            (root / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / relative)
    (root / "etc/ssh").mkdir(parents=True, exist_ok=True)
    (root / "etc/hostname").write_text(name + "\n")
    (root / "etc/machine-id").write_text(secrets.token_hex(16) + "\n")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 10) -> None:
    """Wait until something listens on a loopback port."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise DemoFailedError(f"nothing listens on port {port} after {timeout_s:g} s")
