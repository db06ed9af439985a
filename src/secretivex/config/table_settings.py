"""The keys inside the `policy` table and inside each kind of key store.

Rule for editors: as for the table of settings, a key that does nothing yet says so in its `state`,
and one that the agent would be less safe without is `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secretivex.config.settings import MAX_MS, AgentSetting

CONFIRM_TIMEOUT_MS = 30_000

_POLICY_HELP = {
    "deny_key_blobs": "Keys that never sign: .pub lines, base64 or hexadecimal blobs.",
    "deny_fingerprints": "Keys that never sign: SHA256 or SHA512 fingerprints.",
    "deny_comments": "Keys that never sign: comments; `*`, `?` and `[...]` match as in a shell.",
    "pin_fingerprints": "The only keys that may ever sign; no allow widens this.",
    "allow_key_blobs": "Keys that may sign; one allow of any kind must match.",
    "allow_fingerprints": "Keys that may sign; one allow of any kind must match.",
    "allow_comments": "Keys that may sign; one allow of any kind must match.",
}

POLICY_SETTINGS: tuple[AgentSetting, ...] = (
    *(
        AgentSetting(key, "list", None, text, default_text="none")
        for key, text in _POLICY_HELP.items()
    ),
    AgentSetting(
        "confirm_command",
        "list",
        None,
        "Program and arguments that ask a person before each signature; exit status 0 allows it.",
        default_text="none: SSH_ASKPASS, for keys added with `ssh-add -c`",
    ),
    AgentSetting(
        "confirm_timeout_ms",
        "int",
        CONFIRM_TIMEOUT_MS,
        "How long the person may take to answer.",
        minimum=1,
        maximum=MAX_MS,
        unit="ms",
    ),
    AgentSetting(
        "confirm_cache_ms",
        "int",
        0,
        "How long one answer holds for requests like it.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
    ),
    AgentSetting(
        "rules",
        "tables",
        None,
        "Rules with any conditions; see signing-policy.md.",
        default_text="none",
    ),
)
"""Keys of the `policy` table."""

_RULE_LISTS = {
    "key_blobs": "The key is one of these: .pub lines, base64 or hexadecimal blobs.",
    "fingerprints": "The key has one of these SHA256 or SHA512 fingerprints.",
    "comments": "The key's comment; in any case, with `*`, `?` and `[...]`.",
    "key_types": "The key's type, for example `ssh-ed25519` or `sk-*`.",
    "stores": "The store that holds the key: `file`, `memory` and so on.",
    "executables": "The caller's program by its path; `*`, `?` and `[...]` match, `*` also `/`.",
    "ancestors": "The caller, or a process that it descends from, runs one of these programs.",
    "hosts": "The login is to a host with one of these keys, or with a certificate by one.",
    "users": "The login is as one of these users; `*`, `?` and `[...]` match.",
    "kinds": "What is signed: userauth, sshsig, dsse, certificate, host_key, other.",
    "namespaces": "The namespace of an SSHSIG, for example `git` or `file`.",
    "payload_types": "The payload type of a DSSE envelope.",
    "algorithms": "The signature's algorithm, for example `rsa-sha2-512`.",
    "days": "Days of the week: mon, tue, wed, thu, fri, sat, sun.",
}
_RULE_NUMBERS = {
    "uids": "The caller's user.",
    "gids": "The caller's group.",
    "flags": "The flags of the request: 0, 2 (RSA with SHA-256), 4 (with SHA-512), 6.",
}

RULE_SETTINGS: tuple[AgentSetting, ...] = (
    AgentSetting("name", "text", None, "What records and messages call it.", default_text="rule N"),
    AgentSetting(
        "effect",
        "text",
        None,
        "What it does where all its conditions hold; required.",
        choices=("deny", "pin", "allow", "confirm"),
        default_text="none",
    ),
    *(
        AgentSetting(key, "list", None, text, default_text="any")
        for key, text in _RULE_LISTS.items()
    ),
    *(
        AgentSetting(key, "numbers", None, text, default_text="any")
        for key, text in _RULE_NUMBERS.items()
    ),
    AgentSetting(
        "forwarded",
        "bool",
        None,
        "Whether the request comes by a forwarded connection.",
        default_text="either",
    ),
    AgentSetting("hours", "text", None, "From and to, as `08:00-18:30`.", default_text="any"),
    AgentSetting("utc_offset", "text", "+00:00", "What `hours` and `days` are counted in."),
    AgentSetting(
        "not_before", "text", None, "First moment, as `2026-12-01T00:00:00Z`.", default_text="any"
    ),
    AgentSetting("not_after", "text", None, "First moment that is too late.", default_text="any"),
    AgentSetting(
        "rate",
        "table",
        None,
        'How many signatures: `{ at_most = 100, per_s = 60, each = "key" }`; `over` in place of'
        " `at_most` for deny and confirm.",
        default_text="any",
    ),
)
"""Keys of a table of `policy.rules`."""

RATE_SETTINGS: tuple[AgentSetting, ...] = (
    AgentSetting(
        "at_most",
        "int",
        None,
        "Matches while fewer were made.",
        minimum=1,
        maximum=1_000_000,
        default_text="none",
    ),
    AgentSetting(
        "over",
        "int",
        None,
        "Matches once so many were made.",
        minimum=1,
        maximum=1_000_000,
        default_text="none",
    ),
    AgentSetting(
        "per_s",
        "int",
        None,
        "Length of the window, which begins with its first signature; required.",
        minimum=1,
        maximum=604_800,
        unit="s",
        default_text="none",
    ),
    AgentSetting(
        "each",
        "text",
        "rule",
        "What has a count of its own: the rule, every key, every calling program.",
        choices=("rule", "key", "caller"),
    ),
)
"""Keys of a rule's `rate`."""


@dataclass(frozen=True, slots=True)
class StoreType:
    """A kind of key store: its name in `type`, its keys, and why it is missing ("" if it is not)."""

    name: str
    help: str
    settings: tuple[AgentSetting, ...]
    unavailable: str = ""
    only_on: str = ""
    """The system, as `sys.platform` spells it, that alone has such a store; "" for all."""


_KEY_TYPES = AgentSetting(
    "key_types",
    "list",
    None,
    "Offer only keys of these types, for example ssh-ed25519.",
    default_text="all",
)
_CERTIFICATES = AgentSetting(
    "certificates",
    "list",
    None,
    "Certificates (`*-cert.pub`) to offer with the keys that they certify.",
    default_text="none",
)
_PIN_SETTINGS = (
    AgentSetting("pin_env", "text", None, "Name of the variable that holds the PIN."),
    AgentSetting("pin_file", "path", None, "File that holds the PIN."),
    AgentSetting("pin_command", "list", None, "Program and arguments that print the PIN."),
    AgentSetting("askpass", "bool", False, "Ask for the PIN through SSH_ASKPASS, once."),
)
STORE_TYPES: Mapping[str, StoreType] = {
    row.name: row
    for row in (
        StoreType(
            "file",
            "Private keys in files.",
            (
                AgentSetting(
                    "paths",
                    "list",
                    (),
                    "Key files, and folders whose files are read one level deep.",
                    default_text="none",
                ),
                AgentSetting("scan_default_dir", "bool", True, "Read the keys in ~/.ssh too."),
                AgentSetting(
                    "passphrase_env",
                    "text",
                    None,
                    "Name of the variable that holds the passphrase of encrypted keys.",
                    default_text="none",
                ),
                AgentSetting(
                    "passphrase_command",
                    "list",
                    None,
                    "Program and arguments that print the passphrase.",
                    default_text="none",
                ),
                AgentSetting(
                    "passphrase_keyring",
                    "text",
                    None,
                    "Service under which the desktop's keyring has passphrases, by path of the key.",
                    default_text="none",
                ),
                AgentSetting("askpass", "bool", False, "Ask for passphrases through SSH_ASKPASS."),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "pkcs11",
            "Keys in tokens and smartcards, through a PKCS#11 module.",
            (
                AgentSetting("module_path", "path", None, "The PKCS#11 library; required."),
                AgentSetting("uri", "text", None, "Token by RFC 7512 URI."),
                AgentSetting("token_label", "text", None, "Token by label."),
                AgentSetting("token_serial", "text", None, "Token by serial number."),
                AgentSetting("slot", "int", None, "Token by slot number.", minimum=0),
                *_PIN_SETTINGS,
                AgentSetting(
                    "refresh_min_interval_ms",
                    "int",
                    250,
                    "Shortest time between two readings of the token's keys.",
                    minimum=0,
                    maximum=MAX_MS,
                    unit="ms",
                ),
                AgentSetting(
                    "max_sessions",
                    "int",
                    None,
                    "Sessions with the token, each in a process of its own that signs.",
                    minimum=1,
                    maximum=32,
                    default_text="one a core, 2 to 4",
                ),
                AgentSetting(
                    "module_timeout_ms",
                    "int",
                    30_000,
                    "Longest wait for any answer of the module; its process is then replaced.",
                    minimum=100,
                    maximum=MAX_MS,
                    unit="ms",
                ),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "tpm",
            "Keys sealed by a TPM 2.0 in files of TSS2 PEM.",
            (
                AgentSetting(
                    "paths",
                    "list",
                    (),
                    "Files with sealed keys, and folders whose files are read one level deep.",
                    default_text="none",
                ),
                AgentSetting(
                    "device",
                    "text",
                    "device:/dev/tpmrm0",
                    "The TPM: `device:PATH`, or `swtpm:path=SOCKET` for a simulator.",
                ),
                *_PIN_SETTINGS,
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "secure_enclave",
            "Keys held by a Mac's Secure Enclave.",
            (
                AgentSetting(
                    "prompt",
                    "text",
                    "sign in with an SSH key",
                    "What the system says that the person's consent is for.",
                ),
                AgentSetting(
                    "reuse_ms",
                    "int",
                    0,
                    "How long one consent holds; the system allows five minutes at most.",
                    minimum=0,
                    maximum=300_000,
                    unit="ms",
                ),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
            only_on="darwin",
        ),
    )
}
"""Kinds of store by the `type` that chooses them."""
