"""What a Linux system is made of: release, kernel, packages, updates, services, firewall, sysctl.

Part of the stand-alone exporter; the rules in `host` hold.
"""

import json
import os
import re
from typing import Dict, List, Sequence, Set

from fleetmdm.exporters.host import MAX_TEXT, Facts, Host, UnreadError, to_int

MAX_STATUS_BYTES = 64 << 20

WATCHED_PACKAGES = frozenset(
    "aide apache2 apparmor apt auditd audit bash bind9 chrony containerd curl docker-ce docker.io"
    " fail2ban firewalld glibc gnupg httpd iptables-persistent libc6 libpam-pwquality libssl3"
    " nftables nginx ntp ntpsec openssh-client openssh-server openssl openssl-libs postgresql"
    " python3 rsyslog samba sudo systemd ufw unattended-upgrades".split()
)
LEGACY_PACKAGES = frozenset(
    "ftp inetutils-ftp inetutils-telnet inetutils-telnetd nis rsh rsh-client rsh-redone-client"
    " rsh-redone-server rsh-server talk talkd telnet telnet-server telnetd tftp-server tftpd"
    " tftpd-hpa xinetd ypbind ypserv".split()
)
SYSCTLS = (
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
    " net.ipv6.conf.all.accept_source_route net.ipv6.conf.all.forwarding".split()
)
TIME_SERVICES = ("systemd-timesyncd", "chrony", "chronyd", "ntp", "ntpd", "ntpsec", "openntpd")
FIREWALL_SERVICES = ("ufw", "nftables", "firewalld", "netfilter-persistent", "iptables")


def read_os(host: Host) -> Facts:
    """What os-release(5) says."""
    try:
        text = host.read("/etc/os-release")
    except UnreadError:
        text = host.read("/usr/lib/os-release")
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            found[name.lower()] = value.strip().strip("\"'")[:MAX_TEXT]
    wanted = ("id", "id_like", "version_id", "version_codename", "pretty_name")
    return {name: found[name] for name in wanted if name in found}


def read_kernel(host: Host) -> Facts:
    """Under a root without /proc this is the kernel that runs it, as for any container."""
    machine = os.uname().machine
    try:
        return {"release": host.read("/proc/sys/kernel/osrelease").strip(), "machine": machine}
    except UnreadError:
        return {"release": os.uname().release, "machine": machine}


def installed_packages(host: Host) -> Dict[str, str]:
    """Package -> version, of dpkg or else of rpm; read once."""
    if host.packages is None:
        host.packages = _dpkg_packages(host) if host.exists("/var/lib/dpkg/status") else {}
        databases = ("/var/lib/rpm", "/usr/lib/sysimage/rpm")
        if not host.packages and any(map(host.exists, databases)):
            form = "%{NAME}\t%|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n"
            rows = host.run(["rpm", "--root", host.root, "-qa", "--qf", form]).splitlines()
            host.packages = dict(row.split("\t", 1) for row in rows if "\t" in row)
    if not host.packages:
        raise UnreadError("not_found")
    return host.packages


def _dpkg_packages(host: Host) -> Dict[str, str]:
    found = {}
    for block in host.read("/var/lib/dpkg/status", MAX_STATUS_BYTES).split("\n\n"):
        rows = re.findall(r"^(Package|Status|Version): (.*)$", block, re.MULTILINE)
        fields = dict(rows)
        if fields.get("Status", "").endswith(" ok installed") and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return found


def read_packages(host: Host) -> Facts:
    """How many, the versions of those that matter for security, and the outdated ones."""
    found = installed_packages(host)
    return {
        "manager": "dpkg" if host.exists("/var/lib/dpkg/status") else "rpm",
        "count": len(found),
        "versions": {name: found[name] for name in sorted(WATCHED_PACKAGES & set(found))},
        "legacy": sorted(LEGACY_PACKAGES & set(found)),
    }


def read_updates(host: Host) -> Facts:
    """Counted from the package lists that are already on the host; nothing is downloaded."""
    facts: Facts = {}
    if host.exists("/run"):
        facts["reboot_required"] = host.exists("/run/reboot-required")
    else:
        host.miss("updates.reboot_required", "not_found" if host.live else "not_under_root")
    if not host.live:
        host.miss("updates.pending", "not_under_root")
    elif not host.files("/var/lib/apt/lists", "*_Packages*"):
        host.miss("updates.pending", "no_package_lists")
    else:
        quiet = ["-q", "-s", "-o", "Debug::NoLocking=true"]
        rows = host.run(["apt-get", *quiet, "upgrade", "--with-new-pkgs"]).splitlines()
        pending = [row for row in rows if row.startswith("Inst ")]
        facts["pending"] = len(pending)
        facts["pending_security"] = sum("security" in row.lower() for row in pending)
    return facts


def read_auto_update(host: Host) -> Facts:
    """Whether unattended-upgrades or dnf-automatic is set to install updates."""
    if host.exists("/etc/dnf/automatic.conf"):
        pairs = (line.partition("=") for line in host.lines("/etc/dnf/automatic.conf"))
        found = {name.strip(): value.strip().lower() for name, _, value in pairs}
        on = found.get("apply_updates") in ("yes", "true", "1")
        timers = {"dnf-automatic.timer", "dnf-automatic-install.timer"}
        return {"mechanism": "dnf", "enabled": on and bool(timers & set(enabled_units(host)))}
    files = ["/etc/apt/apt.conf"] if host.exists("/etc/apt/apt.conf") else []
    drop_ins = host.files("/etc/apt/apt.conf.d")
    # apt.conf(5): anything else, such as what dpkg or an editor left behind, is not read.
    files += [path for path in drop_ins if os.path.splitext(path)[1] in ("", ".conf")]
    if not host.exists("/etc/apt"):
        raise UnreadError("not_found")
    values = {"update-package-lists": "0", "unattended-upgrade": "0"}
    for name in files:
        text = re.sub(r"/\*.*?\*/", "", host.read(name), flags=re.DOTALL)
        if re.search(r"\bPeriodic\s*\{", text):
            raise UnreadError("unsupported")  # the nested form; nobody's package ships it
        form = r'^\s*APT::Periodic::([\w-]+)\s+"?(\w+)"?\s*;'
        for key, value in re.findall(form, text, re.MULTILINE):
            values[key.lower()] = value
    on = all(
        values[name] not in ("0", "") for name in ("update-package-lists", "unattended-upgrade")
    )
    has_tool = "unattended-upgrades" in installed_packages(host)
    return {"mechanism": "apt", "enabled": on and has_tool}


def enabled_units(host: Host) -> List[str]:
    """Units that some target wants, masked ones left out (systemctl is not needed for that)."""
    if host.services is None:
        if not host.exists("/etc/systemd/system"):
            raise UnreadError("not_found")
        found: Set[str] = set()
        for folder in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"):
            found.update(os.path.basename(path) for path in host.files(folder + "/*.wants"))
        host.services = sorted(unit for unit in found if not _is_masked(host, unit))
    return host.services


def _is_masked(host: Host, unit: str) -> bool:
    place = os.path.join(host.path("/etc/systemd/system"), unit)
    return os.path.islink(place) and os.readlink(place) == "/dev/null"


def _enabled_among(host: Host, names: Sequence[str]) -> List[str]:
    units = set(enabled_units(host))
    return sorted(name for name in names if name + ".service" in units)


def read_services(host: Host) -> Facts:
    """Units that start by themselves."""
    return {"enabled": host.bounded("services.enabled", enabled_units(host))}


def read_time_sync(host: Host) -> Facts:
    """Which of the known services that set the clock are set to start."""
    found = _enabled_among(host, TIME_SERVICES)
    return {"enabled": bool(found), "services": found}


def read_firewall(host: Host) -> Facts:
    """What is set to start at boot; with root's rights also what the kernel filters now."""
    found = _enabled_among(host, FIREWALL_SERVICES)
    if host.exists("/etc/ufw/ufw.conf"):
        on = re.search(
            r"^ENABLED=[\"']?yes", host.read("/etc/ufw/ufw.conf"), re.MULTILINE | re.IGNORECASE
        )
        found = [name for name in found if name != "ufw" or on]
    facts: Facts = {"services": found, "enabled": bool(found)}
    if not host.live or not host.privileged:
        host.miss("firewall.input_drop", "permission_denied" if host.live else "not_under_root")
        return facts
    try:
        facts["input_drop"] = _has_dropping_chain(host.run(["nft", "-j", "list", "ruleset"]))
    except UnreadError as error:
        host.miss("firewall.input_drop", error.reason)
    return facts


def _has_dropping_chain(ruleset: str) -> bool:
    try:
        rows = json.loads(ruleset or "{}").get("nftables", [])
    except (ValueError, AttributeError) as error:
        raise UnreadError("malformed") from error
    chains = [row["chain"] for row in rows if "chain" in row]
    return any(each.get("hook") == "input" and each.get("policy") == "drop" for each in chains)


def read_sysctl(host: Host) -> Facts:
    """Running values; below a root without /proc/sys, what its files set (later files win)."""
    running = host.exists("/proc/sys")
    values = {} if running else _configured_sysctls(host)
    facts: Facts = {"source": "running" if running else "configured"}
    for name in SYSCTLS:
        try:
            text = host.read("/proc/sys/" + name.replace(".", "/")) if running else values[name]
        except (UnreadError, KeyError) as error:
            reason = error.reason if isinstance(error, UnreadError) else "not_configured"
            host.miss("sysctl." + name, reason)
            continue
        at, parts = facts, name.split(".")
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = to_int(text)
    return facts


def _configured_sysctls(host: Host) -> Dict[str, str]:
    by_name: Dict[str, str] = {}
    for folder in ("/usr/lib/sysctl.d", "/etc/sysctl.d"):
        by_name.update((os.path.basename(path), path) for path in host.files(folder, "*.conf"))
    files = [by_name[name] for name in sorted(by_name)]
    files += ["/etc/sysctl.conf"] if host.exists("/etc/sysctl.conf") else []
    values = {}
    for name in files:
        for line in host.lines(name):
            key, _, value = line.lstrip("-").partition("=")
            values[key.strip().replace("/", ".")] = value.strip()
    return values
