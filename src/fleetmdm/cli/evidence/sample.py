"""`fleetmdm evidence sample` and `fleetmdm evidence replay`: an auditor's own look at a pack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clikit.table import render_table, show_text
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for its name alone.
    from fleetmdm.evidence.examine.replay import Replayed

_PATH = click.Path(path_type=Path)


@click.command("sample")
@click.argument("pack", type=_PATH)
@click.option(
    "--nonce", required=True, metavar="TEXT", help="Your own words, told to nobody before."
)
@click.option(
    "-n",
    "--size",
    type=click.IntRange(min=1, max=100_000),
    default=25,
    show_default=True,
    help="How many devices.",
)
@fleet_options()
def sample(call: FleetCall, pack: Path, nonce: str, size: int) -> None:
    """Draw devices of PACK to look at again; the manifest and your nonce choose them.

    Each has the ticket SHA-256 of "fleetmdm-sample/1", the manifest's SHA-256, the nonce and the
    line's number from 0, each on a line; the lowest are drawn.
    """
    from fleetmdm.evidence.examine.sample import MAX_NONCE_CHARS, draw_sample
    from fleetmdm.evidence.examine.sound import sound_pack

    if not nonce or "\n" in nonce or len(nonce) > MAX_NONCE_CHARS:
        raise click.UsageError(f"--nonce is one line of at most {MAX_NONCE_CHARS} characters")
    with sound_pack(pack) as sound:
        drawn = draw_sample(sound, nonce=nonce, size=size)
        digest = sound.report.manifest_sha256
    data = {
        "manifest_sha256": digest,
        "nonce": nonce,
        "devices": [
            {"line": each.line, "ticket": each.ticket, "fields": dict(each.fields)}
            for each in drawn
        ],
    }
    rows = [(each.line, each.fields.get("device", ""), each.ticket[:16]) for each in drawn]
    headers = ("line", "device", "ticket")
    call.emit(data, lambda: [render_table(headers, rows, width=call.width)])


@click.command("replay")
@click.argument("pack", type=_PATH)
@fleet_options()
def replay(call: FleetCall, pack: Path) -> None:
    """Judge the inventory of PACK by its policies again: the results must be the same bytes.

    Exits 6 where the view withholds what the policies look at, 1 where the results differ.
    """
    from fleetmdm.evidence.examine.replay import replay_pack
    from fleetmdm.evidence.examine.sound import sound_pack

    with sound_pack(pack) as sound:
        replayed = replay_pack(sound)
    data = {
        "devices": replayed.devices,
        "policies": replayed.policies,
        "results": replayed.rows,
        "counts": dict(sorted(replayed.counts.items())),
        "results_sha256": replayed.results_sha256,
        "identical": not replayed.differing,
        "differing": replayed.differing,
        "differences": replayed.differences,
    }
    call.emit(data, lambda: _tell(replayed), found=_failure(replayed))


def _tell(replayed: Replayed) -> Iterator[str]:
    yield f"{replayed.devices} devices judged again by {replayed.policies} policies\n"
    for text in replayed.differences:
        yield show_text(f"  {text}") + "\n"
    if not replayed.differing:
        yield f"  the same {replayed.rows} results, byte for byte\n"
        yield f"  results.ndjson SHA-256 {replayed.results_sha256}\n"


def _failure(replayed: Replayed) -> FleetError | None:
    if not replayed.differing:
        return None
    return FleetError(
        "replay_differs",
        f"judging again gives other results: {replayed.differences[0]}",
        hint="the pack's tool version stands in run.json",
        details={"differing": replayed.differing},
    )
