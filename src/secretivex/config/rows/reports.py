"""What the agent tells of itself: metrics, and the audit log."""

from __future__ import annotations

from secretivex.config.rows.setting import MAX_MS, AgentSetting

METRICS: tuple[AgentSetting, ...] = (
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
        not_on="win32",
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
        not_on="win32",
    ),
    AgentSetting(
        "metrics_listen",
        "text",
        None,
        "Loopback address or unix socket that serves metrics.",
        group="metrics",
        default_text="none",
        needs_restart=False,
        not_on="win32",
    ),
)
"""Figures, and where they go."""

AUDIT: tuple[AgentSetting, ...] = (
    AgentSetting(
        "audit_requests",
        "bool",
        False,
        "Keep an audit log: one record for every signature, listing, change and refusal.",
        group="audit",
        not_on="win32",
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
"""Records, and where they go."""
