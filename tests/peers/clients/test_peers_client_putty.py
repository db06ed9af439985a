"""PuTTY's plink, pscp and psftp, which take our agent for Pageant."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]


@pytest.fixture
def putty(run_client: Run, hosts: Any) -> Run:
    """Run one of PuTTY's programs in batch mode; it knows the host by its fingerprint."""
    digest = hashlib.sha256(base64.b64decode(hosts.host_key.split()[1])).digest()
    fingerprint = "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def run(program: str, *arguments: str | Path, stdin: str = "") -> Any:
        known = ("-batch", "-agent", "-hostkey", fingerprint, "-l", hosts.user)
        return run_client(program, *known, "-P", str(hosts.port), *arguments, stdin=stdin)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_plink_logs_in_with_the_key_that_the_host_trusts(putty: Run, hosts: Any, kind: str) -> None:
    assert putty("plink", "-no-antispoof", hosts.only[kind], "echo in").stdout == "in\n"


def test_plink_logs_in_with_the_key_that_its_user_names(
    putty: Run, hosts: Any, public_file: Callable[[str], Path]
) -> None:
    named = ("-v", "-i", public_file("p521"), hosts.addresses[0], "echo in")
    done = putty("plink", "-no-antispoof", *named)
    assert done.stdout == "in\n"
    assert done.stderr.count("Trying Pageant key") == 1


def test_plink_forwards_the_agent(putty: Run, hosts: Any) -> None:
    done = putty("plink", "-no-antispoof", "-A", hosts.addresses[5], "ssh-add -l")
    assert [line.split()[2] for line in done.stdout.splitlines()] == sorted(KINDS)


def test_pscp_and_psftp_copy_there_and_back(putty: Run, hosts: Any, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("words\n")
    host = hosts.addresses[6]
    putty("pscp", tmp_path / "here", f"{host}:{tmp_path}/there")
    putty("psftp", "-b", "/dev/stdin", host, stdin=f"get {tmp_path}/there {tmp_path}/back\n")
    assert (tmp_path / "back").read_text() == "words\n"
