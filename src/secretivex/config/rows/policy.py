"""The keys inside the `policy` table, inside its rules, and inside their rates.

Rule for editors: as for the table of settings, a key that does nothing yet says so in its `state`,
and one that the agent would be less safe without is `refused`.
"""

from __future__ import annotations

from secretivex.config.rows.setting import MAX_MS, AgentSetting

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
