"""Print one device document that describes this Linux host as JSON (docs/collect.md lists the keys).

`fleetmdm export-collector linux` prints this and its parts as one stand-alone file, to be copied to
a host or fed to `python3 -`. With `--root DIR` every path is taken below DIR, links included, so a
folder can stand for a host; what only a running kernel knows is then listed as unread. The rules
in `host` hold.
"""

import argparse
import hashlib
import hmac
import json
import os
import signal
import sys
import uuid
from datetime import datetime, timezone
from typing import Callable, Optional, Sequence, Tuple

from fleetmdm.exporters.host import Facts, Host, UnreadError
from fleetmdm.exporters.linux_access import (
    read_core_dumps,
    read_files,
    read_listening,
    read_password_policy,
    read_sudo,
    read_users,
)
from fleetmdm.exporters.linux_certificates import read_certificates
from fleetmdm.exporters.linux_sshd import read_sshd
from fleetmdm.exporters.linux_storage import (
    read_disk_encryption,
    read_mac,
    read_mounts,
    read_secure_boot,
    read_tpm,
)
from fleetmdm.exporters.linux_system import (
    read_auto_update,
    read_firewall,
    read_kernel,
    read_os,
    read_packages,
    read_services,
    read_sysctl,
    read_time_sync,
    read_updates,
)

EXPORTER_VERSION = 1
APPLICATION_ID = bytes.fromhex("b3f0a64c6f5d4e0c9a7f0d4c3c1b5e21")
"""Ours alone: machine-id(5) asks that the raw machine id is never given away."""
EXIT_NO_IDENTITY = 3
MAX_IDENTIFIER = 255
MAX_RUN_S = 300
"""A run ends by itself, for whoever asked for it may have gone away."""

READERS: Tuple[Tuple[str, Callable[[Host], Facts]], ...] = (
    ("os_release", read_os),
    ("kernel", read_kernel),
    ("packages", read_packages),
    ("updates", read_updates),
    ("auto_update", read_auto_update),
    ("services", read_services),
    ("time_sync", read_time_sync),
    ("firewall", read_firewall),
    ("sysctl", read_sysctl),
    ("mounts", read_mounts),
    ("disk_encryption", read_disk_encryption),
    ("secure_boot", read_secure_boot),
    ("tpm", read_tpm),
    ("mac", read_mac),
    ("users", read_users),
    ("sudo", read_sudo),
    ("password_policy", read_password_policy),
    ("files", read_files),
    ("core_dumps", read_core_dumps),
    ("listening", read_listening),
    ("certificates", read_certificates),
    ("sshd", read_sshd),
)


def read_machine_id(host: Host) -> str:
    """A stable id that does not give the machine id away: sd_id128_get_machine_app_specific(3)."""
    text = host.read("/etc/machine-id").strip()
    if len(text) != 32 or text.strip("0123456789abcdef") or not text.strip("0"):
        raise UnreadError("malformed")  # "uninitialized" in an image that has not booted yet
    digest = bytearray(hmac.new(bytes.fromhex(text), APPLICATION_ID, hashlib.sha256).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def plain_text(text: str) -> str:
    """A text as a document's own fields may hold it: printable, no blanks at an end, bounded."""
    printable = "".join(mark for mark in text if mark.isprintable())
    return printable.strip()[:MAX_IDENTIFIER].strip()


def read_hostname(host: Host) -> str:
    """The name that the host gives itself."""
    try:
        lines = host.lines("/etc/hostname")
    except UnreadError as error:
        if not host.live:
            host.miss("hostname", error.reason)
        lines = []
    name = lines[0] if lines else os.uname().nodename if host.live else ""
    return plain_text(name) or "unknown"


def read_serial(host: Host) -> Optional[str]:
    """The maker's serial number; the kernel shows it to root alone."""
    try:
        return plain_text(host.read("/sys/class/dmi/id/product_serial")) or None
    except UnreadError as error:
        host.miss("serial", error.reason)
        return None


def read_facts(host: Host) -> Facts:
    """Every fact that can be read; the others are in `host.unread`."""
    facts: Facts = {}
    for key, reader in READERS:
        try:
            facts[key] = reader(host)
        except UnreadError as error:
            host.miss(key, error.reason)
        except Exception as error:  # noqa: BLE001 - one fact's bug must not cost all the others
            host.miss(key, "internal_" + type(error).__name__)
    # No standard on a server says what these are; a desktop's reader would be a part of its own.
    host.miss("screen_lock", "not_supported")
    host.miss("mdm_enrolment", "not_applicable")
    facts["exporter"] = {
        "name": "linux",
        "version": EXPORTER_VERSION,
        "privileged": host.privileged,
        "under_root": not host.live,
    }
    return facts


def describe(host: Host, device_id: str, tags: Sequence[str], now: datetime) -> Facts:
    """The device document."""
    hostname, serial, facts = read_hostname(host), read_serial(host), read_facts(host)
    document: Facts = {
        "device_id": device_id,
        "hostname": hostname,
        "os": "linux",
        "os_version": plain_text(facts.get("os_release", {}).get("version_id", "")) or "unknown",
        "serial": serial,
        "last_seen": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "facts": facts,
    }
    if tags:
        document["tags"] = list(tags)
    facts["unread"] = sorted(host.unread, key=lambda each: each["key"])
    return document


def parse_arguments(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    """The options of the command line; exits 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="linux.py", description="Print one JSON document that describes this Linux host."
    )
    parser.add_argument("--root", default="/", metavar="DIR", help="describe what lies below DIR")
    parser.add_argument("--device-id", metavar="ID", help="instead of one made of the machine id")
    parser.add_argument("--tags", default="", metavar="A,B", help="tags for the device")
    parser.add_argument("--pretty", action="store_true", help="indent the document")
    arguments = parser.parse_args(argv)
    if not os.path.isdir(arguments.root):
        parser.error("no such folder: " + arguments.root)
    return arguments


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the document; answers the exit status."""
    arguments = parse_arguments(argv)
    signal.alarm(MAX_RUN_S)
    host = Host(arguments.root)
    try:
        device_id = arguments.device_id or read_machine_id(host)
    except UnreadError as error:
        text = "linux.py: no_identity: /etc/machine-id: %s; give --device-id\n"
        sys.stderr.write(text % error.reason)
        return EXIT_NO_IDENTITY
    tags = sorted({tag.strip() for tag in arguments.tags.split(",") if tag.strip()})
    document = describe(host, device_id, tags, datetime.now(timezone.utc))
    indent = 2 if arguments.pretty else None
    sys.stdout.write(json.dumps(document, sort_keys=True, indent=indent) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
