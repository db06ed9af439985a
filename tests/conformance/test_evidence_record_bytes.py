"""Records keep their bytes: the same fleet gives the same pack, whichever version exports it.

The digests below were printed by this file under the version that first wrote each kind of record
(`python tests/conformance/test_evidence_record_bytes.py`). A change here is a change of what people
hold: never make one to get a test to pass.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import msgspec
import pytest

from fleetmdm.device import Device, encode_facts
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.records.commit import Written
from fleetmdm.evidence.records.maker import IN_SCOPE, RETIRED, RecordMaker, Said
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.rules import NO_RULES, Rules
from fleetmdm.results import Finding, ResultRow, Status, Transition

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOME_RULES = Rules(allow=("facts.app.mode",), deny=("facts.kernel", "facts.disk.encrypted"))

FACTS: list[dict[str, Any]] = [
    {},
    {"disk": {"encrypted": True}, "kernel": {"release": "6.1.2"}, "app": {"mode": "web-01 x"}},
    {"disk": {"encrypted": "yes"}, "kernel": {"release": 6}, "app": {"mode": None}},
    {
        "numbers": [0, -1, 2**53 - 1, 2**53, 2**63 - 1, 0.5, -0.0, 1e300],
        "load": 0.25,
        "big": 10**15,
    },
    {"one": [5], "none": [], "nothing": {}, "texts": ["a"], "mixed": ["a", 1, None, True, 0.5]},
    {"one": [], "none": [5], "nothing": {}, "texts": ["b"], "mixed": ["]", 1, None, True, 1.5]},
    {"disks": [{"size": 1, "label": "WEB-01"}, {"size": 2.5, "label": "b"}], "deep": [[1], [[]]]},
    {'od"d': "a", "pa\\th": "C:\\Users\\web-01", "end": "\\", "quote": 'say "web-01"', ":5": [[5]]},
    {"ünï": "\u2028", "\U0001f600": "\x7f", "\ue000": "\x00", "": "empty", "a.b": {"c[0]": 1}},
    {"serial": "S-1", "users": {"uid0": ["root", "", "web"]}, "nic": {"mac": ["aa:bb", 5, None]}},
    {"sshd": {"settings": {"allowusers": "anna"}}, "listening": {"tcp": [{"address": "10.0.0.1"}]}},
]
"""What facts look like: plain, of another type, beyond doubles, empty, nested, escaped, identifying."""

NAMES = [("web-01", "web-01.example.org", "SERIAL-1"), ('q"\\', "", None), ("ünï", "u", "")]


def _records(redaction: Redaction) -> Iterator[Written]:
    maker = RecordMaker(FleetKeys(bytes(range(32))), bytes(32), redaction)
    for facts, (device_id, hostname, serial), listed in product(FACTS, NAMES, (None, True, False)):
        tags = ("lab", 'a "b"') if serial else ()
        device = Device(device_id, hostname, "linux", "12", serial, NOON, facts, tags)
        yield from maker.device(
            encode_facts(device), "2026-11-22T12:00:00Z", reason="judged by run 7", listed=listed
        )
    for scope in (IN_SCOPE, RETIRED):
        yield maker.outsider("web-02", scope=scope, reason="it left")
    head = ("p", "fail", 3, "waived", "because of web-01", None, "2026-11-22T12:00:00Z")
    for findings in _findings():
        for names in (frozenset[str](), frozenset({"web-01"})):
            yield maker.result(Said("web-01", head, findings, names))
    yield maker.transition(Transition("web-01", "p", None, Status.FAIL), frozenset({"web-01"}))
    row = ResultRow("web-01", "p", Status.FAIL, (), 2, None)
    yield maker.history(row, NOON, None)
    yield maker.history(row, NOON, NOON + timedelta(hours=1))
    yield maker.decision("waivers.ndjson", "w", [("waiver_id", "w"), ("devices", ["a", "b"])])


def _findings() -> Iterator[bytes]:
    observed: list[Any] = [True, "yes", 0.5, 2**60, None, [], {}, ["root", 5], "web-01", {"a": [1]}]
    for key in ("disk.encrypted", "kernel.release", "os_version", "sshd.settings.allowusers", "no"):
        for seen in observed:
            finding = Finding("checks[0]", key, "eq", [1, 0.5], seen, "mismatch", "no web-01 here")
            yield msgspec.json.encode((finding,))
            yield msgspec.json.encode((finding, finding))
    yield b"[]"


def digest_records(redaction: Redaction) -> str:
    """Over every line and leaf, and what they count."""
    hasher = hashlib.sha256()
    for line, leaf, opened, hidden in _records(redaction):
        hasher.update(b"%d %d %b %b" % (opened, hidden, leaf, line))
    return hasher.hexdigest()


MADE = {
    (Profile.NONE, False): "e0c9c6eec97a5931e7c9f9858fc6bb05fe81f340b92e066998c75350f6dc2297",
    (Profile.NONE, True): "023eebcfc84f55efd0892e4477e7ddf031e1b4c39da41c46f314707aec6f7b72",
    (Profile.MINIMAL, False): "c34dc044f9fc711fff6935a105b902e87bd35fa409c952c093f155a435af5cba",
    (Profile.MINIMAL, True): "924275b8af0678c3b64cc3d39f782af721f0e9be9a4698140272b4c9f485be4a",
    (Profile.STRICT, False): "51b47ed2d4fa46fe2c6d303a56c7e1e00a24e9d7f6eba75bed90fe306ed803ca",
    (Profile.STRICT, True): "742429a94793c45f2b93390323ca79d427b890dbd06bd5e6f1d1e1f8763839e1",
}


def _redaction(profile: Profile, is_ruled: bool) -> Redaction:
    return Redaction(profile, SOME_RULES if is_ruled else NO_RULES)


@pytest.mark.parametrize("case", MADE)
def test_records_are_written_as_ever(case: tuple[Profile, bool]) -> None:
    assert digest_records(_redaction(*case)) == MADE[case]


if __name__ == "__main__":
    for made in MADE:
        sys.stdout.write(f"{made}: {digest_records(_redaction(*made))}\n")
