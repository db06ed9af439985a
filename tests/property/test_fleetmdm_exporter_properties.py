"""Whatever stands in a host's files, the exporter gives a document and reasons, never a crash."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import parse_device
from fleetmdm.exporters.host import Host, UnreadError
from fleetmdm.exporters.linux import describe
from fleetmdm.exporters.linux_certificates import certificate_not_after
from fleetmdm.exporters.linux_sshd import read_sshd, sshd_words

FILES = (
    "etc/apt/apt.conf.d/20auto",
    "etc/dnf/automatic.conf",
    "etc/fstab",
    "etc/hostname",
    "etc/login.defs",
    "etc/os-release",
    "etc/pam.d/common-auth",
    "etc/passwd",
    "etc/security/limits.conf",
    "etc/security/pwquality.conf",
    "etc/selinux/config",
    "etc/shadow",
    "etc/ssh/sshd_config",
    "etc/ssl/host.pem",
    "etc/sudoers",
    "etc/sysctl.d/x.conf",
    "etc/systemd/coredump.conf",
    "etc/ufw/ufw.conf",
    "proc/net/tcp",
    "proc/net/tcp6",
    "proc/self/mountinfo",
    "proc/swaps",
    "sys/class/block/vda/dm/uuid",
    "sys/class/dmi/id/product_serial",
    "sys/class/tpm/tpm0/tpm_version_major",
    "sys/dev/block/254:1/x",
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "var/lib/dpkg/status",
)
PIECES = (
    "Package: a",
    "Status: install ok installed",
    "Version: 1",
    "root:x:0:0:::/bin/sh",
    "root:$1$a:1:::::",
    "Defaults !authenticate",
    "#include sudoers",
    "@includedir /etc",
    "x ALL=NOPASSWD: ALL",
    "Include *",
    "Match User x",
    "Port x",
    "LoginGraceTime 1x",
    "Ciphers +a,b",
    'Banner ""',
    "AllowUsers",
    "PASS_MAX_DAYS",
    "minlen = 9",
    "* hard core 0",
    "kernel.randomize_va_space",
    "a=b=c",
    "0: 0100007F:0016 0:0 0A",
    "0: xyz:zzzz 0:0 0A",
    "27 1 254:1 / / rw - ext4 /dev/vda rw",
    "27 1 254:1 / /",
    "/dev/vda partition 1 0 -2",
    "-----BEGIN CERTIFICATE-----",
    "MIIBAAAA",
    "-----END CERTIFICATE-----",
    "2",
    "",
)
lines = st.one_of(st.sampled_from(PIECES), st.text(max_size=20))
contents = st.one_of(
    st.lists(lines, max_size=6).map(lambda rows: "\n".join(rows).encode("utf-8", "replace")),
    st.binary(max_size=60),
)


@given(files=st.dictionaries(st.sampled_from(FILES), contents, min_size=1, max_size=len(FILES)))
def test_no_content_of_any_file_stops_the_exporter(files: dict[str, bytes]) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        host = Host(folder)
        document = json.loads(json.dumps(describe(host, "device", (), now)))
    bugs = [row for row in host.unread if row["reason"].startswith("internal_")]
    assert not bugs
    parse_device(document, now=now)


@given(line=st.text(max_size=60))
def test_every_line_of_sshd_config_splits_into_words(line: str) -> None:
    keyword, words = sshd_words(line)
    assert keyword == keyword.lower()
    assert all(isinstance(word, str) for word in words)


@given(text=st.lists(lines, max_size=8).map("\n".join))
def test_settings_are_always_among_what_is_possible(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "etc/ssh/sshd_config")
        path.parent.mkdir(parents=True)
        path.write_bytes(text.encode("utf-8", "replace"))
        facts = read_sshd(Host(folder))
    for keyword, values in facts.get("possible", {}).items():
        assert facts["settings"][keyword] in values


@given(data=st.binary(max_size=80))
def test_no_bytes_stop_the_reader_of_certificates(data: bytes) -> None:
    from base64 import b64encode

    pem = f"-----BEGIN CERTIFICATE-----\n{b64encode(data).decode()}\n-----END CERTIFICATE-----\n"
    try:
        moment = certificate_not_after(pem)
    except (UnreadError, ValueError, IndexError):
        return
    assert datetime.fromisoformat(moment).tzinfo is not None
