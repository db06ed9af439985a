"""What the help of each command ends with: lines that do what they say on the fleet of `seed`.

Rule for editors: a test runs every line, in this order, in a folder that holds what they name, but
for those that need a host, an agent or an authority elsewhere, which are only parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "init": ("fleetmdm init", "fleetmdm init --db /srv/fleet.db"),
    "seed": ("fleetmdm seed --db sample.db",),
    "inventory validate": (
        "fleetmdm inventory validate device.json",
        "fleetmdm inventory validate hosts.csv --from csv --map device_id=asset --format json",
    ),
    "ingest": (
        "fleetmdm ingest device.json",
        "fleetmdm ingest inventory --strict",
        "fleetmdm ingest hosts.csv --from csv --map device_id=asset",
        "fleetmdm export-collector linux | python3 - | fleetmdm ingest -",
    ),
    "inventory list": ("fleetmdm inventory list --os linux",),
    "inventory show": ("fleetmdm inventory show web-1",),
    "inventory export": ("fleetmdm inventory export --tag prod --output prod.ndjson",),
    "inventory schema": ("fleetmdm inventory schema",),
    "collect": (
        "fleetmdm collect --hosts hosts.txt --user audit --concurrency 50",
        "fleetmdm collect --hosts hosts.txt --timeout 20 --format json",
    ),
    "device list": (
        "fleetmdm device list --tag prod --sort -last_seen",
        "fleetmdm device list --filter os=linux --format json",
    ),
    "device show": ("fleetmdm device show web-1", "fleetmdm device show web-1 --format json"),
    "device tag add": ("fleetmdm device tag add web-1 owner:web-team",),
    "device tag remove": ("fleetmdm device tag remove web-1 owner:web-team",),
    "policy add": (
        "fleetmdm policy add policies",
        "fleetmdm policy add --library all",
    ),
    "policy update": ("fleetmdm policy update policies/disk.yaml",),
    "policy list": (
        "fleetmdm policy list --filter severity=critical",
        "fleetmdm policy list --sort name --format json",
    ),
    "policy show": ("fleetmdm policy show disk",),
    "policy assign": (
        "fleetmdm policy assign disk --tag prod",
        "fleetmdm policy assign disk --where '{key: os, op: eq, value: linux}'",
    ),
    "policy assignments": (
        "fleetmdm policy assignments --policy disk",
        "fleetmdm policy assignments --device web-1",
        "fleetmdm policy assignments --unmatched-tags",
    ),
    "policy unassign": ("fleetmdm policy unassign disk --tag prod",),
    "policy export": ("fleetmdm policy export disk --output disk.yaml",),
    "policy import": ("fleetmdm policy import disk.yaml",),
    "policy lint": (
        "fleetmdm policy lint policies",
        "fleetmdm policy lint policies --format sarif --output lint.sarif",
    ),
    "policy test": (
        "fleetmdm policy test policies",
        "fleetmdm policy test policies --mutate",
    ),
    "check": (
        "fleetmdm check",
        "fleetmdm check --fail-on error --format json",
        "fleetmdm check --device web-1 --as-of 2026-12-01T00:00:00Z",
    ),
    "report": (
        "fleetmdm report --only-failing",
        "fleetmdm report --run 1 --format html --output report.html",
        "fleetmdm report --live --tag web --fail-on unknown",
    ),
    "triage": (
        "fleetmdm triage --limit 5",
        "fleetmdm triage --explain web-1 disk",
        "fleetmdm triage --owner-tag team: --format json",
    ),
    "runs": (
        "fleetmdm runs --limit 5",
        "fleetmdm runs --sort -counts.fail --format json",
        "fleetmdm runs --limit 30 --plot trend.svg",
    ),
    "history show": (
        "fleetmdm history --device web-1",
        "fleetmdm history --status fail --since 2026-01-31T08:00:00Z --limit 20",
    ),
    "history prune": (
        "fleetmdm history prune --keep 30",
        "fleetmdm history prune --before 2026-01-01T00:00:00Z",
    ),
    "drift": (
        "fleetmdm drift",
        "fleetmdm drift --from 1 --to 2 --include-new-missing",
        "fleetmdm drift --fail-on unknown --plot drift.png",
    ),
    "waiver add": (
        (
            "fleetmdm waiver add --policy disk --device web-1 --reason 'replaced in March'"
            " --risk-owner ana --approver ben --expires 2099-03-31 --zone Europe/Lisbon --id W-7"
        ),
        "fleetmdm waiver add waivers.yaml",
    ),
    "waiver list": ("fleetmdm waiver list", "fleetmdm waiver list --all --format json"),
    "waiver revoke": ("fleetmdm waiver revoke W-7 --by ben --reason 'disk replaced'",),
    "attest add": (
        (
            "fleetmdm attest add training --tag prod --answer pass --by ana"
            " --statement 'everyone took the course on 3 March' --id A-1"
        ),
    ),
    "attest list": ("fleetmdm attest list --policy training",),
    "attest revoke": ("fleetmdm attest revoke A-1 --by ana --reason 'a new team joined'",),
    "evidence keygen": (
        "fleetmdm evidence keygen audit-2026 --principal audit@example.org --valid-days 365",
    ),
    "evidence key list": ("fleetmdm evidence key list",),
    "evidence key export": (
        "fleetmdm evidence key export --form allowed-signers --output allowed_signers",
    ),
    "evidence key import": (
        "fleetmdm evidence key import partner.pub --name partner --principal audit@example.com",
    ),
    "evidence export": (
        "fleetmdm evidence export --output pack --key audit-2026",
        (
            "fleetmdm evidence export --run 1 --redact-profile none --key audit-2026"
            " --output pack.tar.zst"
        ),
    ),
    "evidence verify": (
        (
            "fleetmdm evidence verify pack --allowed-signers allowed_signers"
            " --signer audit@example.org --strict"
        ),
        (
            "fleetmdm evidence verify pack --allowed-signers allowed_signers"
            " --signer audit@example.org --format sarif --output findings.sarif"
        ),
    ),
    "evidence show": (
        "fleetmdm evidence show pack",
        "fleetmdm evidence show pack --records results --limit 5",
    ),
    "evidence redact": (
        "fleetmdm evidence redact pack.tar.zst --profile strict --output public.tar.zst",
    ),
    "evidence replay": ("fleetmdm evidence replay pack.tar.zst",),
    "evidence sample": ("fleetmdm evidence sample pack --nonce 'dice: 4 1 6' -n 5",),
    "evidence reveal": ("fleetmdm evidence reveal device-3b5d5c3712955042",),
    "evidence cosign": (
        "fleetmdm evidence cosign pack --role witness --name acme --signing-key-file witness_key",
    ),
    "evidence timestamp": ("fleetmdm evidence timestamp pack --token reply.tsr",),
    "evidence key rotate": (
        "fleetmdm evidence key rotate audit-2026 audit-2027 --overlap-days 30",
    ),
    "evidence key revoke": (
        "fleetmdm evidence key revoke audit-2026 --reason 'laptop was stolen'",
    ),
    "ledger show": ("fleetmdm ledger show --limit 10",),
    "ledger verify": ("fleetmdm ledger verify",),
    "export-collector": ("fleetmdm export-collector linux --output collect.py",),
    "db backup": ("fleetmdm db backup fleet.backup.db",),
    "db migrate": ("fleetmdm db migrate",),
    "db stats": ("fleetmdm db stats",),
    "db restore": ("fleetmdm db restore fleet.backup.db --db restored.db",),
    "doctor": ("fleetmdm doctor --integrity-check", "fleetmdm doctor --vacuum"),
    "schema inventory": ("fleetmdm schema inventory --output inventory.schema.json",),
    "schema policy": ("fleetmdm schema policy --output policy.schema.json",),
    "schema report": ("fleetmdm schema report",),
    "schema evidence": ("fleetmdm schema evidence",),
    "config show": ("fleetmdm config show",),
    "errors": ("fleetmdm errors", "fleetmdm errors --format json"),
    "completion": ("fleetmdm completion bash > /etc/bash_completion.d/fleetmdm",),
    "policy remove": ("fleetmdm policy remove disk",),
    "device retire": ("fleetmdm device retire lab-3",),
    "version": ("fleetmdm version --format json",),
}
