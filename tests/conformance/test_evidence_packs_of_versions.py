"""Packs that earlier versions wrote are read for ever: verified, shown, judged again, compared."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.evidence.examine.replay import replay_pack
from fleetmdm.evidence.examine.sample import draw_sample
from fleetmdm.evidence.examine.sound import sound_pack
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers

PACKS = Path(__file__).parent / "vectors" / "evidence"
VERSIONS = sorted(path.name for path in PACKS.iterdir())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pack_of_every_version_still_verifies(version: str) -> None:
    folder = PACKS / version
    allowed = parse_allowed_signers((folder / "allowed_signers").read_text())
    trust = Trust(allowed, ["signer"], datetime(2026, 11, 23, tzinfo=UTC), witnesses=["witness"])
    for name, profile in (("pack", "none"), ("view", "strict")):
        report = verify_pack(folder / f"{name}.tar.zst", trust, older=folder / "pack.tar.zst")
        assert report.findings == []
        assert (report.profile, report.derived) == (profile, name == "view")
        # Another release of zstd may write other frames of the same bytes.
        assert {each.code for each in report.warnings} <= {"archive_recompressed"}
    with sound_pack(folder / "pack.tar.zst") as pack:
        replayed = replay_pack(pack)
        assert (replayed.differences, replayed.devices) == ([], 3)
        drawn = draw_sample(pack, nonce="the nonce of this test", size=1)
    assert [each.line for each in drawn] == DRAWN[version], "the draw is part of the format"


DRAWN = {"0.1.0": [2]}
