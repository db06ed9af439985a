"""What the help of each command ends with. Rule for editors: a test parses every line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AGENT: Final[Mapping[str, tuple[str, ...]]] = {
    "run": (
        "secretive-agent run",
        "secretive-agent run --config agent.toml --workers 4 --log-format json",
        "secretive-agent run --socket-path /run/user/1000/agent.sock --key ~/.ssh/deploy_key",
    ),
    "check-config": ("secretive-agent check-config --config agent.toml --probe",),
    "show-config": (
        "secretive-agent show-config --config agent.toml",
        "secretive-agent show-config --schema --output agent.schema.json",
    ),
    "reload": ("secretive-agent reload --socket /run/user/1000/agent.sock",),
    "suggest": ("secretive-agent suggest --calibrate-s 3",),
    "explain": (
        "secretive-agent explain --key deploy --peer self",
        "secretive-agent explain --key deploy.pub --kind sshsig --detail git --format json",
    ),
    "install": ("secretive-agent install --no-start",),
    "uninstall": ("secretive-agent uninstall",),
    "status": ("secretive-agent status --format json",),
}

CLIENT: Final[Mapping[str, tuple[str, ...]]] = {
    "list": ("secretive-client list", "secretive-client list --openssh --filter deploy"),
    "sign": (
        "echo hello | secretive-client sign --comment deploy",
        "secretive-client sign --key deploy.pub --data release.tar --flags sha512 --output r.sig",
    ),
    "health": ("secretive-client health --min-identities 2 --format json",),
    "metrics": ("secretive-client metrics --format json",),
    "hints": ("secretive-client hints pssh --parallel 500",),
    "preflight": ("secretive-client preflight --parallel 500 --strict",),
    "verify": (
        "secretive-client verify --public-key deploy.pub --signature r.sig --data release.tar",
    ),
    "wait-ready": ("secretive-client wait-ready --timeout-ms 5000 --min-identities 1",),
    "add": ("secretive-client add ~/.ssh/deploy_key --lifetime 8h --confirm",),
    "remove": ("secretive-client remove --comment deploy", "secretive-client remove --all"),
    "lock": ("secretive-client lock",),
    "unlock": ("secretive-client unlock",),
    "tail-audit": (
        "secretive-client tail-audit audit.log --lines 50",
        "secretive-client tail-audit audit.log --follow --failed",
    ),
    "verify-audit": ("secretive-client verify-audit audit.log --key-file audit.key",),
    "keys create": ("secretive-client keys create --store tpm --label deploy --type p256",),
    "keys import": ("secretive-client keys import --store tpm --label deploy deploy_key",),
    "keys delete": ("secretive-client keys delete --store tpm --label deploy --yes",),
    "keys export-public": ("secretive-client keys export-public --store tpm",),
    "doctor": ("secretive-client doctor --config agent.toml",),
}

BENCH: Final[Mapping[str, tuple[str, ...]]] = {
    "run": (
        "secretive-bench run --clients 200 --duration 10",
        "secretive-bench run --clients 1000 --reconnect --mode sign --plot latency.svg",
    ),
    "compare": (
        "secretive-bench compare ours.sock theirs.sock --clients 200 --rounds 7",
        "secretive-bench compare ours.sock theirs.sock --plot both.png --format json",
    ),
    "slo": ("secretive-bench slo --gate fanout-1000", "secretive-bench slo --target p99_ms=50"),
    "soak": ("secretive-bench soak --duration 3600 --clients 50 --rate 500",),
}
