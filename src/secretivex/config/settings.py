"""The table of the agent's settings: one row a key; documentation and checks are made from it.

Rule for editors: a key that is known but does nothing yet has a `state` that says so. A key whose
absence would make the agent less safe than it was told to be is `refused`, never `ignored`.
"""

from __future__ import annotations

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
        needs_restart=False,
    ),
    AgentSetting(
        "policy",
        "table",
        None,
        "Which signatures may be made; see Policy.",
        group="keys",
        default_text="no restriction",
        needs_restart=False,
    ),
    AgentSetting(
        "agent_mode",
        "text",
        "full",
        "Whether clients may add, remove and lock keys, or only list them and sign.",
        choices=("full", "read-only"),
        group="keys",
        needs_restart=False,
    ),
    AgentSetting(
        "allow_sha1",
        "bool",
        False,
        "Make signatures over SHA-1 for servers that know nothing newer: ssh-rsa where a client asks"
        " without flags, and ssh-dss.",
        group="keys",
        needs_restart=False,
    ),
    AgentSetting(
        "query_reply",
        "text",
        "rfc9987",
        "How the extension `query` is answered: as RFC 9987 has it, or as its drafts had it, which"
        " asyncssh and other older clients read.",
        choices=("rfc9987", "draft"),
        group="keys",
        needs_restart=False,
    ),
    AgentSetting(
        "allowed_providers",
        "text",
        "",
        "Libraries that clients may have loaded, PKCS#11 modules and middleware of security keys:"
        " patterns of real paths, parted by commas. Empty allows none.",
        group="keys",
        default_text="none",
    ),
    AgentSetting(
        "memory_lock",
        "text",
        "try",
        "Keep the memory of processes that hold keys out of swap: where the system lets us, not at all,"
        " or refuse to start without.",
        choices=("try", "off", "require"),
        group="keys",
    ),
    AgentSetting(
        "restrict_websafe",
        "bool",
        True,
        "Let security keys that a web site may know sign nothing but logins and SSHSIG.",
        group="keys",
    ),
    AgentSetting(
        "websafe_allow",
        "text",
        "ssh:*",
        "Applications of security keys that no web site knows: patterns, parted by commas.",
        group="keys",
        needs_restart=False,
    ),
    AgentSetting(
        "fingerprint_hash",
        "text",
        "sha256",
        "How prompts show the fingerprints of keys.",
        choices=("sha256", "sha512", "md5"),
        group="keys",
    ),
    AgentSetting(
        "hide_denied",
        "bool",
        False,
        "List only keys that the policy would let the caller sign with.",
        group="keys",
        needs_restart=False,
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
        needs_restart=False,
    ),
    AgentSetting(
        "max_signers",
        "int",
        PerCore(4),
        "Signatures in the making at a time over all workers.",
        minimum=1,
        maximum=65_536,
        group="limits",
        needs_restart=False,
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
        needs_restart=False,
    ),
    AgentSetting(
        "inline_sign",
        "bool",
        None,
        "Sign on the worker's event loop rather than in its threads.",
        group="limits",
        default_text="true for Ed25519 and ECDSA keys of the file store, else false",
        needs_restart=False,
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
        needs_restart=False,
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
        needs_restart=False,
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
        needs_restart=False,
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
        needs_restart=False,
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
        needs_restart=False,
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
    ),
    AgentSetting(
        "watch_files",
        "bool",
        True,
        "Read key files again when they change.",
        group="files",
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
    ),
    AgentSetting(
        "metrics_every",
        "int",
        1000,
        "Write a metrics snapshot every so many signatures; 0 is never.",
        minimum=0,
        maximum=1_000_000_000,
        group="metrics",
        needs_restart=False,
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
        needs_restart=False,
    ),
    AgentSetting(
        "metrics_json",
        "bool",
        False,
        "Write snapshots to the log as JSON.",
        group="metrics",
        needs_restart=False,
    ),
    AgentSetting(
        "metrics_output_path",
        "path",
        None,
        "File that holds the newest metrics snapshot.",
        env="SECRETIVE_METRICS_OUTPUT",
        group="metrics",
        default_text="none",
        flags=("metrics-output",),
        needs_restart=False,
    ),
    AgentSetting(
        "metrics_listen",
        "text",
        None,
        "Loopback address or unix socket that serves metrics.",
        group="metrics",
        default_text="none",
        needs_restart=False,
    ),
    AgentSetting(
        "audit_requests",
        "bool",
        False,
        "Keep an audit log: one record for every signature, listing, change and refusal.",
        group="audit",
    ),
    AgentSetting(
        "audit_to",
        "text",
        None,
        "Where audit records go.",
        choices=("file", "stderr", "syslog", "journald"),
        group="audit",
        default_text='"file" where audit_path is set, else "stderr"',
    ),
    AgentSetting(
        "audit_path",
        "path",
        None,
        "File that audit records are appended to.",
        group="audit",
        default_text="none",
    ),
    AgentSetting(
        "audit_key_path",
        "path",
        None,
        "File that the first key of each chain is added to, for `verify-audit`; keep it elsewhere.",
        group="audit",
        default_text="audit_path with .key at its end",
    ),
    AgentSetting(
        "audit_max_bytes",
        "int",
        64 * 1024 * 1024,
        "Size at which a new file is begun.",
        minimum=4096,
        maximum=1 << 40,
        unit="bytes",
        group="audit",
    ),
    AgentSetting(
        "audit_keep",
        "int",
        8,
        "Older files that are kept.",
        minimum=1,
        maximum=10_000,
        group="audit",
    ),
    AgentSetting(
        "audit_fsync",
        "text",
        "batch",
        "When records are made durable: left to the system, within a second, or each batch at once.",
        choices=("none", "batch", "record"),
        group="audit",
    ),
    AgentSetting(
        "audit_on_full",
        "text",
        "refuse",
        "What to do while records cannot be written: sign nothing, or go on and count what is lost.",
        choices=("refuse", "drop-with-counter"),
        group="audit",
    ),
)
"""Every key of the file's top level, in the order of the documentation."""


def settings_at(cores: int) -> tuple[AgentSetting, ...]:
    """The table for a machine with so many cores."""
    return tuple(row.at(cores) for row in SETTINGS)
