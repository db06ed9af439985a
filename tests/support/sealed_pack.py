"""An evidence pack in the hands of somebody who holds its signing key: spoilt, and sealed again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from clikit.canonical import encode_canonical
from fleetmdm.evidence.manifest import NAMESPACE, Records, encode_manifest, parse_manifest
from fleetmdm.evidence.manifest import Whole as WholeFile
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.sign import sign_form, signature_name
from fleetmdm.evidence.view import Shown, encode_sums, encode_view, parse_view
from fleetmdm.ledger.merkle import tree_root
from sshwire.privkey import PrivateKey
from sshwire.pubkey import fingerprint
from sshwire.sshsig import sign_message


class Pack:
    """A pack to be spoilt, and the key to seal it again with."""

    def __init__(self, root: Path, key: PrivateKey) -> None:
        self.root = root
        self.key = key

    def signature(self, subject: str) -> Path:
        return self.root / signature_name(fingerprint(self.key.public_key.blob), subject)

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a canonical JSON document."""
        document = json.loads((self.root / name).read_bytes())
        change(document)
        newline = b"" if name == "log/leaf.json" else b"\n"
        (self.root / name).write_bytes(encode_canonical(document) + newline)

    def seal(self, *, manifest: bool = True, view: bool = True, sums: bool = True) -> None:
        """Make the lists true again, and sign them."""
        if manifest:
            self._seal_manifest()
        if view:
            self._seal_view()
        if sums:
            names = [
                path.relative_to(self.root).as_posix()
                for path in self.root.rglob("*")
                if path.is_file() and path.parent.name != "signatures" and path.name != "SHA256SUMS"
            ]
            digests = {
                name: hashlib.sha256((self.root / name).read_bytes()).hexdigest() for name in names
            }
            (self.root / "SHA256SUMS").write_bytes(encode_sums(digests))
        for subject, name in (("manifest", "manifest.json"), ("sums", "SHA256SUMS")):
            self.sign(subject, (self.root / name).read_bytes())
        with suppress(ValueError, FileNotFoundError, KeyError):
            self._sign_forms()

    def _sign_forms(self) -> None:
        manifest = (self.root / "manifest.json").read_bytes()
        checkpoint = (self.root / "log" / "checkpoint").read_bytes()
        origin = json.loads(manifest)["ledger"]["origin"]
        for form, kind in (("dsse", "dsse"), ("note", "checkpoint")):
            data = sign_form(
                self.key, form, manifest=manifest, checkpoint=checkpoint, origin=origin
            )
            self.signature(kind).write_bytes(data)

    def sign(self, subject: str, data: bytes, namespace: str = NAMESPACE) -> None:
        self.signature(subject).write_bytes(
            sign_message(data, signer=self.key, namespace=namespace)
        )

    def _seal_manifest(self) -> None:
        old = parse_manifest((self.root / "manifest.json").read_bytes())
        files: dict[str, WholeFile | Records] = {}
        for name, entry in old.files.items():
            data = (self.root / name).read_bytes()
            if isinstance(entry, Records):
                leaves = [parse_record(line).leaf for line in data.splitlines(keepends=True)]
                files[name] = Records(tree_root(leaves).hex(), len(leaves))
            else:
                files[name] = WholeFile(hashlib.sha256(data).hexdigest(), len(data))
        (self.root / "manifest.json").write_bytes(encode_manifest(replace(old, files=files)))

    def _seal_view(self) -> None:
        path = self.root / "view.json"
        records = {}
        for name in parse_view(path.read_bytes()).records:
            lines = (self.root / name).read_bytes().splitlines(keepends=True)
            read = [parse_record(line) for line in lines]
            opened = sum(len(each.fields) for each in read)
            records[name] = Shown(opened, sum(each.hidden for each in read))
        digest = hashlib.sha256((self.root / "manifest.json").read_bytes()).hexdigest()
        view = replace(parse_view(path.read_bytes()), manifest_sha256=digest, records=records)
        path.write_bytes(encode_view(view))
