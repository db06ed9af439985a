"""`fleetmdm evidence show`: what a pack says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clikit.table import show_text
from fleetmdm.cli.evidence.redact import describe_rules
from fleetmdm.cli.session import FleetCall, fleet_options

if TYPE_CHECKING:
    # Imported for its name alone.
    from fleetmdm.evidence.examine.sound import SoundPack

_RECORDS = (
    *("population", "inventory", "results", "transitions"),
    *("assignments", "waivers", "attestations", "history"),
)


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--records", type=click.Choice(_RECORDS), help="Show what is open in these records.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N")
@click.option("--offset", type=click.IntRange(min=0), default=0, show_default=True, metavar="N")
@fleet_options()
def command(call: FleetCall, pack: Path, records: str | None, limit: int, offset: int) -> None:
    """Show what PACK says of itself, once its bytes hold.

    Nobody vouches for it by that: whom to trust is asked by `evidence verify`.
    """
    from fleetmdm.evidence.examine.sound import sound_pack

    with sound_pack(pack) as sound:
        if records is None:
            data = _describe(sound)
            call.emit(data, lambda: _tell(data))
            return
        rows = list(_rows(sound, f"{records}.ndjson", offset, limit))
    call.emit(rows, lambda: (_tell_row(row) for row in rows))


def _describe(pack: SoundPack) -> dict[str, Any]:
    from fleetmdm.evidence.names import METADATA, RECONCILIATION, RUN

    shown = pack.report.shown
    return {
        "pack": str(pack.path),
        "metadata": pack.document(METADATA),
        "run": pack.document(RUN),
        "ledger": dict(pack.manifest.ledger),
        "manifest_sha256": pack.report.manifest_sha256,
        "redaction_profile": pack.report.profile,
        "redaction_rules": describe_rules(pack.report.rules),
        "derived_view": pack.report.derived,
        "signers": [
            {"fingerprint": one.fingerprint, "algorithm": one.algorithm, "forms": list(one.forms)}
            for one in pack.manifest.signers
        ],
        "reconciliation": pack.document(RECONCILIATION),
        "records": {
            name: {"opened": each.opened, "hidden": each.hidden}
            for name, each in sorted(shown.items())
        },
        "warnings": [
            {"code": each.code, "file": each.file, "message": each.message}
            for each in pack.report.warnings
        ],
    }


def _tell(data: dict[str, Any]) -> Iterator[str]:
    run, devices = data["run"], data["reconciliation"]["devices"]
    yield show_text(f"run {run['run_id']} of {data['ledger']['origin']}") + "\n"
    yield show_text(f"  as of {run['as_of']}, finished {run['finished_at']}") + "\n"
    yield show_text(f"  by fleetmdm {run['tool_version']}") + "\n"
    yield f"  {devices['in_scope']} devices in scope, {run['policies']} policies\n"
    for state, count in run["counts"].items():
        yield show_text(f"    {state}: {count}") + "\n"
    yield f"  leaf {data['ledger']['size'] - 1} of the log, root {data['ledger']['root']}\n"
    opened = sum(each["opened"] for each in data["records"].values())
    hidden = sum(each["hidden"] for each in data["records"].values())
    kind = "derived view" if data["derived_view"] else "view as exported"
    yield f"  {kind}, profile {data['redaction_profile']}: {opened} fields shown, {hidden} withheld\n"
    for effect, rules in data["redaction_rules"].items():
        yield "".join(show_text(f"  rules {effect} {rule}") + "\n" for rule in rules)
    for signer in data["signers"]:
        forms = ", ".join(signer["forms"])
        text = f"  names as signer {signer['fingerprint']} ({signer['algorithm']}; {forms})"
        yield show_text(text) + "\n"
    yield "  not asked here: whom to trust (fleetmdm evidence verify)\n"


def _rows(pack: SoundPack, name: str, offset: int, limit: int) -> Iterator[dict[str, Any]]:
    from fleetmdm.evidence.records.reading import parse_record

    for line in islice(pack.lines(name), offset, offset + limit):
        record = parse_record(line)
        yield {"fields": dict(record.fields), "hidden": record.hidden}


def _tell_row(row: dict[str, Any]) -> str:
    fields = "".join(
        f"  {show_text(f'{path}: {value}')}\n" for path, value in row["fields"].items()
    )
    return f"record with {row['hidden']} fields withheld\n{fields}"
