"""How a Linux host guards what it stores and starts: mounts, encryption, secure boot, TPM.

Part of the stand-alone exporter; the rules in `host` hold.
"""

import os
import re
from typing import Dict, List, Tuple

from fleetmdm.exporters.host import MAX_LINKS, Facts, Host, UnreadError, to_int

MOUNT_POINTS = {
    "root": "/",
    "tmp": "/tmp",  # noqa: S108 - a mount point to describe, nothing is written there
    "var_tmp": "/var/tmp",  # noqa: S108 - same
    "dev_shm": "/dev/shm",  # noqa: S108 - same
    "home": "/home",
    "var": "/var",
    "var_log": "/var/log",
}


def read_mounts(host: Host) -> Facts:
    """Mounted now; below a root without /proc, what its fstab asks for."""
    rows = _mount_rows(host)
    source = "running" if host.exists("/proc/self/mountinfo") else "configured"
    facts: Facts = {"source": source}
    for key, point in MOUNT_POINTS.items():
        options = rows[point][2] if point in rows else []
        flags = {name: name in options for name in ("nodev", "nosuid", "noexec")}
        facts[key] = dict(flags, separate=point in rows) if point in rows else {"separate": False}
    return facts


def _mount_rows(host: Host) -> Dict[str, Tuple[str, str, List[str]]]:
    """Mount point -> (major:minor or "", source, options); the uppermost mount of a point wins."""
    rows = {}
    if host.exists("/proc/self/mountinfo"):
        for line in host.read("/proc/self/mountinfo").splitlines():
            left, _, right = line.partition(" - ")
            a, b = left.split(), right.split()
            if len(a) >= 6 and len(b) >= 2:
                rows[a[4]] = (a[2], b[1], a[5].split(","))
    else:
        for line in host.lines("/etc/fstab"):
            fields = line.split()
            if len(fields) >= 4:
                rows[fields[1]] = ("", fields[0], fields[3].split(","))
    return rows


def read_disk_encryption(host: Host) -> Facts:
    """Device-mapper uuids, walked down to the disks: LVM on LUKS and RAID of LUKS count too."""
    if not host.exists("/sys/class/block"):
        raise UnreadError("not_under_root" if not host.live else "not_found")
    rows = _mount_rows(host)
    facts: Facts = {}
    for key in ("root", "home", "var"):
        if MOUNT_POINTS[key] in rows:
            number, source, _ = rows[MOUNT_POINTS[key]]
            try:
                facts[key] = _is_encrypted(host, _block_name(host, number, source), 0)
            except UnreadError as error:
                host.miss("disk_encryption." + key, error.reason)
    if host.exists("/proc/swaps"):
        devices = re.findall(r"^(/dev/(?!zram)\S+)", host.read("/proc/swaps"), re.MULTILINE)
        names = [os.path.basename(host.path(each)) for each in devices]
        if names:
            try:
                facts["swap"] = all(_is_encrypted(host, name, 0) for name in names)
            except UnreadError as error:
                host.miss("disk_encryption.swap", error.reason)
    return facts


def _block_name(host: Host, number: str, source: str) -> str:
    place = "/sys/dev/block/" + number
    if not host.exists(place):
        place = "/sys/class/block/" + os.path.basename(host.path(source))  # btrfs has no number
    if not source.startswith("/dev/") or not host.exists(place):
        raise UnreadError("no_block_device")
    return os.path.basename(host.path(place))


def _is_encrypted(host: Host, name: str, depth: int) -> bool:
    place = "/sys/class/block/" + name
    if depth > MAX_LINKS or not host.exists(place):
        raise UnreadError("no_block_device")
    if host.exists(place + "/dm/uuid"):
        uuid = host.read(place + "/dm/uuid")
        if re.match(r"CRYPT-(?!VERITY|INTEGRITY|SUBDEV)", uuid):
            return True
    below = host.names(place + "/slaves") if host.exists(place + "/slaves") else []
    if not below and host.exists(place + "/partition"):
        below = [os.path.basename(os.path.dirname(host.path(place)))]
    return bool(below) and all(_is_encrypted(host, each, depth + 1) for each in below)


def read_secure_boot(host: Host) -> Facts:
    """The firmware's SecureBoot and SetupMode variables (UEFI specification, 3.3)."""
    if not host.exists("/sys/firmware"):
        raise UnreadError("not_found" if host.live else "not_under_root")
    if not host.exists("/sys/firmware/efi"):
        raise UnreadError("no_efi")
    facts: Facts = {}
    for key, name in (("enabled", "SecureBoot"), ("setup_mode", "SetupMode")):
        place = "/sys/firmware/efi/efivars/" + name + "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
        data = host.read_bytes(place)  # four bytes of attributes, then the value
        if len(data) != 5:
            raise UnreadError("malformed")
        facts[key] = data[4] == 1
    return facts


def read_tpm(host: Host) -> Facts:
    """Whether the kernel has a TPM, and its major version."""
    if not host.exists("/sys/class"):
        raise UnreadError("not_found" if host.live else "not_under_root")
    place = "/sys/class/tpm/tpm0"
    facts: Facts = {"present": host.exists(place)}
    if facts["present"] and host.exists(place + "/tpm_version_major"):
        facts["version"] = to_int(host.read(place + "/tpm_version_major"))
    return facts


def read_mac(host: Host) -> Facts:
    """Mandatory access control: AppArmor of the running kernel, SELinux as configured."""
    facts: Facts = {}
    try:
        facts["apparmor"] = host.read("/sys/module/apparmor/parameters/enabled").strip() == "Y"
    except UnreadError as error:
        host.miss("mac.apparmor", error.reason)
    if host.exists("/etc/selinux/config"):
        mode = re.search(r"^SELINUX=(\w+)", host.read("/etc/selinux/config"), re.MULTILINE)
        facts["selinux"] = mode.group(1).lower() if mode else "unknown"
    return facts
