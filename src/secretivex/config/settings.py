"""The table of the agent's settings: one row a key; documentation and checks are made from it.

Rule for editors: a key that is known but does nothing yet has a `state` that says so. A key whose
absence would make the agent less safe than it was told to be is `refused`, never `ignored`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from clikit.config import Setting
from secretivex.profiles import PROFILE_NAMES, PerCore, at_cores

ENV_PREFIX = "SECRETIVE_"

MAX_MS = 24 * 60 * 60 * 1000
"""Upper bound of every duration: a day. What is longer is a mistake of unit."""

MAX_FRAME_BYTES = 256 * 1024
"""OpenSSH's AGENT_MAX_LEN."""

State = Literal["effective", "ignored", "refused"]
Group = Literal["general", "socket", "keys", "limits", "files", "metrics", "audit"]


@dataclass(frozen=True, slots=True)
class AgentSetting(Setting):
    """A row of the table.

    `state` tells whether this version acts on the key; `acts_as` is the value it then behaves as,
    which is therefore accepted without a word. `flags` are spellings beside `--key-with-dashes`.
    """

    group: Group = "general"
    default_text: str = ""
    needs_restart: bool = True
    state: State = "effective"
    acts_as: Any = None
    flags: tuple[str, ...] = ()

    def at(self, cores: int) -> AgentSetting:
        """The row with a default that scales with the cores put in figures."""
        return replace(self, default=at_cores(self.default, cores))


SETTINGS: tuple[AgentSetting, ...] = (
    AgentSetting(
        "profile",
        "text",
        None,
        f"Preset for what nothing else sets: {', '.join(PROFILE_NAMES)}.",
    ),
    AgentSetting(
        "socket_path",
        "path",
        None,
        "Where the agent listens.",
        env="SECRETIVE_SOCK",
        group="socket",
        default_text="$XDG_RUNTIME_DIR/secretive/agent.sock, else ~/.secretive/agent.sock",
        flags=("socket",),
    ),
    AgentSetting(
        "socket_backlog",
        "int",
        0,
        "Connections the kernel queues before they are accepted; 0 takes the system's limit.",
        minimum=0,
        maximum=65_535,
        group="socket",
    ),
    AgentSetting(
        "pid_file",
        "path",
        None,
        "File that holds the process number while the agent runs.",
        group="socket",
        default_text="none",
    ),
    AgentSetting(
        "stores",
        "tables",
        None,
        "Where keys come from, in the order they are offered; see Stores.",
        group="keys",
        default_text="one file store over ~/.ssh",
    ),
    AgentSetting(
        "policy",
        "table",
        None,
        "Which signatures may be made; see Policy.",
        group="keys",
        default_text="no restriction",
    ),
    AgentSetting(
        "agent_mode",
        "text",
        "full",
        "Whether clients may add, remove and lock keys.",
        choices=("full", "read-only"),
        group="keys",
        state="refused",
        acts_as="full",
    ),
    AgentSetting(
        "allow_sha1",
        "bool",
        False,
        "Make ssh-rsa signatures over SHA-1 for servers that know nothing newer.",
        group="keys",
        state="refused",
        acts_as=False,
    ),
    AgentSetting(
        "hide_denied",
        "bool",
        False,
        "List only keys that the policy would let the caller sign with.",
        group="keys",
        state="refused",
        acts_as=False,
    ),
    AgentSetting(
        "workers",
        "int",
        PerCore(1, at_most=8),
        "Processes that serve connections and sign.",
        minimum=1,
        maximum=256,
        group="limits",
    ),
    AgentSetting(
        "worker_threads",
        "int",
        None,
        "Deprecated name of `workers`.",
        minimum=1,
        maximum=256,
        group="limits",
        default_text="none",
    ),
    AgentSetting(
        "max_connections",
        "int",
        0,
        "Connections at a time over all workers; 0 is no limit.",
        minimum=0,
        maximum=1_000_000,
        group="limits",
    ),
    AgentSetting(
        "max_signers",
        "int",
        PerCore(4),
        "Signatures in the making at a time over all workers.",
        minimum=1,
        maximum=65_536,
        group="limits",
    ),
    AgentSetting(
        "max_blocking_threads",
        "int",
        None,
        "Threads over all workers for signatures that take long.",
        minimum=1,
        maximum=65_536,
        group="limits",
        default_text="max_signers",
    ),
    AgentSetting(
        "inline_sign",
        "bool",
        None,
        "Sign on the worker's event loop rather than in its threads.",
        group="limits",
        default_text="true for Ed25519 and ECDSA keys of the file store, else false",
    ),
    AgentSetting(
        "max_frame_bytes",
        "int",
        MAX_FRAME_BYTES,
        "Longest request that is read.",
        minimum=4096,
        maximum=MAX_FRAME_BYTES,
        unit="bytes",
        group="limits",
    ),
    AgentSetting(
        "max_identities",
        "int",
        4096,
        "Keys that the agent holds at most.",
        minimum=1,
        maximum=65_536,
        group="limits",
    ),
    AgentSetting(
        "sign_timeout_ms",
        "int",
        0,
        "How long a request may wait for its turn to sign; 0 is no limit.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="limits",
    ),
    AgentSetting(
        "idle_timeout_ms",
        "int",
        0,
        "How long a connection may take to send its next request; 0 is no limit.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="limits",
    ),
    AgentSetting(
        "write_timeout_ms",
        "int",
        10_000,
        "How long a client may take to read a reply; 0 is no limit.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="limits",
    ),
    AgentSetting(
        "drain_timeout_ms",
        "int",
        5000,
        "How long requests in hand may take to finish when the agent stops.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="limits",
    ),
    AgentSetting(
        "identity_cache_ms",
        "int",
        1000,
        "Age limit of the listing of a token's keys; 0 asks the token every time.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="limits",
        state="ignored",
        acts_as=0,
    ),
    AgentSetting(
        "watch_files",
        "bool",
        True,
        "Read key files again when they change.",
        group="files",
        state="ignored",
        acts_as=False,
        flags=("watch",),
    ),
    AgentSetting(
        "watch_debounce_ms",
        "int",
        200,
        "How long changes are gathered before key files are read again.",
        minimum=1,
        maximum=MAX_MS,
        unit="ms",
        group="files",
        state="ignored",
        acts_as=200,
    ),
    AgentSetting(
        "metrics_every",
        "int",
        1000,
        "Write a metrics snapshot every so many signatures; 0 is never.",
        minimum=0,
        maximum=1_000_000_000,
        group="metrics",
        state="ignored",
        acts_as=0,
    ),
    AgentSetting(
        "metrics_interval_ms",
        "int",
        0,
        "Write a metrics snapshot every so often; 0 is never.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        group="metrics",
        state="ignored",
        acts_as=0,
    ),
    AgentSetting(
        "metrics_json",
        "bool",
        False,
        "Write snapshots to the log as JSON.",
        group="metrics",
        state="ignored",
        acts_as=False,
    ),
    AgentSetting(
        "metrics_output_path",
        "path",
        None,
        "File that holds the newest metrics snapshot.",
        env="SECRETIVE_METRICS_OUTPUT",
        group="metrics",
        default_text="none",
        state="ignored",
        flags=("metrics-output",),
    ),
    AgentSetting(
        "metrics_listen",
        "text",
        None,
        "Loopback address or unix socket that serves metrics.",
        group="metrics",
        default_text="none",
        state="ignored",
    ),
    AgentSetting(
        "audit_requests",
        "bool",
        False,
        "Record every request.",
        group="audit",
        state="ignored",
        acts_as=False,
    ),
    AgentSetting(
        "audit_path",
        "path",
        None,
        "File that audit records are appended to.",
        group="audit",
        default_text="stderr",
        state="ignored",
    ),
)
"""Every key of the file's top level, in the order of the documentation."""


def settings_at(cores: int) -> tuple[AgentSetting, ...]:
    """The table for a machine with so many cores."""
    return tuple(row.at(cores) for row in SETTINGS)


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
        "Program and arguments that ask a person before each signature.",
        default_text="none",
        state="refused",
    ),
    AgentSetting(
        "confirm_timeout_ms",
        "int",
        30_000,
        "How long the person may take to answer.",
        minimum=1,
        maximum=MAX_MS,
        unit="ms",
        state="refused",
        acts_as=30_000,
    ),
    AgentSetting(
        "confirm_cache_ms",
        "int",
        0,
        "How long one answer holds for requests like it.",
        minimum=0,
        maximum=MAX_MS,
        unit="ms",
        state="refused",
        acts_as=0,
    ),
)
"""Keys of the `policy` table."""


@dataclass(frozen=True, slots=True)
class StoreType:
    """A kind of key store: its name in `type`, its keys, and why it is missing ("" if it is not)."""

    name: str
    help: str
    settings: tuple[AgentSetting, ...]
    unavailable: str = ""


_KEY_TYPES = AgentSetting(
    "key_types",
    "list",
    None,
    "Offer only keys of these types, for example ssh-ed25519.",
    default_text="all",
)
_PIN_SETTINGS = (
    AgentSetting("pin_env", "text", None, "Name of the variable that holds the PIN."),
    AgentSetting("pin_file", "path", None, "File that holds the PIN."),
    AgentSetting("pin_command", "list", None, "Program and arguments that print the PIN."),
)
_LATER = "not available in this version"

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
                    state="refused",
                ),
                AgentSetting(
                    "askpass",
                    "bool",
                    False,
                    "Ask for passphrases through SSH_ASKPASS.",
                    state="refused",
                    acts_as=False,
                ),
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
                    "max_sessions", "int", None, "Sessions at a time.", minimum=1, maximum=1024
                ),
                _KEY_TYPES,
            ),
            _LATER,
        ),
        StoreType("tpm", "Keys held by a TPM 2.0.", (_KEY_TYPES,), _LATER),
        StoreType("secure_enclave", "Keys held by a Mac's Secure Enclave.", (_KEY_TYPES,), _LATER),
    )
}
"""Kinds of store by the `type` that chooses them."""
