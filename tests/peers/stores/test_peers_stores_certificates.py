"""A certificate attached by `certificates` to a key of any store logs in to a real sshd."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from settled import settle

from sshwire.pubkey import encode_public_line, parse_public_key

Wait = Callable[[Callable[[], object], str], None]


def keygen(*arguments: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, timeout=60)


def sshd_command(folder: Path, program: str) -> str:
    """An sshd for one connection, on its standard streams, that trusts the authority alone."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    keygen("-t", "ed25519", "-N", "", "-f", str(folder / "host"))
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile none\n"
        f"TrustedUserCAKeys {folder}/authority.pub\nLogLevel VERBOSE\n"
    )
    words = (program, "-i", "-E", str(folder / "sshd.log"), "-f", str(folder / "sshd_config"))
    return shlex.join(words)


def log_in(agent: Any, folder: Path, sshd: str) -> subprocess.CompletedProcess[str]:
    (folder / "known").write_text(f"there {(folder / 'host.pub').read_text()}")
    options = ("-F", "none", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={folder}/known")
    named = ("-o", f"ProxyCommand={sshd}", "-o", f"User={getpass.getuser()}", "there", "echo", "in")
    return subprocess.run(
        ["ssh", *options, *named],
        env={**os.environ, "SSH_AUTH_SOCK": agent.address, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def store_table(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[str], tuple[str, dict[str, str]]]:
    """The configuration of a store of a kind that has one key, and its environment."""

    def make(kind: str) -> tuple[str, dict[str, str]]:
        folder = tmp_path / "keys"
        folder.mkdir(mode=0o700)
        if kind == "file":
            keygen("-t", "ecdsa", "-N", "", "-C", "key", "-f", str(folder / "key"))
            return f'type = "file"\nscan_default_dir = false\npaths = ["{folder}"]\n', {}
        if kind == "tpm":
            simulator = request.getfixturevalue("simulator")
            table = f'type = "tpm"\npaths = ["{folder}"]\ndevice = "{simulator.address}"\n'
            return table, {}
        token = request.getfixturevalue("make_token")()
        token.make("rsa:2048", "key", "01")
        table = f'type = "pkcs11"\nmodule_path = "{token.module}"\ntoken_label = "{token.label}"\n'
        return table + 'pin_env = "TOKEN_PIN"\n', {**token.environ, "TOKEN_PIN": token.pin}

    return make


@pytest.mark.parametrize(
    "kind", ["pkcs11", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("file", "tpm"))]
)
def test_a_certificate_of_a_stored_key_logs_in(
    start_agent: Any,
    store_table: Callable[[str], tuple[str, dict[str, str]]],
    tmp_path: Path,
    kind: str,
    wait: Wait,
    require_program: Callable[[str], str],
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir(mode=0o700)
    keygen("-t", "ed25519", "-N", "", "-C", "spare", "-f", str(aside / "spare"))
    certificate = aside / "user-cert.pub"
    table, environ = store_table(kind)
    spare = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{aside}/spare"]\n'
    config = f'{spare}[[stores]]\n{table}certificates = ["{certificate}"]\n'
    agent = start_agent(config, environ, "--workers", "2")
    if kind == "tpm":
        named = ("--config", str(agent.config), "--store", "tpm", "--label", "key")
        assert agent.client("keys", "create", *named).returncode == 0
        agent.process.send_signal(signal.SIGHUP)
    wait(lambda: len(agent.identities()) == 2, "the store's key is not listed")
    sshd = sshd_command(aside, require_program("sshd"))
    keygen("-t", "ed25519", "-N", "", "-C", "authority", "-f", str(aside / "authority"))
    assert log_in(agent, aside, sshd).returncode == 255, "no certificate yet, and it got in"
    public = encode_public_line(parse_public_key(agent.find("key")), "key")
    (aside / "user.pub").write_text(public + "\n")
    principals = ("-I", "trial", "-n", getpass.getuser())
    keygen("-s", str(aside / "authority"), *principals, str(aside / "user.pub"))
    agent.process.send_signal(signal.SIGHUP)
    wait(lambda: len(agent.identities()) == 3, "the certificate is not offered")
    settle(agent.address)
    done = log_in(agent, aside, sshd)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert "Accepted certificate ID" in (aside / "sshd.log").read_text()
