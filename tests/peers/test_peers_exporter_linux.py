"""The Linux exporter against the programs whose files it reads: sshd, openssl, systemd."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmdm.exporters.bundle import stand_alone
from fleetmdm.exporters.host import Host
from fleetmdm.exporters.linux import APPLICATION_ID, read_machine_id
from fleetmdm.exporters.linux_certificates import certificate_not_after
from fleetmdm.exporters.linux_sshd import read_sshd, sshd_value


def test_the_device_id_is_what_systemd_makes_of_the_machine_id(
    require_program: Callable[[str], str],
) -> None:
    if not Path("/etc/machine-id").is_file():
        pytest.skip("this machine has no /etc/machine-id")
    program = require_program("systemd-id128")
    application = APPLICATION_ID.hex()
    done = subprocess.run(
        [program, "machine-id", f"--app-specific={application}", "--uuid"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert read_machine_id(Host()) == done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run it as somebody else")
def test_whoever_runs_it_gets_a_document_and_is_told_what_needs_root() -> None:
    nobody = 65534
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-", "--device-id=here"],
        input=stand_alone("linux").encode(),
        capture_output=True,
        check=True,
        user=nobody,
        group=nobody,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath},
    )
    document = json.loads(done.stdout)
    reasons = {row["key"]: row["reason"] for row in document["facts"]["unread"]}
    assert document["facts"]["exporter"]["privileged"] is False
    assert reasons["users.empty_passwords"] == "permission_denied"
    assert reasons["firewall.input_drop"] == "permission_denied"
    assert not [reason for reason in reasons.values() if reason.startswith("internal_")]


SSHD_CONFIGS = [
    "",
    "PermitRootLogin without-password\nUsePAM yes\nPort 2222\nPort 2223\n",
    "LoginGraceTime 1h30m\nClientAliveInterval 5m\nMaxStartups 5:50:10\nBanner none\n",
    "Ciphers +aes128-cbc\nMACs -hmac-sha1*,umac*\n",
    "Ciphers ^aes256-gcm@openssh.com\nMACs +hmac-md5\nLogLevel VERBOSE\n",
    'X11Forwarding=yes\nAllowUsers ada bob\nAllowUsers "eve"\nGatewayPorts clientspecified\n',
    "MaxAuthTries 3\nMaxAuthTries 5\nMatch all\n  MaxSessions 2\nMatch User x\n  MaxAuthTries 9\n",
    "Include extra.conf\nPermitTunnel no\nAllowTcpForwarding local\n",
    "PasswordAuthentication no # said here\nPermitUserEnvironment LANG\nIgnoreRhosts shosts-only\n",
    "KexAlgorithms curve25519-sha256\nDisableForwarding yes\nStrictModes no\n",
]


EXTRA = "PermitTunnel yes\nMatch User y\n  PermitTunnel ethernet\n"


Effective = Callable[..., dict[str, list[str]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands for a host, so far with an included file alone."""
    folder = tmp_path / "root"
    (folder / "etc/ssh").mkdir(parents=True)
    (folder / "etc/ssh/extra.conf").write_text(EXTRA)
    return folder


@pytest.fixture
def effective(tmp_path: Path, root: Path, require_program: Callable[[str], str]) -> Effective:
    """What sshd itself makes of a configuration, for any or for one connection."""
    daemon, keygen = require_program("sshd"), require_program("ssh-keygen")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd run by root looks for it
    key = tmp_path / "key"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)

    def ask(text: str, *more: str) -> dict[str, list[str]]:
        copy = tmp_path / "copy"
        copy.write_text(text.replace("Include extra.conf", f"Include {root}/etc/ssh/extra.conf"))
        command = [daemon, "-T", "-f", str(copy), "-h", str(key), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found: dict[str, list[str]] = {}
        for row in done.stdout.splitlines():
            keyword, _, value = row.partition(" ")
            found.setdefault(keyword, []).append(value)
        return found

    return ask


@pytest.mark.parametrize("text", SSHD_CONFIGS)
def test_the_file_is_read_as_the_daemon_itself_reads_it(
    root: Path, effective: Effective, text: str
) -> None:
    (root / "etc/ssh/sshd_config").write_text(text)
    ours, theirs = read_sshd(Host(str(root))), effective(text)
    for keyword, value in ours["settings"].items():
        if keyword in theirs:
            assert value == sshd_value(keyword, theirs[keyword]), keyword
        else:
            # Empty lists are not printed, and not every build knows Kerberos.
            assert value == [] or keyword == "gssapiauthentication", keyword


@pytest.mark.parametrize("text", SSHD_CONFIGS)
@pytest.mark.parametrize("user", ["x", "y"])
def test_what_a_connection_gets_is_among_what_is_possible(
    root: Path, effective: Effective, text: str, user: str
) -> None:
    (root / "etc/ssh/sshd_config").write_text(text)
    ours = read_sshd(Host(str(root)))
    theirs = effective(text, "-C", f"user={user},host=h,addr=192.0.2.1")
    for keyword, values in ours["possible"].items():
        if keyword in theirs:
            assert sshd_value(keyword, theirs[keyword]) in values, keyword


def test_certificates_expire_when_openssl_says(
    tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    openssl = require_program("openssl")
    for days in (30, 20000):  # one in UTCTime, one beyond 2049 in GeneralizedTime
        made = tmp_path / f"{days}.pem"
        options = ["-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-days", str(days)]
        subprocess.run(
            [openssl, "req", "-x509", *options, "-keyout", tmp_path / "key", "-out", made],
            check=True,
            capture_output=True,
        )
        said = subprocess.run(
            [openssl, "x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in", made],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        expected = said.removeprefix("notAfter=").replace(" ", "T")
        assert certificate_not_after(made.read_text()) == expected
