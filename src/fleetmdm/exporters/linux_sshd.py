"""The SSH daemon's settings, read as sshd reads them: sshd_config(5), servconf.c's semantics.

`sshd -T` is asked where that is possible (root, no `--root`); otherwise the file and its Includes
are parsed: the first value of a keyword wins, a Match block may override it for some connections,
a Match inside an included file ends with that file. Part of the stand-alone exporter; the rules in
`host` hold.
"""

import fnmatch
import re
from typing import Dict, List, Optional, Tuple

from fleetmdm.exporters.host import MAX_INCLUDE_DEPTH, MAX_TEXT, Facts, Host, UnreadError, to_int

SSHD_CONFIG = "/etc/ssh/sshd_config"
SSHD_PROGRAM = "/usr/sbin/sshd"
# Defaults of sshd_config(5); these are the same from OpenSSH 7.4 to 9.9.
SSHD_DEFAULTS = dict(
    pair.split("=", 1)
    for pair in (
        "allowagentforwarding=yes allowtcpforwarding=yes banner=none clientalivecountmax=3"
        " clientaliveinterval=0 disableforwarding=no gatewayports=no gssapiauthentication=no"
        " hostbasedauthentication=no ignorerhosts=yes kbdinteractiveauthentication=yes"
        " logingracetime=120 loglevel=info maxauthtries=6 maxsessions=10 maxstartups=10:30:100"
        " passwordauthentication=yes permitemptypasswords=no permitrootlogin=prohibit-password"
        " permittunnel=no permituserenvironment=no port=22 pubkeyauthentication=yes"
        " strictmodes=yes usepam=no x11forwarding=no"
        " ciphers=chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,"
        "aes128-gcm@openssh.com,aes256-gcm@openssh.com"
        " macs=umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,"
        "hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,umac-64@openssh.com,"
        "umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
    ).split()
)
SSHD_ALGORITHMS = ("ciphers", "kexalgorithms", "macs")
SSHD_LISTS = ("allowgroups", "allowusers", "denygroups", "denyusers", "port")
SSHD_NUMBERS = ("clientalivecountmax", "maxauthtries", "maxsessions")
SSHD_TIMES = ("clientaliveinterval", "logingracetime")
SSHD_KEYWORDS = frozenset(SSHD_DEFAULTS) | frozenset(SSHD_ALGORITHMS) | frozenset(SSHD_LISTS)
# Other names of the same setting, and the old word that `sshd -T` still prints.
SSHD_ALIASES = {
    "challengeresponseauthentication": "kbdinteractiveauthentication",
    "dsaauthentication": "pubkeyauthentication",
    "skeyauthentication": "kbdinteractiveauthentication",
}
SSHD_WORDS = {"without-password": "prohibit-password"}
TIME_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

Directives = List[Tuple[str, List[str]]]
Settings = Dict[str, List[str]]


def read_sshd(host: Host) -> Facts:
    """Settings in effect, which of them the file names, and what Match blocks change."""
    facts: Facts = {"present": host.exists(SSHD_CONFIG) or host.exists(SSHD_PROGRAM)}
    if not facts["present"]:
        return facts
    blocks: List[Tuple[str, Settings]] = []
    try:
        base: Settings = {}
        parse_sshd(host, SSHD_CONFIG, base, base, blocks, 0)
    except UnreadError as error:
        host.miss("sshd.settings", error.reason)
        return facts
    facts["explicit"] = sorted(base)
    effective = sshd_effective(host)
    facts["source"] = "file" if effective is None else "effective"
    facts["settings"] = sshd_values(host, base if effective is None else effective)
    facts["match_blocks"] = [
        {"criteria": criteria, "settings": sshd_block_values(values)}
        for criteria, values in host.bounded("sshd.match_blocks", blocks)
    ]
    facts["possible"] = sshd_possible(facts["settings"], facts["match_blocks"])
    return facts


def sshd_effective(host: Host) -> Optional[Settings]:
    """What the daemon itself says, where it can be asked."""
    if not (host.live and host.privileged and host.exists(SSHD_PROGRAM)):
        return None
    try:
        rows = host.run([SSHD_PROGRAM, "-T"]).splitlines()
    except UnreadError:
        return None  # no host keys yet, or no /run/sshd: the file still speaks
    found: Settings = {}
    for row in rows:
        keyword, _, value = row.partition(" ")
        if keyword in SSHD_KEYWORDS:
            found.setdefault(keyword, []).append(value)
    return found


def parse_sshd(
    host: Host,
    path: str,
    base: Settings,
    current: Settings,
    blocks: List[Tuple[str, Settings]],
    depth: int,
) -> None:
    """Fill `base` and `blocks` from one file; `current` is where its first lines belong."""
    if depth > MAX_INCLUDE_DEPTH:
        raise UnreadError("malformed")
    outer = current
    for line in host.read(path).splitlines():
        keyword, words = sshd_words(line)
        if keyword == "match":
            criteria = " ".join(words)[:MAX_TEXT]
            # A block for everyone is as if it stood outside, except where a block holds it.
            current = outer if criteria.lower() == "all" else {}
            if current is not outer:
                blocks.append((criteria, current))
        elif keyword == "include":
            for pattern in words:
                place = pattern if pattern.startswith("/") else "/etc/ssh/" + pattern
                folder, _, last = place.rpartition("/")
                for each in host.files(folder, last):
                    parse_sshd(host, each, base, current, blocks, depth + 1)
        elif keyword in SSHD_KEYWORDS and words:
            if keyword in SSHD_LISTS:
                current.setdefault(keyword, []).extend(words)
            else:
                current.setdefault(keyword, [words[0]])


def sshd_words(line: str) -> Tuple[str, List[str]]:
    """Keyword in lower case and its arguments; one `=` may stand between them, quotes hold."""
    found = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)$", line)
    if not found:
        return "", []
    keyword = found.group(1).lower()
    pieces = re.findall(r'"([^"]*)"|(#.*)|([^\s"#][^\s"]*)', found.group(2))
    words = []
    for quoted, comment, plain in pieces:
        if comment:
            break
        words.append(quoted or plain)
    return SSHD_ALIASES.get(keyword, keyword), words


def sshd_values(host: Host, found: Settings) -> Facts:
    """Every setting with its value in effect, defaults included."""
    values: Facts = {}
    for keyword in sorted(SSHD_KEYWORDS):
        if keyword in found:
            words = found[keyword]
        elif keyword in SSHD_DEFAULTS:
            words = [SSHD_DEFAULTS[keyword]]
        elif keyword in SSHD_LISTS:
            words = []
        else:
            host.miss("sshd.settings." + keyword, "default_depends_on_version")
            continue
        try:
            values[keyword] = sshd_value(keyword, words)
        except UnreadError as error:
            host.miss("sshd.settings." + keyword, error.reason)
    return values


def sshd_block_values(found: Settings) -> Facts:
    """The settings that one Match block names."""
    values: Facts = {}
    for keyword, words in sorted(found.items()):
        try:
            values[keyword] = sshd_value(keyword, words)
        except UnreadError as error:
            values[keyword] = "unread: " + error.reason
    return values


def sshd_value(keyword: str, words: List[str]) -> object:
    """A setting as policies compare it: numbers, seconds, lists, words in lower case."""
    if keyword in SSHD_LISTS:
        split = [word for line in words for word in line.split()]
        return [_sshd_number(word) for word in split] if keyword == "port" else split
    text = words[0].lower()
    if keyword in SSHD_ALGORITHMS:
        return sshd_algorithms(keyword, text)
    if keyword in SSHD_TIMES:
        return _sshd_seconds(text)
    if keyword in SSHD_NUMBERS:
        return _sshd_number(text)
    return words[0][:MAX_TEXT] if keyword == "banner" else SSHD_WORDS.get(text, text)[:MAX_TEXT]


def _sshd_number(text: str) -> int:
    number = to_int(text)
    if number is None:
        raise UnreadError("malformed")
    return number


def _sshd_seconds(text: str) -> int:
    """A time as sshd_config(5) writes it under TIME FORMATS: 90, 2m, 1h30m."""
    parts = re.findall(r"([0-9]{1,9})([smhdw]?)", text)
    if not parts or "".join(map("".join, parts)) != text:
        raise UnreadError("malformed")
    return sum(int(number) * TIME_UNITS[unit] for number, unit in parts)


def sshd_algorithms(keyword: str, text: str) -> List[str]:
    """A list of algorithms; `+`, `-` and `^` change the default one (sshd_config(5), Ciphers)."""
    mark, names = (text[:1], text[1:]) if text[:1] in ("+", "-", "^") else ("", text)
    given = [name for name in names.split(",") if name]
    if not mark:
        return given
    if keyword not in SSHD_DEFAULTS:
        raise UnreadError("default_depends_on_version")
    default = SSHD_DEFAULTS[keyword].split(",")
    if mark == "-":
        return [n for n in default if not any(fnmatch.fnmatchcase(n, g) for g in given)]
    rest = [name for name in default if name not in given]
    added = [name for name in given if name not in default]
    return default + added if mark == "+" else given + rest


def sshd_possible(settings: Facts, blocks: List[Facts]) -> Facts:
    """Each single-valued setting -> every value that some connection may get."""
    possible: Facts = {}
    for keyword, value in settings.items():
        if not isinstance(value, list):
            others = [block["settings"].get(keyword, value) for block in blocks]
            possible[keyword] = sorted({value, *others}, key=str)
    return possible
