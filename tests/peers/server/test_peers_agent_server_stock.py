"""OpenSSH's own programs against our agent: what they list, sign with, verify and log in with."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
WORKERS = (1, 2)


@pytest.fixture(params=WORKERS)
def service(
    request: pytest.FixtureRequest,
    start_service: Callable[..., Any],
    key_files: dict[str, Path],
    require_program: Callable[[str], str],
) -> Any:
    require_program("ssh-add")
    flags = [flag for path in key_files.values() for flag in ("--key", path)]
    return start_service(*flags, workers=request.param)


def test_ssh_add_lists_every_key_by_comment(service: Any) -> None:
    listed = service.ssh_add("-l")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[2] for line in listed.stdout.splitlines()] == sorted(KINDS)


def test_ssh_add_prints_the_very_public_keys(service: Any, key_files: dict[str, Path]) -> None:
    listed = service.ssh_add("-L")
    wanted = {path.with_suffix(".pub").read_text().strip() for path in key_files.values()}
    assert set(listed.stdout.splitlines()) == wanted


def test_ssh_add_tests_every_key(service: Any, key_files: dict[str, Path]) -> None:
    # `-T` signs with flags 0 and verifies; for RSA too.
    tested = service.ssh_add("-T", *(f"{path}.pub" for path in key_files.values()))
    assert tested.returncode == 0, tested.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_keygen_signs_and_verifies(
    service: Any, key_files: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    public = key_files[kind].with_suffix(".pub")
    signed = service.tool(
        "ssh-keygen", "-Y", "sign", "-U", "-f", str(public), "-n", "test", stdin="words\n"
    )
    assert signed.returncode == 0, signed.stderr
    (tmp_path / "words.sig").write_text(signed.stdout)
    (tmp_path / "allowed").write_text(f"ada {public.read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "ada"]
    verify += ["-n", "test", "-s", str(tmp_path / "words.sig")]
    good = service.tool(*verify, stdin="words\n")
    assert good.returncode == 0, good.stderr
    assert service.tool(*verify, stdin="other words\n").returncode != 0


@dataclass(frozen=True)
class Host:
    """A real sshd on a loopback port, with the options that reach it."""

    options: tuple[str, ...]


@pytest.fixture
def host(
    tmp_path: Path, key_files: dict[str, Path], require_program: Callable[[str], str]
) -> Iterator[Host]:
    """An sshd that trusts every key of `key_files`."""
    folder = tmp_path / "sshd"
    folder.mkdir(mode=0o700)
    keygen = require_program("ssh-keygen")
    host_key = folder / "host"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", host_key], check=True)
    lines = [path.with_suffix(".pub").read_text() for path in key_files.values()]
    (folder / "authorized").write_text("".join(lines))
    port = free_port()
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {host_key}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPermitRootLogin yes\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    command = [require_program("sshd"), "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {host_key.with_suffix('.pub').read_text()}")
    try:
        end = time.monotonic() + 60
        while b"Server listening" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.02)
        yield Host(
            (
                *("-F", "none", "-p", str(port), "-o", f"UserKnownHostsFile={known}"),
                *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "127.0.0.1"),
            )
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_logs_in_with_each_kind_of_key(
    service: Any, host: Host, key_files: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    # Only the public half is at hand, so the private one can only be the agent's.
    public = tmp_path / "only.pub"
    public.write_text(key_files[kind].with_suffix(".pub").read_text())
    logged_in = service.tool("ssh", "-i", str(public), *host.options, "echo", "in")
    assert (logged_in.returncode, logged_in.stdout) == (0, "in\n"), logged_in.stderr
