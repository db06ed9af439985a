"""Where the agent listens, what keys it serves and to whom."""

from __future__ import annotations

from secretivex.config.rows.setting import AgentSetting
from secretivex.profiles import PROFILE_NAMES

GENERAL: tuple[AgentSetting, ...] = (
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
        not_on="win32",
    ),
)
"""The profile and the socket."""

KEYS: tuple[AgentSetting, ...] = (
    AgentSetting(
        "stores",
        "tables",
        None,
        "Where keys come from, in the order they are offered; see Stores.",
        group="keys",
        default_text="one file store over ~/.ssh",
        needs_restart=False,
        not_on="win32",
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
        not_on="win32",
    ),
    AgentSetting(
        "memory_lock",
        "text",
        "try",
        "Keep the memory of processes that hold keys out of swap: where the system lets us, not at all,"
        " or refuse to start without.",
        choices=("try", "off", "require"),
        group="keys",
        not_on="win32",
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
)
"""Stores, policy, and what clients may do."""
