"""The field catalogue: every fact that our exporters write, its type, and how much it gives away.

Lint looks up fact paths here, redaction the sensitivity, the documentation the sentence. Pure.
Rule for editors: a row for each leaf that an exporter can print, sorted by path within its table;
`*` stands for any one name, `[*]` for any element of a list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class Kind(StrEnum):
    """The JSON shape of a fact."""

    BOOL = "boolean"
    NUMBER = "number"
    TEXT = "text"
    TIME = "time"
    """Text: RFC 3339 with an offset."""
    TEXTS = "list of texts"
    NUMBERS = "list of numbers"
    ANY = "any"


class Sensitivity(StrEnum):
    """How much a fact gives away, mildest first."""

    PUBLIC = "public"
    """A setting or a count; says nothing of who or where."""
    INTERNAL = "internal"
    """Helps somebody who looks for a way in."""
    IDENTIFYING = "identifying"
    """May hold the name or address of a person or a machine."""


@dataclass(frozen=True, slots=True)
class Field:
    """One fact: its path below `facts`, and one sentence on what it says."""

    path: str
    kind: Kind
    sensitivity: Sensitivity
    sentence: str
    unit: str = ""
    platforms: tuple[str, ...] = ("linux",)


_LINUX = (
    Field("auto_update.enabled", Kind.BOOL, Sensitivity.PUBLIC, "updates install themselves"),
    Field("auto_update.mechanism", Kind.TEXT, Sensitivity.PUBLIC, "apt or dnf"),
    Field(
        "certificates.count",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "the host's own certificates that were found",
    ),
    Field(
        "certificates.earliest_not_after",
        Kind.TIME,
        Sensitivity.PUBLIC,
        "when the first of them expires",
    ),
    Field(
        "certificates.items[*].not_after", Kind.TIME, Sensitivity.PUBLIC, "when this one expires"
    ),
    Field("certificates.items[*].path", Kind.TEXT, Sensitivity.INTERNAL, "where this one lies"),
    Field(
        "core_dumps.limited",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "everyone's hard limit for core dumps is 0",
    ),
    Field(
        "core_dumps.storage", Kind.TEXT, Sensitivity.PUBLIC, "what systemd-coredump does with dumps"
    ),
    Field("disk_encryption.home", Kind.BOOL, Sensitivity.PUBLIC, "/home lies on encrypted devices"),
    Field(
        "disk_encryption.root",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "the root file system lies on encrypted devices",
    ),
    Field("disk_encryption.var", Kind.BOOL, Sensitivity.PUBLIC, "/var lies on encrypted devices"),
    Field("disk_encryption.swap", Kind.BOOL, Sensitivity.PUBLIC, "every swap device is encrypted"),
    Field("exporter.name", Kind.TEXT, Sensitivity.PUBLIC, "which exporter wrote the document"),
    Field("exporter.privileged", Kind.BOOL, Sensitivity.PUBLIC, "it ran with root's rights"),
    Field(
        "exporter.under_root",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "it described a folder that stands for a host",
    ),
    Field("exporter.version", Kind.NUMBER, Sensitivity.PUBLIC, "version of the exporter's facts"),
    Field("files.*.gid", Kind.NUMBER, Sensitivity.PUBLIC, "number of the owning group"),
    Field("files.*.group_write", Kind.BOOL, Sensitivity.PUBLIC, "the group may write it"),
    Field("files.*.mode", Kind.TEXT, Sensitivity.PUBLIC, "permission bits in octal"),
    Field("files.*.other_read", Kind.BOOL, Sensitivity.PUBLIC, "everyone may read it"),
    Field("files.*.other_write", Kind.BOOL, Sensitivity.PUBLIC, "everyone may write it"),
    Field("files.*.uid", Kind.NUMBER, Sensitivity.PUBLIC, "number of the owner"),
    Field("firewall.enabled", Kind.BOOL, Sensitivity.PUBLIC, "a firewall is set to start"),
    Field(
        "firewall.input_drop",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "an nftables chain drops what comes in unasked",
    ),
    Field("firewall.services", Kind.TEXTS, Sensitivity.PUBLIC, "firewalls that are set to start"),
    Field("kernel.machine", Kind.TEXT, Sensitivity.PUBLIC, "architecture"),
    Field("kernel.release", Kind.TEXT, Sensitivity.PUBLIC, "release of the running kernel"),
    Field(
        "listening.open_tcp_ports",
        Kind.NUMBERS,
        Sensitivity.INTERNAL,
        "TCP ports open to others than the host itself",
    ),
    Field(
        "listening.tcp[*].address",
        Kind.TEXT,
        Sensitivity.IDENTIFYING,
        "address that accepts connections",
    ),
    Field(
        "listening.tcp[*].port", Kind.NUMBER, Sensitivity.INTERNAL, "port that accepts connections"
    ),
    Field("mac.apparmor", Kind.BOOL, Sensitivity.PUBLIC, "AppArmor is on in the running kernel"),
    Field(
        "mac.selinux",
        Kind.TEXT,
        Sensitivity.PUBLIC,
        "SELinux as configured: enforcing, permissive, disabled",
    ),
    Field("mounts.*.nodev", Kind.BOOL, Sensitivity.PUBLIC, "device files there have no effect"),
    Field("mounts.*.noexec", Kind.BOOL, Sensitivity.PUBLIC, "programs there cannot be run"),
    Field("mounts.*.nosuid", Kind.BOOL, Sensitivity.PUBLIC, "set-uid bits there have no effect"),
    Field("mounts.*.separate", Kind.BOOL, Sensitivity.PUBLIC, "it is a file system of its own"),
    Field("mounts.source", Kind.TEXT, Sensitivity.PUBLIC, "running, or configured (from fstab)"),
    Field(
        "os_release.id",
        Kind.TEXT,
        Sensitivity.PUBLIC,
        "which distribution: debian, ubuntu, rhel and so on",
    ),
    Field("os_release.id_like", Kind.TEXT, Sensitivity.PUBLIC, "what it derives from"),
    Field("os_release.pretty_name", Kind.TEXT, Sensitivity.PUBLIC, "name for people"),
    Field("os_release.version_codename", Kind.TEXT, Sensitivity.PUBLIC, "code name of the release"),
    Field("os_release.version_id", Kind.TEXT, Sensitivity.PUBLIC, "number of the release"),
    Field("packages.count", Kind.NUMBER, Sensitivity.PUBLIC, "installed packages"),
    Field(
        "packages.legacy",
        Kind.TEXTS,
        Sensitivity.PUBLIC,
        "installed programs that speak in clear text",
    ),
    Field("packages.manager", Kind.TEXT, Sensitivity.PUBLIC, "dpkg or rpm"),
    Field(
        "packages.versions.*",
        Kind.TEXT,
        Sensitivity.PUBLIC,
        "version of an installed package that matters for security",
    ),
    Field(
        "password_policy.encrypt_method",
        Kind.TEXT,
        Sensitivity.PUBLIC,
        "hash for new passwords (login.defs)",
    ),
    Field(
        "password_policy.history_module", Kind.BOOL, Sensitivity.PUBLIC, "pam_pwhistory is in use"
    ),
    Field(
        "password_policy.lockout_module", Kind.BOOL, Sensitivity.PUBLIC, "pam_faillock is in use"
    ),
    Field(
        "password_policy.max_days",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "age at which a new password expires",
        unit="days",
    ),
    Field(
        "password_policy.min_days",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "age before which a password cannot be changed",
        unit="days",
    ),
    Field(
        "password_policy.min_length",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "shortest new password",
        unit="characters",
    ),
    Field(
        "password_policy.nullok",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "pam_unix lets in accounts with an empty password",
    ),
    Field(
        "password_policy.quality_module", Kind.BOOL, Sensitivity.PUBLIC, "pam_pwquality is in use"
    ),
    Field("password_policy.umask", Kind.TEXT, Sensitivity.PUBLIC, "umask of login.defs, octal"),
    Field(
        "password_policy.warn_age",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "warning before a password expires",
        unit="days",
    ),
    Field(
        "secure_boot.enabled", Kind.BOOL, Sensitivity.PUBLIC, "the firmware starts signed code only"
    ),
    Field(
        "secure_boot.setup_mode",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "the firmware takes new keys from anyone",
    ),
    Field("services.enabled", Kind.TEXTS, Sensitivity.INTERNAL, "units that start by themselves"),
    Field("sshd.explicit", Kind.TEXTS, Sensitivity.PUBLIC, "settings that sshd_config names"),
    Field(
        "sshd.match_blocks[*].criteria",
        Kind.TEXT,
        Sensitivity.IDENTIFYING,
        "which connections the block is for",
    ),
    Field(
        "sshd.match_blocks[*].settings.*",
        Kind.ANY,
        Sensitivity.IDENTIFYING,
        "a setting of the block",
    ),
    Field(
        "sshd.present",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "an SSH daemon or its configuration is installed",
    ),
    Field(
        "sshd.source",
        Kind.TEXT,
        Sensitivity.PUBLIC,
        "effective (asked of sshd) or file (sshd_config read)",
    ),
    Field("sudo.logfile", Kind.BOOL, Sensitivity.PUBLIC, "sudo keeps a log of its own"),
    Field(
        "sudo.no_authenticate",
        Kind.BOOL,
        Sensitivity.PUBLIC,
        "sudo's defaults switch the password off",
    ),
    Field(
        "sudo.nopasswd", Kind.TEXTS, Sensitivity.IDENTIFYING, "who may use sudo without a password"
    ),
    Field("sudo.present", Kind.BOOL, Sensitivity.PUBLIC, "sudo is set up"),
    Field(
        "sudo.use_pty", Kind.BOOL, Sensitivity.PUBLIC, "sudo gives programs a terminal of their own"
    ),
    Field("sysctl.source", Kind.TEXT, Sensitivity.PUBLIC, "running, or configured (from sysctl.d)"),
    Field("time_sync.enabled", Kind.BOOL, Sensitivity.PUBLIC, "a time service is set to start"),
    Field(
        "time_sync.services", Kind.TEXTS, Sensitivity.PUBLIC, "time services that are set to start"
    ),
    Field("tpm.present", Kind.BOOL, Sensitivity.PUBLIC, "the kernel has a TPM"),
    Field("tpm.version", Kind.NUMBER, Sensitivity.PUBLIC, "major version of the TPM"),
    Field("unread[*].key", Kind.TEXT, Sensitivity.INTERNAL, "a fact that could not be read"),
    Field("unread[*].reason", Kind.TEXT, Sensitivity.PUBLIC, "why"),
    Field(
        "updates.pending",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "updates that wait, by the package lists on the host",
    ),
    Field(
        "updates.pending_security",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "those of them that come from a security archive",
    ),
    Field(
        "updates.reboot_required", Kind.BOOL, Sensitivity.PUBLIC, "the system asks for a restart"
    ),
    Field("users.count", Kind.NUMBER, Sensitivity.PUBLIC, "local accounts"),
    Field(
        "users.duplicate_uids", Kind.NUMBERS, Sensitivity.PUBLIC, "ids that several accounts share"
    ),
    Field(
        "users.empty_passwords",
        Kind.TEXTS,
        Sensitivity.IDENTIFYING,
        "accounts with an empty password",
    ),
    Field("users.root_locked", Kind.BOOL, Sensitivity.PUBLIC, "root has no password that works"),
    Field(
        "users.system_with_shell",
        Kind.TEXTS,
        Sensitivity.IDENTIFYING,
        "accounts of services that have a login shell",
    ),
    Field("users.uid0", Kind.TEXTS, Sensitivity.IDENTIFYING, "accounts with root's rights"),
    Field(
        "users.unshadowed",
        Kind.TEXTS,
        Sensitivity.IDENTIFYING,
        "accounts whose hash stands in /etc/passwd",
    ),
    Field(
        "users.weak_hashes",
        Kind.TEXTS,
        Sensitivity.IDENTIFYING,
        "accounts whose password is kept under DES, MD5 or kin",
    ),
    Field(
        "users.with_shell",
        Kind.NUMBER,
        Sensitivity.PUBLIC,
        "people's accounts that have a login shell",
    ),
)

_SSHD_TEXTS = (
    "allowagentforwarding allowtcpforwarding disableforwarding gatewayports gssapiauthentication"
    " hostbasedauthentication ignorerhosts kbdinteractiveauthentication loglevel maxstartups"
    " passwordauthentication permitemptypasswords permitrootlogin permittunnel"
    " permituserenvironment pubkeyauthentication strictmodes usepam x11forwarding"
)
_SSHD_NUMBERS = "clientalivecountmax maxauthtries maxsessions"
_SSHD_SECONDS = "clientaliveinterval logingracetime"
_SYSCTLS = (
    "fs.protected_hardlinks fs.protected_symlinks fs.suid_dumpable kernel.dmesg_restrict"
    " kernel.kptr_restrict kernel.randomize_va_space kernel.unprivileged_bpf_disabled"
    " kernel.yama.ptrace_scope net.ipv4.conf.all.accept_redirects"
    " net.ipv4.conf.all.accept_source_route net.ipv4.conf.all.log_martians"
    " net.ipv4.conf.all.rp_filter net.ipv4.conf.all.secure_redirects"
    " net.ipv4.conf.all.send_redirects net.ipv4.conf.default.accept_redirects"
    " net.ipv4.conf.default.accept_source_route net.ipv4.conf.default.rp_filter"
    " net.ipv4.conf.default.send_redirects net.ipv4.icmp_echo_ignore_broadcasts"
    " net.ipv4.icmp_ignore_bogus_error_responses net.ipv4.ip_forward net.ipv4.tcp_syncookies"
    " net.ipv6.conf.all.accept_ra net.ipv6.conf.all.accept_redirects"
    " net.ipv6.conf.all.accept_source_route net.ipv6.conf.all.forwarding"
)


def _sshd(names: str, kind: Kind, sensitivity: Sensitivity, unit: str = "") -> tuple[Field, ...]:
    """A setting of the SSH daemon in effect, and every value that some connection may get."""
    rows = []
    for name in names.split():
        said = f"{name} of sshd_config(5)"
        many = Kind.NUMBERS if kind is Kind.NUMBER else Kind.TEXTS
        everywhere = f"every value of {name}, Match blocks included"
        rows.append(Field(f"sshd.settings.{name}", kind, sensitivity, said, unit))
        rows.append(Field(f"sshd.possible.{name}", many, sensitivity, everywhere, unit))
    return tuple(rows)


def _sshd_lists(names: str, kind: Kind, sensitivity: Sensitivity) -> tuple[Field, ...]:
    return tuple(
        Field(f"sshd.settings.{name}", kind, sensitivity, f"{name} of sshd_config(5)")
        for name in names.split()
    )


FIELDS: tuple[Field, ...] = tuple(
    sorted(
        (
            *_LINUX,
            *_sshd(_SSHD_TEXTS, Kind.TEXT, Sensitivity.PUBLIC),
            *_sshd(_SSHD_NUMBERS, Kind.NUMBER, Sensitivity.PUBLIC),
            *_sshd(_SSHD_SECONDS, Kind.NUMBER, Sensitivity.PUBLIC, "seconds"),
            *_sshd("banner", Kind.TEXT, Sensitivity.INTERNAL),
            *_sshd_lists("ciphers kexalgorithms macs", Kind.TEXTS, Sensitivity.PUBLIC),
            *_sshd_lists("port", Kind.NUMBERS, Sensitivity.INTERNAL),
            *_sshd_lists(
                "allowgroups allowusers denygroups denyusers",
                Kind.TEXTS,
                Sensitivity.IDENTIFYING,
            ),
            *(
                Field(f"sysctl.{name}", Kind.NUMBER, Sensitivity.PUBLIC, f"sysctl(8) {name}")
                for name in _SYSCTLS.split()
            ),
        ),
        key=lambda field: field.path,
    )
)


NAMESPACES = frozenset({"ansible", "fleet", "osquery"})
"""Objects directly below `facts` that hold another tool's facts under that tool's own names."""


@cache
def find_field(path: str) -> Field | None:
    """The row of a fact path; indexes and `[*]` are alike; None where no exporter writes it."""
    general = re.sub(r"\[[0-9]+\]", "[*]", path)
    for field in FIELDS:
        if field.path == general or _pattern(field.path).fullmatch(general):
            return field
    return None


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """`files.*.mode` fits `files.shadow.mode`; a name with dots stands in double quotes."""
    text = re.escape(path).replace(r"\[\*\]", "\0").replace(r"\*", r'(?:"[^"]*"|[^.\[\]"]+)')
    return re.compile(text.replace("\0", r"\[\*\]"))
