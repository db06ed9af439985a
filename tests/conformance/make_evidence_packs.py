"""Make the packs of this version that later versions must be able to read.

    python tests/conformance/make_evidence_packs.py tests/conformance/vectors/evidence/VERSION

Run once for each released version, and never again for an older one: what lies in that folder is
what people hold. Signed by a key whose secret is thirty-two times the byte 1.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.evidence.pack.cosign import add_witness
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.redact import Profile
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import open_store
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey, encode_public_line
from sshwire.wire import encode_string

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY = b"""---
id: ssh-root-login
name: No direct root login
severity: high
references:
  - {framework: CIS, control: "5.1.20"}
checks:
  - {key: sshd.settings.permitrootlogin, op: eq, value: "no", message: root may log in}
"""


def make_key(number: int) -> PrivateKey:
    """A key by its number."""
    secret = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    blob = encode_string(b"ssh-ed25519") + encode_string(secret.public_key().public_bytes_raw())
    return PrivateKey(PublicKey("ssh-ed25519", blob), "", secret)


def main(folder: Path) -> None:
    """Two runs of three devices, the later one as a pack, a witness's word, and a strict view."""
    folder.mkdir(parents=True)
    with (
        tempfile.TemporaryDirectory() as name,
        closing(open_store(Path(name) / "f.db", create=True, now=NOON)) as store,
    ):
        store.put_policies([parse_policy(POLICY, name="p")], now=NOON)
        for hours, logins in enumerate((["yes", "yes", "no"], ["no", "yes", "yes"])):
            at = NOON + timedelta(hours=hours)
            devices = [
                Device(
                    f"device-{number}",
                    f"host-{number}.example.org",
                    "linux",
                    "12",
                    f"SERIAL-{number}",
                    at,
                    {"sshd": {"settings": {"permitrootlogin": login}}, "odd": [{"size": 0.5}]},
                )
                for number, login in enumerate(logins)
            ]
            store.put_devices(devices, source=Source.DOCUMENT, now=at)
            new = NewRun(at, at, version("secretivex-fleetmdm"))
            record_run(store, new, clock=partial(max, at, at))
        options = ExportOptions(
            folder / "pack.tar.zst",
            Profile.NONE,
            (make_key(1),),
            version("secretivex-fleetmdm"),
            NOON,
        )
        export_pack(store, newest_run(store), options)
    add_witness(options.output, [make_key(2)], name="witness.example.org", now=NOON)
    derive_view(options.output, folder / "view.tar.zst", Profile.STRICT)
    lines = [
        f'signer namespaces="evidence@fleetmdm" {encode_public_line(make_key(1).public_key)}\n',
        f'witness namespaces="witness@fleetmdm" {encode_public_line(make_key(2).public_key)}\n',
    ]
    (folder / "allowed_signers").write_text("".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
