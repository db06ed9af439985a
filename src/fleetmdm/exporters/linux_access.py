"""Who may do what on a Linux host: accounts, sudo, passwords, file modes, listening ports.

Part of the stand-alone exporter; the rules in `host` hold. No password hash is ever given away.
"""

import os
import re
import socket
import stat
import struct
from typing import List

from fleetmdm.exporters.host import (
    MAX_INCLUDE_DEPTH,
    MAX_OUTPUT_BYTES,
    Facts,
    Host,
    UnreadError,
    to_int,
)

MODE_FILES = (
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/ssh/sshd_config",
    "/etc/sudoers",
    "/etc/crontab",
)
NO_LOGIN_SHELLS = ("", "false", "halt", "nologin", "shutdown", "sync")
STRONG_HASHES = ("!", "*", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$gy$", "$y$")
"""crypt(5): what is left is DES, MD5 and their kin; a locked account has no hash to guess."""
FIRST_PERSON_UID = 1000
LISTENING_ROW = re.compile(r"\s*[0-9]+: ([0-9A-F]+):([0-9A-F]{1,4}) [0-9A-F:]+ 0A\b")
"""A row of /proc/net/tcp whose state is TCP_LISTEN (proc(5))."""


def read_users(host: Host) -> Facts:
    """Accounts of passwd(5), and of shadow(5) where it may be read."""
    rows = [line.split(":") for line in host.read("/etc/passwd").splitlines()]
    rows = [row for row in rows if len(row) == 7 and to_int(row[2]) is not None]
    uids = [int(row[2]) for row in rows]
    with_shell = [row for row in rows if os.path.basename(row[6]) not in NO_LOGIN_SHELLS]
    facts: Facts = {
        "count": len(rows),
        "uid0": sorted(row[0] for row in rows if int(row[2]) == 0),
        "duplicate_uids": sorted({uid for uid in uids if uids.count(uid) > 1}),
        "unshadowed": sorted(row[0] for row in rows if row[1] not in ("x", "*", "!", "!!")),
        "with_shell": sum(int(row[2]) >= FIRST_PERSON_UID for row in with_shell),
        "system_with_shell": sorted(
            row[0] for row in with_shell if 0 < int(row[2]) < FIRST_PERSON_UID
        ),
    }
    try:
        facts.update(_shadow_facts(host))
    except UnreadError as error:
        for key in ("empty_passwords", "weak_hashes", "root_locked"):
            host.miss("users." + key, error.reason)
    return facts


def _shadow_facts(host: Host) -> Facts:
    rows = [line.split(":") for line in host.read("/etc/shadow").splitlines()]
    known = {row[0]: row[1] for row in rows if len(row) >= 2}
    weak = [name for name, text in known.items() if text and not text.startswith(STRONG_HASHES)]
    return {
        "empty_passwords": sorted(name for name, text in known.items() if not text),
        "weak_hashes": sorted(weak),
        "root_locked": known.get("root", "").startswith(("!", "*")),
    }


def read_sudo(host: Host) -> Facts:
    """What sudoers(5) grants without a password, and the defaults that matter."""
    if not host.exists("/etc/sudoers"):
        return {"present": False}
    facts: Facts = {"present": True}
    rules = _sudo_rules(host, "/etc/sudoers", 0)
    defaults = [rule for rule in rules if rule.startswith("Defaults")]
    others = [rule for rule in rules if not rule.startswith("Defaults")]
    who = {rule.split()[0] for rule in others if re.search(r"\bNOPASSWD\s*:", rule)}
    facts["nopasswd"] = host.bounded("sudo.nopasswd", sorted(who))
    facts["use_pty"] = any(re.search(r"(?<!!)\buse_pty\b", rule) for rule in defaults)
    facts["no_authenticate"] = any("!authenticate" in rule for rule in defaults)
    facts["logfile"] = any(re.search(r"\blogfile\s*=", rule) for rule in defaults)
    return facts


def _sudo_rules(host: Host, name: str, depth: int) -> List[str]:
    """Rules of a sudoers file and of what it includes (sudoers(5): dotted names are left out)."""
    if depth > MAX_INCLUDE_DEPTH:
        raise UnreadError("malformed")
    rules = []
    for line in host.read(name).replace("\\\n", " ").splitlines():
        found = re.match(r"\s*[@#](include(?:dir)?)\s+(\S+)", line)
        rule = line.split("#", 1)[0].strip()
        if not found:
            rules += [rule] if rule else []
            continue
        place = os.path.join("/etc", found.group(2).strip('"'))
        if found.group(1) == "include":
            rules += _sudo_rules(host, place, depth + 1)
            continue
        for path in host.files(place.rstrip("/")):
            if "." not in os.path.basename(path) and not path.endswith("~"):
                rules += _sudo_rules(host, path, depth + 1)
    return rules


def read_password_policy(host: Host) -> Facts:
    """login.defs(5) and the modules of the shared PAM stacks."""
    facts: Facts = {}
    try:
        facts.update(_login_defs(host))
    except UnreadError as error:
        host.miss("password_policy.max_days", error.reason)
    rules = _pam_rules(host)
    facts["quality_module"] = any("pam_pwquality.so" in rule for rule in rules)
    facts["lockout_module"] = any("pam_faillock.so" in rule for rule in rules)
    facts["history_module"] = any("pam_pwhistory.so" in rule for rule in rules)
    facts["nullok"] = any(re.search(r"pam_unix\.so.*\bnullok", rule) for rule in rules)
    facts["min_length"] = _min_length(host, rules)
    return facts


def _login_defs(host: Host) -> Facts:
    fields = [line.split() for line in host.lines("/etc/login.defs")]
    pairs = {row[0]: row[1] for row in fields if len(row) >= 2}
    facts: Facts = {
        "encrypt_method": pairs.get("ENCRYPT_METHOD", "DES").lower(),
        "umask": pairs.get("UMASK", "022"),
    }
    for key in ("PASS_MAX_DAYS", "PASS_MIN_DAYS", "PASS_WARN_AGE"):
        number = to_int(pairs.get(key, ""))
        if number is not None:
            facts[key.lower()[5:]] = number
    return facts


def _pam_rules(host: Host) -> List[str]:
    """Rules of the shared PAM stacks; Debian and Red Hat name them differently."""
    names = ("common-auth", "common-password", "system-auth", "password-auth")
    places = ["/etc/pam.d/" + name for name in names]
    present = [place for place in places if host.exists(place)]
    if not present:
        raise UnreadError("not_found")
    return [rule for place in present for rule in host.lines(place)]


def _min_length(host: Host, rules: List[str]) -> int:
    """pwquality.conf(5) and pam_pwquality(8) say 8 when nothing is set; pam_unix(8) says 6."""
    for rule in rules:
        found = re.search(r"pam_(?:pwquality|unix)\.so.*\bminlen=([0-9]{1,4})", rule)
        if found:
            return int(found.group(1))
    if not any("pam_pwquality.so" in rule for rule in rules):
        return 6
    length = 8
    files = ["/etc/security/pwquality.conf"] if host.exists("/etc/security/pwquality.conf") else []
    for name in files + host.files("/etc/security/pwquality.conf.d", "*.conf"):
        for line in host.lines(name):
            found = re.match(r"minlen\s*=\s*([0-9]{1,4})$", line)
            length = int(found.group(1)) if found else length
    return length


def read_files(host: Host) -> Facts:
    """Modes and owners of the files that decide who may do what."""
    facts: Facts = {}
    for name in MODE_FILES:
        try:
            state = os.stat(host.path(name))
        except OSError as error:
            host.miss("files." + os.path.basename(name), host.why(name, error))
            continue
        mode = stat.S_IMODE(state.st_mode)
        facts[os.path.basename(name)] = {
            "mode": "%04o" % mode,
            "uid": state.st_uid,
            "gid": state.st_gid,
            "group_write": bool(mode & 0o020),
            "other_read": bool(mode & 0o004),
            "other_write": bool(mode & 0o002),
        }
    return facts


def read_core_dumps(host: Host) -> Facts:
    """Whether limits.conf(5) holds everyone's hard limit at nothing, and what systemd keeps."""
    files = ["/etc/security/limits.conf", *host.files("/etc/security/limits.d", "*.conf")]
    rows = [line.split() for name in files if host.exists(name) for line in host.lines(name)]
    if not rows and not host.exists(files[0]):
        raise UnreadError("not_found")
    rules = [row for row in rows if len(row) == 4 and row[0] == "*" and row[2] == "core"]
    facts: Facts = {"limited": any(r[1] in ("hard", "-") and r[3] == "0" for r in rules)}
    if host.exists("/etc/systemd/coredump.conf"):
        pairs = (line.partition("=") for line in host.lines("/etc/systemd/coredump.conf"))
        found = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
        facts["storage"] = found.get("storage", "external")
    return facts


def read_listening(host: Host) -> Facts:
    """TCP sockets that accept connections, from the kernel's own tables (proc(5))."""
    found = set()
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        if name == "tcp6" and not host.exists("/proc/net/tcp6"):
            continue
        for line in host.read("/proc/net/" + name, MAX_OUTPUT_BYTES).splitlines()[1:]:
            row = LISTENING_ROW.match(line)
            if row:
                found.add((int(row.group(2), 16), _kernel_address(row.group(1), family)))
    rows = [{"port": port, "address": address} for port, address in sorted(found)]
    open_ports = {p for p, a in found if not a.startswith(("127.", "::ffff:127.")) and a != "::1"}
    return {
        "tcp": host.bounded("listening.tcp", rows),
        "open_tcp_ports": host.bounded("listening.open_tcp_ports", sorted(open_ports)),
    }


def _kernel_address(text: str, family: int) -> str:
    """The kernel prints each 32-bit word of an address in the machine's byte order."""
    if len(text) != (8 if family == socket.AF_INET else 32):
        raise UnreadError("malformed")
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, struct.pack("=" + "I" * len(words), *words))
