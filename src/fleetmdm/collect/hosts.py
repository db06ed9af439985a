"""The hosts file: which hosts to collect from, as YAML, strictly read. Pure.

A list of `{name, address, port, user, root, tags, device_id}`; only `name` is required. Rule for
editors: what is not understood is refused with its line, never skipped: a host that is left out
by a misspelt key would be missing from the inventory without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleetmdm.errors import FleetError
from fleetmdm.policy import Position
from fleetmdm.policy_yaml.problems import Problem, Problems
from fleetmdm.policy_yaml.strict import Strict, describe
from fleetmdm.policy_yaml.yaml_tree import MAX_FILE_BYTES, Node, read_documents

MAX_HOSTS = 10_000
MAX_NAME_CHARS = 255
"""RFC 1035 section 2.3.4 bounds a host name; everything else here is shorter still."""
MAX_ROOT_CHARS = 4096
"""PATH_MAX of Linux."""
KEYS = frozenset({"name", "address", "port", "user", "root", "tags", "device_id"})


@dataclass(frozen=True, slots=True)
class HostEntry:
    """One host as the file says it; empty text is "not said"."""

    name: str
    address: str
    port: int = 22
    user: str = ""
    root: str = ""
    """Folder on the host that stands for it; the exporter's --root."""
    tags: tuple[str, ...] = ()
    device_id: str = ""


def parse_hosts(data: bytes, *, name: str) -> tuple[HostEntry, ...]:
    """Every host of the file; raises `hosts_invalid` with all that is wrong."""
    problems = Problems(name)
    hosts = _read(data, problems)
    if problems.found:
        raise _invalid(sorted(problems.found))
    return hosts


def _invalid(found: Sequence[Problem]) -> FleetError:
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return FleetError(
        "hosts_invalid",
        f"{found[0]}{more}",
        hint=f"a hosts file is a list of mappings with the keys {', '.join(sorted(KEYS))}",
        details={"problems": [problem.as_json() for problem in found[:100]]},
    )


def _read(data: bytes, problems: Problems) -> tuple[HostEntry, ...]:
    start = Position(1, 1)
    if len(data) > MAX_FILE_BYTES:
        problems.add(start, "too_large", f"more than {MAX_FILE_BYTES} bytes")
        return ()
    try:
        documents = read_documents(data.decode("utf-8-sig"), problems)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.add(Position(line, 1), "yaml_syntax", "not UTF-8")
        return ()
    if len(documents) != 1:
        if not problems.found:
            problems.add(start, "missing_key", "the file must hold one list of hosts")
        return ()
    strict = Strict(problems)
    nodes = strict.members(documents[0].root, "the file")[:MAX_HOSTS]
    if not nodes and not problems.found:
        problems.add(start, "missing_key", "the list has no host")
    hosts = [(node, _read_host(strict, node)) for node in nodes]
    _refuse_duplicates(strict, hosts)
    return tuple(host for _, host in hosts)


def _read_host(strict: Strict, node: Node) -> HostEntry:
    entries = strict.mapping(node, "a host", known=KEYS, required=("name",))

    def word(key: str, limit: int = MAX_NAME_CHARS) -> str:
        value = entries.get(key)
        text = strict.text(value, key, empty=False)
        if value is not None and text and not _is_word(text, limit):
            reason = f"{key} has blanks, control characters, a leading dash or over {limit} of them"
            strict.wrong(value.position, "invalid_value", reason)
        return text

    name, address = word("name"), word("address")
    root = word("root", MAX_ROOT_CHARS)
    if root and not root.startswith("/"):
        strict.wrong(entries["root"].position, "invalid_value", "root begins with /")
    return HostEntry(
        name=name,
        address=address or name,
        port=_port(strict, entries.get("port")),
        user=word("user"),
        root=root,
        tags=_tags(strict, entries.get("tags")),
        device_id=word("device_id"),
    )


def _is_word(text: str, limit: int) -> bool:
    """Whether a text may stand on a command line and in a log as it is."""
    plain = text.isprintable() and not any(mark.isspace() for mark in text)
    return plain and not text.startswith("-") and len(text) <= limit


def _port(strict: Strict, node: Node | None) -> int:
    if node is None:
        return 22
    value = node.scalar
    if node.kind != "scalar" or type(value) is not int:
        strict.wrong(node.position, "wrong_type", f"port is a number, not {describe(node)}")
    elif not 1 <= value <= 65535:
        strict.wrong(node.position, "invalid_value", "port lies between 1 and 65535")
    else:
        return value
    return 22


def _tags(strict: Strict, node: Node | None) -> tuple[str, ...]:
    tags = strict.texts(node, "tags")
    for tag in tags:
        if node is not None and ("," in tag or not _is_word(tag, 128)):
            reason = f"tag {tag[:80]!r} has a comma, a blank or a leading dash, or is too long"
            strict.wrong(node.position, "invalid_value", reason)
    return tags


def _refuse_duplicates(strict: Strict, hosts: Sequence[tuple[Node, HostEntry]]) -> None:
    """Two entries of one name could not be told apart in the result."""
    lines: dict[str, int] = {}
    for node, host in hosts:
        if host.name in lines:
            reason = f"host {host.name!r} stands at line {lines[host.name]} too"
            strict.wrong(node.position, "duplicate_id", reason)
        elif host.name:
            lines[host.name] = node.position.line
