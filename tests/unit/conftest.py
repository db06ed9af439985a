"""Folders that stand for hosts, and the real exporter run on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fleetmdm.exporters.bundle import stand_alone

MACHINE_ID = "0123456789abcdef0123456789abcdef"

OS_RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'

HARDENED: Mapping[str, str] = {
    "etc/machine-id": MACHINE_ID + "\n",
    "etc/hostname": "hardened\n",
    "etc/os-release": OS_RELEASE,
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n"
    "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    "ada:x:1000:1000:Ada:/home/ada:/bin/bash\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:!:19700:0:365:7:::\ndaemon:*:19700:::::\nada:$y$j9T$s$h:19700:0:365:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/sudoers": "Defaults use_pty\nDefaults logfile=/var/log/sudo.log\n"
    "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "etc/sudoers.d/README": "# nothing\n",
    "etc/login.defs": "PASS_MAX_DAYS\t365\nPASS_MIN_DAYS\t1\nPASS_WARN_AGE\t7\n"
    "UMASK\t\t027\nENCRYPT_METHOD YESCRYPT\n",
    "etc/pam.d/common-auth": "auth required pam_faillock.so preauth\n"
    "auth [success=1 default=ignore] pam_unix.so\n",
    "etc/pam.d/common-password": "password requisite pam_pwquality.so retry=3\n"
    "password required pam_pwhistory.so remember=24\n"
    "password [success=1 default=ignore] pam_unix.so yescrypt\n",
    "etc/security/pwquality.conf": "# length\nminlen = 14\n",
    "etc/security/limits.conf": "* hard core 0\n",
    "etc/systemd/coredump.conf": "[Coredump]\nStorage=none\n",
    "etc/apt/apt.conf.d/20auto-upgrades": 'APT::Periodic::Update-Package-Lists "1";\n'
    'APT::Periodic::Unattended-Upgrade "1";\n',
    "etc/apt/apt.conf.d/20auto-upgrades.dpkg-old": 'APT::Periodic::Unattended-Upgrade "0";\n',
    "etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service": "",
    "etc/systemd/system/sysinit.target.wants/nftables.service": "",
    "etc/systemd/system/multi-user.target.wants/auditd.service": "",
    "etc/systemd/system/multi-user.target.wants/rsyslog.service": "",
    "etc/fstab": "/dev/sda1 / ext4 defaults 0 1\n"
    "tmpfs /tmp tmpfs nodev,nosuid,noexec 0 0\n"
    "tmpfs /dev/shm tmpfs nodev,nosuid,noexec 0 0\n",
    "etc/sysctl.d/90-hardening.conf": "kernel.randomize_va_space = 2\n"
    "kernel.yama.ptrace_scope = 1\n"
    "kernel.kptr_restrict = 2\n"
    "kernel.dmesg_restrict = 1\n"
    "fs.suid_dumpable = 0\n"
    "fs.protected_hardlinks = 1\n"
    "fs.protected_symlinks = 1\n"
    "net.ipv4.ip_forward = 0\n"
    "net.ipv4.tcp_syncookies = 1\n"
    "net.ipv4.icmp_echo_ignore_broadcasts = 1\n"
    "net/ipv4/icmp_ignore_bogus_error_responses = 1\n"
    "net.ipv4.conf.all.accept_redirects = 0\n"
    "net.ipv4.conf.default.accept_redirects = 0\n"
    "net.ipv4.conf.all.accept_source_route = 0\n"
    "net.ipv4.conf.default.accept_source_route = 0\n"
    "net.ipv4.conf.all.send_redirects = 0\n"
    "net.ipv4.conf.default.send_redirects = 0\n"
    "net.ipv4.conf.all.rp_filter = 1\n"
    "-net.ipv4.conf.default.rp_filter = 1\n",
    "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config.d/*.conf\n"
    "UsePAM yes\nX11Forwarding yes\nBanner /etc/issue.net\n"
    "Ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com\n"
    "MACs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com\n"
    "KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org\n",
    "etc/ssh/sshd_config.d/10-hard.conf": "PermitRootLogin no\nPasswordAuthentication no\n"
    "KbdInteractiveAuthentication no\nX11Forwarding no\nMaxAuthTries 4\nLoginGraceTime 1m\n"
    "ClientAliveInterval 15\nClientAliveCountMax 3\nDisableForwarding yes\n"
    "AllowGroups ssh-users\nLogLevel VERBOSE\nMaxStartups 10:30:60\nGSSAPIAuthentication no\n",
    "var/lib/dpkg/status": "Package: openssh-server\nStatus: install ok installed\n"
    "Version: 1:9.2p1-2+deb12u10\n\n"
    "Package: unattended-upgrades\nStatus: install ok installed\nVersion: 2.9.1+nmu3\n\n"
    "Package: telnet\nStatus: deinstall ok config-files\nVersion: 1\n\n"
    "Package: sudo\nStatus: install ok installed\nVersion: 1.9.13p3-1+deb12u1\n",
    "proc/self/mountinfo": "27 1 254:1 / / rw,relatime - ext4 /dev/mapper/vg-root rw\n"
    "28 27 0:30 / /tmp rw,nodev,nosuid,noexec - tmpfs tmpfs rw\n"
    "29 27 0:31 / /dev/shm rw,nodev,nosuid,noexec - tmpfs tmpfs rw\n",
    "proc/net/tcp": "  sl  local_address rem_address   st\n"
    "   0: 00000000:0016 00000000:0000 0A 0 0\n"
    "   1: 0100007F:0CEA 00000000:0000 0A 0 0\n"
    "   2: 0100007F:0CEA 0100007F:D431 01 0 0\n",
    # LVM on LUKS: dm-1 (the root) lies on dm-0 (the crypt device), which lies on a partition.
    "sys/devices/virtual/block/dm-1/dm/uuid": "LVM-abcdef\n",
    "sys/devices/virtual/block/dm-1/slaves/dm-0": "",
    "sys/devices/virtual/block/dm-0/dm/uuid": "CRYPT-LUKS2-0011-sda3_crypt\n",
    "sys/devices/virtual/block/dm-0/slaves/sda3": "",
    "sys/module/apparmor/parameters/enabled": "Y\n",
    "sys/class/tpm/tpm0/tpm_version_major": "2\n",
    "run/utmp": "",
}
"""A host that passes every policy of the library, but for the bytes of its EFI variables."""

WEAK: Mapping[str, str] = {
    "etc/machine-id": MACHINE_ID[::-1] + "\n",
    "etc/hostname": "weak\n",
    "etc/os-release": OS_RELEASE,
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n"
    "old:hash:1000:1000::/home/old:/bin/bash\nsvc:x:200:200::/srv:/bin/bash\n",
    "etc/group": "root:x:0:\n",
    "etc/shadow": "root:$1$salt$hash:19700:::::\ntoor::19700:::::\nsvc:$6$s$h:19700:::::\n",
    "etc/gshadow": "root:*::\n",
    "etc/sudoers": "Defaults !authenticate\nroot ALL=(ALL) ALL\n#includedir /etc/sudoers.d\n",
    "etc/sudoers.d/deploy": "deploy ALL=(ALL) \\\n  NOPASSWD: ALL\n",
    "etc/sudoers.d/off.bak": "other ALL=(ALL) NOPASSWD: ALL\n",
    "etc/login.defs": "PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nENCRYPT_METHOD MD5\n",
    "etc/pam.d/common-auth": "auth [success=1 default=ignore] pam_unix.so nullok\n",
    "etc/pam.d/common-password": "password [success=1 default=ignore] pam_unix.so\n",
    "etc/security/limits.conf": "# nothing\n",
    "etc/apt/apt.conf.d/20auto-upgrades": 'APT::Periodic::Unattended-Upgrade "0";\n',
    "etc/systemd/system/multi-user.target.wants/ssh.service": "",
    "etc/sysctl.conf": "kernel.randomize_va_space = 0\n"
    "kernel.yama.ptrace_scope = 0\n"
    "kernel.kptr_restrict = 0\n"
    "kernel.dmesg_restrict = 0\n"
    "fs.suid_dumpable = 1\n"
    "fs.protected_hardlinks = 0\n"
    "fs.protected_symlinks = 0\n"
    "net.ipv4.ip_forward = 1\n"
    "net.ipv4.tcp_syncookies = 0\n"
    "net.ipv4.icmp_echo_ignore_broadcasts = 0\n"
    "net.ipv4.icmp_ignore_bogus_error_responses = 0\n"
    "net.ipv4.conf.all.accept_redirects = 1\n"
    "net.ipv4.conf.default.accept_redirects = 1\n"
    "net.ipv4.conf.all.accept_source_route = 1\n"
    "net.ipv4.conf.default.accept_source_route = 1\n"
    "net.ipv4.conf.all.send_redirects = 1\n"
    "net.ipv4.conf.default.send_redirects = 1\n"
    "net.ipv4.conf.all.rp_filter = 0\n"
    "net.ipv4.conf.default.rp_filter = 0\n",
    "etc/ssh/sshd_config": "PermitRootLogin no\nPasswordAuthentication yes\n"
    "PermitEmptyPasswords yes\nHostbasedAuthentication yes\nIgnoreRhosts no\n"
    "PermitUserEnvironment yes\nX11Forwarding yes\nMaxAuthTries 10\nLoginGraceTime 0\n"
    "ClientAliveInterval 0\nUsePAM no\nLogLevel QUIET\nMaxSessions 100\nMaxStartups 100:30:200\n"
    "GSSAPIAuthentication yes\nStrictModes no\n"
    "Ciphers +aes128-cbc,3des-cbc\nMACs hmac-md5,hmac-sha2-256\n"
    "KexAlgorithms diffie-hellman-group1-sha1\n"
    "Match Address 10.0.0.0/8\n  PermitRootLogin yes\n",
    "var/lib/dpkg/status": "Package: telnetd\nStatus: install ok installed\nVersion: 0.17\n\n"
    "Package: openssh-server\nStatus: install ok installed\nVersion: 1:9.2p1-2\n",
    "proc/self/mountinfo": "27 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "29 27 0:31 / /dev/shm rw,relatime - tmpfs tmpfs rw\n",
    "proc/net/tcp": "  sl  local_address rem_address   st\n"
    "   0: 00000000:0017 00000000:0000 0A 0 0\n",
    "sys/devices/pci/block/sda/sda1/partition": "1\n",
    "sys/module/apparmor/parameters/enabled": "N\n",
    "etc/selinux/config": "SELINUX=permissive\n",
    "sys/class/net/lo": "",
    "run/reboot-required": "",
}
"""A host that fails every policy of the library."""

LINKS: Mapping[str, Mapping[str, str]] = {
    "hardened": {
        "sys/dev/block/254:1": "../../devices/virtual/block/dm-1",
        "sys/class/block/dm-1": "../../devices/virtual/block/dm-1",
        "sys/class/block/dm-0": "/sys/devices/virtual/block/dm-0",
        "sys/class/block/sda3": "/sys/devices/none",
        "etc/localtime": "/usr/share/zoneinfo/UTC",
    },
    "weak": {
        "sys/dev/block/8:1": "../../devices/pci/block/sda/sda1",
        "sys/class/block/sda1": "../../devices/pci/block/sda/sda1",
        "sys/class/block/sda": "../../devices/pci/block/sda",
    },
}
EFI_VARIABLE = "sys/firmware/efi/efivars/{}-8be4df61-93ca-11d2-aa0d-00e098032b8c"
ATTRIBUTES = b"\x06\0\0\0"

WriteTree = Callable[[Path, Mapping[str, str]], Path]
Export = Callable[..., dict[str, Any]]


@pytest.fixture
def write_tree() -> WriteTree:
    """Write files, given as relative path -> text, below a folder."""
    return _write_tree


def _make_certificate(path: Path, *, days: int) -> None:
    """A self-signed certificate that expires so many days from now."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "host")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.sign(key, None).public_bytes(Encoding.PEM))


def _write_tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    return root


def _link(root: Path, links: Mapping[str, str]) -> None:
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


@pytest.fixture
def hardened_root(tmp_path: Path) -> Path:
    """A folder that stands for a well-kept host."""
    root = _write_tree(tmp_path / "hardened", HARDENED)
    _link(root, LINKS["hardened"])
    for name, value in (("SecureBoot", b"\x01"), ("SetupMode", b"\x00")):
        place = root / EFI_VARIABLE.format(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(ATTRIBUTES + value)
    for name, mode in (("shadow", 0o640), ("gshadow", 0o640), ("sudoers", 0o440)):
        (root / "etc" / name).chmod(mode)
    (root / "etc/ssh/sshd_config").chmod(0o600)
    _make_certificate(root / "etc/ssl/certs/host.pem", days=3650)
    return root


@pytest.fixture
def weak_root(tmp_path: Path) -> Path:
    """A folder that stands for a neglected host."""
    root = _write_tree(tmp_path / "weak", WEAK)
    _link(root, LINKS["weak"])
    for name, value in (("SecureBoot", b"\x00"), ("SetupMode", b"\x01")):
        place = root / EFI_VARIABLE.format(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(ATTRIBUTES + value)
    _make_certificate(root / "etc/ssl/host.crt", days=5)
    for name in ("etc/passwd", "etc/group", "etc/shadow", "etc/ssh/sshd_config"):
        (root / name).chmod(0o666)
    return root


@pytest.fixture(scope="session")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-alone exporter as a file."""
    path = tmp_path_factory.mktemp("exporter") / "linux.py"
    path.write_text(stand_alone("linux"))
    return path


@pytest.fixture
def export(exporter: Path) -> Export:
    """Run the stand-alone exporter and answer its document."""

    def run(root: Path, *arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-I", exporter, "--root", str(root), *arguments],
            capture_output=True,
            check=False,
            timeout=60,
            env={"PATH": os.defpath},
        )
        assert done.returncode == 0, done.stderr.decode()
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return run
