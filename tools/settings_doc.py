"""Writes what the settings table says: in docs/configuration.md, packaging/agent.toml and its schema.

Usage: settings_doc.py [--check]; with --check nothing is written and a difference is exit 1.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from secretivex.config.rows.policy import POLICY_SETTINGS, RATE_SETTINGS, RULE_SETTINGS  # noqa: E402 - same
from secretivex.config.rows.stores import STORE_TYPES  # noqa: E402 - same
from secretivex.config.schema import config_schema  # noqa: E402 - same
from secretivex.config.settings import ENV_PREFIX, SETTINGS, AgentSetting  # noqa: E402 - the path above comes first
from secretivex.profiles import PROFILES, PerCore  # noqa: E402 - same

DOCUMENT = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "packaging" / "agent.toml"
SCHEMA = ROOT / "packaging" / "agent.schema.json"

GROUPS = {
    "general": "General",
    "socket": "Socket",
    "keys": "Keys and what may be done with them",
    "limits": "Limits",
    "files": "Changes of files",
    "metrics": "Metrics",
    "audit": "Audit",
}
STATES = {
    "effective": "",
    "ignored": " *Not in this version: no effect.*",
    "refused": " *Not in this version: refused.*",
}
RELOADED = " *Taken over on reload.*"
KINDS = {
    "text": "text",
    "int": "whole number",
    "bool": "true or false",
    "path": "path",
    "list": "list of texts",
    "numbers": "list of whole numbers",
    "table": "table",
    "tables": "list of tables",
}

_FINGERPRINT = '["SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"]'
_BLOB = '["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]'
EXAMPLES = {
    "profile": '"balanced"',
    "metrics_listen": '"127.0.0.1:9464"',
    "audit_to": '"journald"',
    "paths": '["~/.ssh/id_work", "/etc/secretive/keys"]',
    "passphrase_env": '"AGENT_PASSPHRASE"',
    "passphrase_command": '["secret-tool", "lookup", "service", "ssh"]',
    "passphrase_keyring": '"ssh-keys"',
    "certificates": '["~/.ssh/id_work-cert.pub"]',
    "key_types": '["ssh-ed25519", "ecdsa-sha2-nistp256"]',
    "module_path": '"/usr/lib/softhsm/libsofthsm2.so"',
    "uri": '"pkcs11:token=work;serial=0123"',
    "token_label": '"work"',
    "token_serial": '"0123"',
    "pin_env": '"AGENT_PIN"',
    "pin_command": '["secret-tool", "lookup", "service", "token"]',
    "confirm_command": '["ssh-askpass"]',
    "deny_key_blobs": _BLOB,
    "allow_key_blobs": _BLOB,
    "deny_fingerprints": _FINGERPRINT,
    "pin_fingerprints": _FINGERPRINT,
    "allow_fingerprints": _FINGERPRINT,
    "deny_comments": '["*@old-laptop"]',
    "allow_comments": '["*@work"]',
}
"""Values that the agent takes as they stand; of keys without a default, or with an empty one."""
EXAMPLES_BY_KIND = {
    "int": "4",
    "bool": "true",
    "list": "[]",
    "path": '"/path/to/it"',
    "text": '"..."',
    "tables": '[{ effect = "deny", users = ["root"] }]',
}


def encode_default(value: Any) -> str:
    """A default as TOML has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(encode_default, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def describe_default(row: AgentSetting) -> str:
    """What the documentation says the default is."""
    if row.default_text or row.default is None:
        return row.default_text or "none"
    if isinstance(row.default, PerCore):
        return str(row.default)
    return f"`{encode_default(row.default)}`"


def describe_kind(row: AgentSetting) -> str:
    """Type, bounds and unit."""
    if row.choices:
        return " or ".join(f"`{encode_default(choice)}`" for choice in row.choices)
    bounds = ""
    if row.minimum is not None:
        bounds = f", {row.minimum:g} or more"
    if row.minimum is not None and row.maximum is not None:
        bounds = f", {int(row.minimum)} to {int(row.maximum)}"
    return f"{KINDS[row.kind]}{bounds}" + (f", {row.unit}" if row.unit else "")


def render_rows(rows: Iterable[AgentSetting], *, env: bool) -> Iterator[str]:
    """A Markdown table of settings."""
    yield "| key | value | default |" + (" variable |" if env else "") + " meaning |"
    yield "| --- | --- | --- |" + (" --- |" if env else "") + " --- |"
    for row in rows:
        name = row.env or ENV_PREFIX + row.key.upper()
        variable = f" `{name}` |" if row.kind not in {"table", "tables"} else " |"
        meaning = row.help + STATES[row.state] + ("" if row.needs_restart else RELOADED)
        meaning += " Not on Windows." if row.not_on == "win32" else ""
        first = f"| `{row.key}` | {describe_kind(row)} | {describe_default(row)} |"
        yield f"{first}{variable if env else ''} {meaning} |"


def render_settings() -> Iterator[str]:
    """Every group of settings under its heading."""
    for group, rows in groupby(SETTINGS, key=lambda row: row.group):
        yield from (f"### {GROUPS[group]}", "", *render_rows(rows, env=True), "")


def render_profiles() -> Iterator[str]:
    """What each profile sets."""
    keys = list(dict.fromkeys(key for profile in PROFILES for key in profile.values))
    yield "| setting | " + " | ".join(f"`{profile.name}`" for profile in PROFILES) + " |"
    yield "| --- |" + " --- |" * len(PROFILES)
    yield "| for | " + " | ".join(profile.help for profile in PROFILES) + " |"
    for key in keys:
        cells = (str(profile.values.get(key, "")) for profile in PROFILES)
        yield f"| `{key}` | " + " | ".join(cells) + " |"


def render_stores() -> Iterator[str]:
    """Every kind of store with its keys."""
    for store in STORE_TYPES.values():
        state = f" *{store.unavailable.capitalize()}: refused.*" if store.unavailable else ""
        yield from (f"### `{store.name}`", "", store.help + state, "")
        yield from (*render_rows(store.settings, env=False), "")


def render_sample() -> str:
    """The commented default file: every setting, switched off, and set to what it may be set to."""
    lines = [
        "# Configuration of secretive-agent: every setting with its default.",
        "# Take the # away from the start of a line to set it. Explained in docs/configuration.md;",
        "# `secretive-agent check-config --config FILE` checks a file without starting anything.",
    ]
    for row in SETTINGS:
        if row.kind in {"table", "tables"} or row.key == "worker_threads":
            continue
        lines += ["", *_comment(row.help + STATES[row.state].replace("*", ""))]
        lines += _sample_line(row)
    lines += ["", "# Where keys come from, in the order they are offered."]
    lines += ["[[stores]]", 'type = "file"']
    for row in STORE_TYPES["file"].settings:
        lines += ["", *_comment(row.help + STATES[row.state].replace("*", "")), *_sample_line(row)]
    for store in STORE_TYPES.values():
        if store.name != "file":
            lines += ["", *_comment(store.help), "#[[stores]]", f'#type = "{store.name}"']
            for row in store.settings:
                lines += ["", *_comment(row.help), *_sample_line(row)]
    lines += ["", "# Which signatures may be made; without entries every key may sign.", "[policy]"]
    for row in POLICY_SETTINGS:
        lines += ["", *_comment(row.help + STATES[row.state].replace("*", "")), *_sample_line(row)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, 96)]


def _sample_line(row: AgentSetting) -> list[str]:
    if row.default in (None, ()) or isinstance(row.default, PerCore):
        example = EXAMPLES.get(row.key) or EXAMPLES_BY_KIND[row.kind]
        return [f"# Default: {describe_default(row)}.", f"#{row.key} = {example}"]
    return [f"#{row.key} = {encode_default(row.default)}"]


def render_document(text: str) -> str:
    """The document with every generated block made anew."""
    blocks = {
        "settings": render_settings(),
        "profiles": render_profiles(),
        "stores": render_stores(),
        "policy": render_rows(POLICY_SETTINGS, env=False),
        "rules": render_rows(RULE_SETTINGS, env=False),
        "rate": render_rows(RATE_SETTINGS, env=False),
    }
    for name, lines in blocks.items():
        body = "\n".join(lines).rstrip()
        text, count = re.subn(
            rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)",
            lambda found, body=body: f"{found[1]}\n{body}\n\n{found[2]}",  # type: ignore[misc] # the default binds the loop's value
            text,
            flags=re.DOTALL,
        )
        if count != 1:
            raise SystemExit(f"{DOCUMENT}: block {name} is missing")
    return text


def main(arguments: list[str]) -> int:
    """Write the files, or say which is out of date."""
    wanted = {
        DOCUMENT: render_document(DOCUMENT.read_text()),
        SAMPLE: render_sample(),
        SCHEMA: json.dumps(config_schema(), indent=2) + "\n",
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run tools/settings_doc.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path])
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
