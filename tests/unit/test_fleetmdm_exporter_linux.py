"""The Linux exporter: what it reads of a folder that stands for a host, and what it admits."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.device import parse_device
from fleetmdm.exporters.bundle import stand_alone
from fleetmdm.exporters.host import MAX_TEXT, Host, UnreadError
from fleetmdm.exporters.linux import read_machine_id
from fleetmdm.exporters.linux_sshd import read_sshd, sshd_algorithms, sshd_value, sshd_words

Tree = Callable[[Path, Mapping[str, str]], Path]
Export = Callable[..., dict[str, Any]]


def unread(document: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["reason"] for each in document["facts"]["unread"]}


def test_the_joined_exporter_is_python_3_6_and_imports_nothing_but_the_standard_library() -> None:
    source = stand_alone("linux")
    tree = ast.parse(source, feature_version=(3, 6))
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert modules <= sys.stdlib_module_names
    assert not modules & {"ssl", "urllib", "http", "ctypes", "pickle"}
    assert "shell=True" not in source


def test_the_exporter_reads_stdin_as_source_and_prints_one_valid_device_document(
    hardened_root: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-", f"--root={hardened_root}", "--tags=web,db,web"],
        input=stand_alone("linux").encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    device = parse_device(json.loads(done.stdout), now=datetime.now(UTC))
    assert done.stdout.count(b"\n") == 1
    assert (device.hostname, device.os, device.os_version) == ("hardened", "linux", "12")
    assert device.tags == ("db", "web")
    assert device.serial is None


def test_the_live_machine_gives_a_valid_document(exporter: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", exporter, "--device-id", "here"],
        capture_output=True,
        check=True,
        timeout=120,
    )
    device = parse_device(json.loads(done.stdout), now=datetime.now(UTC))
    assert device.device_id == "here"
    assert device.facts["kernel"]["release"] == os.uname().release
    assert not [row for row in device.facts["unread"] if row["reason"].startswith("internal_")]


def test_a_well_kept_host_is_described_as_such(hardened_root: Path, export: Export) -> None:
    facts = export(hardened_root)["facts"]
    assert facts["disk_encryption"] == {"root": True}
    assert facts["secure_boot"] == {"enabled": True, "setup_mode": False}
    assert facts["tpm"] == {"present": True, "version": 2}
    assert facts["packages"]["versions"]["openssh-server"] == "1:9.2p1-2+deb12u10"
    assert facts["packages"]["legacy"] == []
    assert facts["auto_update"] == {"mechanism": "apt", "enabled": True}
    assert facts["time_sync"] == {"enabled": True, "services": ["systemd-timesyncd"]}
    assert facts["firewall"] == {"enabled": True, "services": ["nftables"]}
    assert facts["sudo"] == {
        "present": True,
        "nopasswd": [],
        "use_pty": True,
        "no_authenticate": False,
        "logfile": True,
    }
    assert facts["password_policy"]["min_length"] == 14
    assert facts["password_policy"]["max_days"] == 365
    assert facts["users"]["weak_hashes"] == []
    assert facts["files"]["shadow"]["mode"] == "0640"
    assert facts["core_dumps"] == {"limited": True, "storage": "none"}
    assert facts["listening"]["open_tcp_ports"] == [22]
    assert facts["listening"]["tcp"][1] == {"port": 3306, "address": "127.0.0.1"}
    assert facts["mounts"]["tmp"] == {
        "separate": True,
        "nodev": True,
        "nosuid": True,
        "noexec": True,
    }
    assert facts["sysctl"]["source"] == "configured"
    assert facts["sysctl"]["net"]["ipv4"]["icmp_ignore_bogus_error_responses"] == 1
    assert facts["sysctl"]["net"]["ipv4"]["conf"]["default"]["rp_filter"] == 1


def test_a_neglected_host_is_described_as_such(weak_root: Path, export: Export) -> None:
    facts = export(weak_root)["facts"]
    assert facts["disk_encryption"] == {"root": False}
    assert facts["secure_boot"] == {"enabled": False, "setup_mode": True}
    assert facts["packages"]["legacy"] == ["telnetd"]
    assert facts["users"]["uid0"] == ["root", "toor"]
    assert facts["users"]["duplicate_uids"] == [0]
    assert facts["users"]["empty_passwords"] == ["toor"]
    assert facts["users"]["weak_hashes"] == ["root"]
    assert facts["users"]["unshadowed"] == ["old"]
    assert facts["users"]["system_with_shell"] == ["svc"]
    assert facts["sudo"]["nopasswd"] == ["deploy"]
    assert facts["sudo"]["no_authenticate"] is True
    assert facts["files"]["shadow"]["other_write"] is True


def test_no_password_hash_leaves_the_host(weak_root: Path, export: Export) -> None:
    text = repr(export(weak_root))
    assert "$1$" not in text
    assert "$6$" not in text
    assert "'hash'" not in text


def test_what_only_a_kernel_knows_is_unread_below_a_root_without_one(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    root = write_tree(tmp_path / "bare", {"etc/machine-id": "a" * 32})
    document = export(root)
    reasons = unread(document)
    for key in ("secure_boot", "tpm", "disk_encryption", "listening", "mac.apparmor"):
        assert reasons[key] == "not_under_root", key
    assert reasons["os_release"] == "not_found"
    assert reasons["hostname"] == "not_found"
    assert reasons["screen_lock"] == "not_supported"
    assert document["os_version"] == "unknown"
    assert document["hostname"] == "unknown"
    assert document["facts"]["sshd"] == {"present": False}
    assert document["facts"]["kernel"]["release"] == os.uname().release


@pytest.mark.parametrize("text", ["", "uninitialized\n", "g" * 32, "0" * 32, "a" * 31])
def test_without_a_usable_machine_id_the_exporter_says_so_and_exits_3(
    tmp_path: Path, write_tree: Tree, exporter: Path, text: str
) -> None:
    root = write_tree(tmp_path / "host", {"etc/machine-id": text})
    done = subprocess.run(
        [sys.executable, exporter, "--root", root], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 3
    assert done.stdout == b""
    assert b"no_identity" in done.stderr
    assert b"--device-id" in done.stderr


def test_the_device_id_is_stable_and_hides_the_machine_id(tmp_path: Path, write_tree: Tree) -> None:
    root = write_tree(tmp_path / "host", {"etc/machine-id": "0123456789abcdef" * 2 + "\n"})
    identity = read_machine_id(Host(str(root)))
    assert identity == read_machine_id(Host(str(root)))
    assert uuid.UUID(identity).version == 4
    assert "0123456789abcdef" not in identity.replace("-", "")


def test_links_cannot_lead_out_of_the_root(tmp_path: Path, write_tree: Tree) -> None:
    write_tree(tmp_path, {"outside": "secret\n"})
    root = write_tree(tmp_path / "host", {"etc/inside": "fine\n"})
    (root / "etc/up").symlink_to("../../outside")
    (root / "etc/absolute").symlink_to("/etc/inside")
    (root / "etc/real").symlink_to(tmp_path / "outside")
    (root / "etc/loop").symlink_to("loop")
    host = Host(str(root))
    assert host.read("/etc/absolute") == "fine\n"
    for name in ("/etc/up", "/etc/real"):
        with pytest.raises(UnreadError, match="not_found"):
            host.read(name)
    with pytest.raises(UnreadError, match="malformed"):
        host.read("/etc/loop")


def test_reading_is_bounded_and_never_waits(tmp_path: Path) -> None:
    host = Host(str(tmp_path))
    (tmp_path / "long").write_bytes(b"x" * 100)
    with pytest.raises(UnreadError, match="too_large"):
        host.read("/long", 99)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadError, match="unreadable"):
        host.read("/pipe")
    with pytest.raises(UnreadError, match="unreadable"):
        host.read("/")


def test_a_program_that_is_missing_or_fails_is_a_reason() -> None:
    host = Host()
    with pytest.raises(UnreadError, match="tool_missing"):
        host.run(["/nonexistent/program"])
    with pytest.raises(UnreadError, match="tool_failed"):
        host.run(["false"])
    assert host.run(["printf", "said"]) == "said"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, with a file that nobody but root may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "closed").write_text("x")
        (Path(name) / "closed").chmod(0)
        yield Path(name)


@pytest.fixture
def no_rights(open_folder: Path) -> Iterator[None]:
    """Without root's right to read everything: another effective user for the while."""
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)
    yield
    os.seteuid(mine)


def test_a_file_that_may_not_be_read_is_a_reason(open_folder: Path, no_rights: None) -> None:
    with pytest.raises(UnreadError, match="permission_denied"):
        Host(str(open_folder)).read("/closed")


def sshd(root: Path, write_tree: Tree, text: str, **more: str) -> dict[str, Any]:
    files = {"etc/ssh/sshd_config": text}
    files.update({f"etc/ssh/sshd_config.d/{name}.conf": body for name, body in more.items()})
    return read_sshd(Host(str(write_tree(root, files))))


def test_the_first_value_of_a_keyword_wins_and_defaults_fill_the_rest(
    tmp_path: Path, write_tree: Tree
) -> None:
    facts = sshd(
        tmp_path, write_tree, "permitrootlogin = no\nPermitRootLogin yes\nPort 22\nPort 23\n"
    )
    assert facts["settings"]["permitrootlogin"] == "no"
    assert facts["settings"]["port"] == [22, 23]
    assert facts["settings"]["passwordauthentication"] == "yes"
    assert facts["explicit"] == ["permitrootlogin", "port"]
    assert facts["source"] == "file"


def test_included_files_stand_where_the_include_stands(tmp_path: Path, write_tree: Tree) -> None:
    facts = sshd(
        tmp_path,
        write_tree,
        "Include sshd_config.d/*.conf\nX11Forwarding yes\nMaxAuthTries 6\n",
        b="X11Forwarding no\nMaxAuthTries 3\n",
        a="MaxAuthTries 2\nMatch User git\n  X11Forwarding yes\n",
    )
    assert facts["settings"]["x11forwarding"] == "no"
    assert facts["settings"]["maxauthtries"] == 2


def test_match_blocks_stand_apart_and_show_in_what_is_possible(
    tmp_path: Path, write_tree: Tree
) -> None:
    facts = sshd(
        tmp_path,
        write_tree,
        'PermitRootLogin no\nMatch User "root" Address 10.0.0.0/8\n  PermitRootLogin yes\n'
        "Match all\n  PasswordAuthentication no\n",
    )
    assert facts["settings"]["permitrootlogin"] == "no"
    assert facts["possible"]["permitrootlogin"] == ["no", "yes"]
    assert facts["match_blocks"] == [
        {"criteria": "User root Address 10.0.0.0/8", "settings": {"permitrootlogin": "yes"}}
    ]
    assert facts["settings"]["passwordauthentication"] == "no"


def test_an_include_that_includes_itself_is_malformed(tmp_path: Path, write_tree: Tree) -> None:
    files = {"etc/machine-id": "a" * 32, "etc/ssh/sshd_config": "Include /etc/ssh/sshd_config\n"}
    host = Host(str(write_tree(tmp_path, files)))
    assert "settings" not in read_sshd(host)
    assert host.unread == [{"key": "sshd.settings", "reason": "malformed"}]


@pytest.mark.parametrize(
    ("keyword", "words", "value"),
    [
        ("permitrootlogin", ["without-password"], "prohibit-password"),
        ("usepam", ["YES"], "yes"),
        ("logingracetime", ["1m30s"], 90),
        ("logingracetime", ["2h"], 7200),
        ("maxauthtries", ["4"], 4),
        ("allowusers", ["ada", "bob@10.*"], ["ada", "bob@10.*"]),
        ("banner", ["/etc/Issue"], "/etc/Issue"),
    ],
)
def test_settings_have_the_type_that_policies_compare(
    keyword: str, words: list[str], value: object
) -> None:
    assert sshd_value(keyword, words) == value


@pytest.mark.parametrize(
    ("keyword", "word"), [("logingracetime", "soon"), ("maxauthtries", "many"), ("port", "ssh")]
)
def test_a_malformed_setting_is_unread_rather_than_guessed(keyword: str, word: str) -> None:
    with pytest.raises(UnreadError, match="malformed"):
        sshd_value(keyword, [word])


def test_algorithm_lists_add_remove_and_move(tmp_path: Path) -> None:
    assert sshd_algorithms("ciphers", "a,b") == ["a", "b"]
    assert sshd_algorithms("ciphers", "+3des-cbc")[-1] == "3des-cbc"
    assert sshd_algorithms("ciphers", "^aes256-ctr")[0] == "aes256-ctr"
    assert sshd_algorithms("macs", "-hmac-sha1*,umac-64*") == [
        "umac-128-etm@openssh.com",
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "umac-128@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    ]
    with pytest.raises(UnreadError, match="default_depends_on_version"):
        sshd_algorithms("kexalgorithms", "-curve25519-sha256")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ("", [])),
        ("# PermitRootLogin yes", ("", [])),
        ("  UsePAM\tyes  # why", ("usepam", ["yes"])),
        ('Banner "/etc/my banner"', ("banner", ["/etc/my banner"])),
        ("ChallengeResponseAuthentication no", ("kbdinteractiveauthentication", ["no"])),
        ("UsePAM", ("", [])),
    ],
)
def test_lines_of_sshd_config_split_as_sshd_splits_them(
    line: str, words: tuple[str, list[str]]
) -> None:
    assert sshd_words(line) == words


def test_certificates_that_cannot_be_read_are_listed_and_keys_are_not(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    root = write_tree(
        tmp_path / "host",
        {
            "etc/machine-id": "a" * 32,
            "etc/ssl/certs/broken.pem": broken,
            "etc/ssl/certs/params.pem": "-----BEGIN DH PARAMETERS-----\n",
        },
    )
    document = export(root)
    reasons = {key: value for key, value in unread(document).items() if "certificates" in key}
    assert reasons == {"certificates./etc/ssl/certs/broken.pem": "malformed"}
    assert document["facts"]["certificates"] == {"count": 0, "items": []}


def test_lists_are_bounded_and_say_that_they_were_cut(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    folder = "etc/systemd/system/multi-user.target.wants"
    files = {f"{folder}/unit{number:03}.service": "" for number in range(250)}
    root = write_tree(tmp_path / "host", {"etc/machine-id": "a" * 32, **files})
    document = export(root)
    assert len(document["facts"]["services"]["enabled"]) == 200
    assert unread(document)["services.enabled"] == "truncated"


def test_hostile_names_do_not_break_the_document(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    root = write_tree(
        tmp_path / "host",
        {"etc/machine-id": "a" * 32, "etc/os-release": 'ID="' + "x" * 9999 + '"\nVERSION_ID=12\n'},
    )
    (root / "etc/passwd").write_bytes(
        b"\xff\xfe:x:notanumber:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n"
    )
    document = export(root)
    assert len(document["facts"]["os_release"]["id"]) == MAX_TEXT
    assert document["facts"]["users"]["uid0"] == ["root"]


def test_the_same_host_gives_the_same_facts_twice(hardened_root: Path, export: Export) -> None:
    first, second = export(hardened_root), export(hardened_root)
    assert first["facts"] == second["facts"]
    assert first["device_id"] == second["device_id"]


def test_the_vendors_bundle_of_authorities_is_left_out(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    shared = "usr/share/ca-certificates/mozilla/a.crt"
    root = write_tree(tmp_path / "host", {"etc/machine-id": "a" * 32, shared: "not read\n"})
    (root / "etc/ssl/certs").mkdir(parents=True)
    (root / "etc/ssl/certs/a.pem").symlink_to("/" + shared)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("not read\n")
    document = export(root)
    assert document["facts"]["certificates"] == {"count": 0, "items": []}
    assert not [key for key in unread(document) if key.startswith("certificates")]


def test_masked_units_do_not_start_and_ufw_may_be_there_but_off(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    wants = "etc/systemd/system/multi-user.target.wants"
    root = write_tree(
        tmp_path / "host",
        {
            "etc/machine-id": "a" * 32,
            f"{wants}/ufw.service": "",
            f"{wants}/chrony.service": "",
            "etc/ufw/ufw.conf": "ENABLED=no\n",
        },
    )
    (root / "etc/systemd/system/chrony.service").symlink_to("/dev/null")
    facts = export(root)["facts"]
    assert facts["firewall"] == {"enabled": False, "services": []}
    assert facts["time_sync"] == {"enabled": False, "services": []}
    (root / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    assert export(root)["facts"]["firewall"] == {"enabled": True, "services": ["ufw"]}


@pytest.mark.parametrize(
    ("uuid", "encrypted"),
    [
        ("CRYPT-LUKS2-1-x", True),
        ("CRYPT-LUKS1-1-x", True),
        ("CRYPT-PLAIN-x", True),
        ("CRYPT-VERITY-1-x", False),
        ("CRYPT-INTEGRITY-x", False),
        ("LVM-x", False),
    ],
)
def test_only_mappings_that_encrypt_count_as_encryption(
    tmp_path: Path, write_tree: Tree, export: Export, uuid: str, encrypted: bool
) -> None:
    root = write_tree(
        tmp_path / "host",
        {
            "etc/machine-id": "a" * 32,
            "proc/self/mountinfo": "27 1 253:0 / / rw - ext4 /dev/mapper/x rw\n",
            "sys/class/block/dm-0/dm/uuid": uuid + "\n",
            "sys/class/block/sda/size": "1\n",
        },
    )
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/253:0").symlink_to("../../class/block/dm-0")
    assert export(root)["facts"]["disk_encryption"] == {"root": encrypted}


def test_a_raid_counts_as_encrypted_when_all_its_disks_do(
    tmp_path: Path, write_tree: Tree, export: Export
) -> None:
    root = write_tree(
        tmp_path / "host",
        {
            "etc/machine-id": "a" * 32,
            "proc/self/mountinfo": "27 1 9:0 / / rw - ext4 /dev/md0 rw\n",
            "proc/swaps": "Filename Type\n/dev/dm-1  partition 1 0 -2\n/dev/zram0 partition 1 0 1\n",
            "sys/class/block/md0/slaves/dm-0": "",
            "sys/class/block/md0/slaves/dm-1": "",
            "sys/class/block/dm-0/dm/uuid": "CRYPT-LUKS2-a\n",
            "sys/class/block/dm-1/dm/uuid": "CRYPT-LUKS2-b\n",
        },
    )
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/9:0").symlink_to("../../class/block/md0")
    assert export(root)["facts"]["disk_encryption"] == {"root": True, "swap": True}
    (root / "sys/class/block/dm-1/dm/uuid").write_text("LVM-b\n")
    assert export(root)["facts"]["disk_encryption"] == {"root": False, "swap": False}
