"""What `secretive-client keys` does in each kind of store that can: one class a kind.

Rule for editors: files are written whole or not at all, for their owner alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Protocol

from clikit.output import write_atomic
from secretivex.cli.client.storing.chosen import ChosenStore
from secretivex.errors import SecretiveError
from secretivex.stores.secret_source import SecretSource
from secretivex.stores.token.errors import TokenError
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Maker(Protocol):
    """A store that keys can be made in."""

    actions: ClassVar[frozenset[str]]

    def create(self, label: str, kind: str, access: str) -> str:
        """Make a key; answers the line of its `.pub` file."""
        ...

    def take_over(self, label: str, key: PrivateKey) -> str:
        """Seal a key; answers the line of its `.pub` file."""
        ...

    def delete(self, label: str) -> None:
        """Remove a key."""
        ...


class TpmMaker:
    """Keys of a TPM are files in the first folder of the store's paths."""

    actions: ClassVar[frozenset[str]] = frozenset({"create", "import", "delete"})

    def __init__(self, chosen: ChosenStore) -> None:
        self._setup = chosen.setup
        folders = [Path(path) for path in self._setup.settings["paths"] if Path(path).is_dir()]
        if not folders:
            hint = "make it: mkdir -m 700 FOLDER"
            raise SecretiveError("store_unavailable", "no path of the store is a folder", hint=hint)
        self._folder = folders[0]

    def create(self, label: str, kind: str, _access: str) -> str:
        """A key that never was outside the TPM."""
        from secretivex.stores.tpm.codec import ECC, RSA

        path = self._free_path(label)
        tpm = self._tpm()
        try:
            file = tpm.create(ECC if kind == "p256" else RSA, self._auth(label))
        finally:
            tpm.close()
        return self._write(path, label, file)

    def take_over(self, label: str, key: PrivateKey) -> str:
        """A key of a file, sealed."""
        from secretivex.stores.tpm.codec import ECC, RSA, sized

        path = self._free_path(label)
        secret: Any = key.secret
        if key.public.algorithm == "ecdsa-sha2-nistp256":
            numbers = secret.private_numbers()
            point = numbers.public_numbers
            unique = sized(point.x.to_bytes(32, "big")) + sized(point.y.to_bytes(32, "big"))
            parts = (ECC, unique, numbers.private_value.to_bytes(32, "big"))
        elif key.public.algorithm == "ssh-rsa" and secret.key_size == 2048:
            numbers = secret.private_numbers()
            if numbers.public_numbers.e != 65537:
                raise SecretiveError("store_cannot", "the RSA key's exponent is not 65537")
            modulus = numbers.public_numbers.n.to_bytes(256, "big")
            parts = (RSA, sized(modulus), numbers.p.to_bytes(128, "big"))
        else:
            raise SecretiveError("store_cannot", "a TPM takes P-256 and RSA-2048 keys only")
        tpm = self._tpm()
        try:
            file = tpm.import_key(*parts, self._auth(label))
        finally:
            tpm.close()
        return self._write(path, label, file)

    def delete(self, label: str) -> None:
        """The sealed key's file, and what stands beside it."""
        path = self._path(label)
        if not path.exists():
            raise SecretiveError("key_not_found", f"there is no file {path}")
        path.unlink()
        path.with_name(path.name + ".pub").unlink(missing_ok=True)

    def _path(self, label: str) -> Path:
        if not _LABEL.fullmatch(label):
            hint = "letters, digits and . _ @ -, 64 at most"
            raise SecretiveError("usage", f"--label {label}: no name for a file", hint=hint)
        return self._folder / label

    def _free_path(self, label: str) -> Path:
        path = self._path(label)
        if path.exists():
            raise SecretiveError("store_cannot", f"{path} exists already")
        return path

    def _tpm(self) -> Any:
        from secretivex.stores.tpm.device import Tpm

        return Tpm(self._setup.settings["device"])

    def _auth(self, label: str) -> bytes:
        """The password of the store's source, if it has one."""
        table = self._setup.settings["pin"]
        source = SecretSource.from_table(table, self._setup.environ, self._setup.secrets)
        return source.read(f"Password for the new key {label}", label) if source.words else b""

    def _write(self, path: Path, label: str, file: Any) -> str:
        from secretivex.stores.tpm.pem import encode_key_file
        from secretivex.stores.tpm.store import public_key_of

        line = encode_public_line(public_key_of(file), label)
        write_atomic(path, [encode_key_file(file)])
        write_atomic(path.with_name(path.name + ".pub"), [line.encode() + b"\n"], mode=0o644)
        return line


class EnclaveMaker:
    """Keys of a Secure Enclave."""

    actions: ClassVar[frozenset[str]] = frozenset({"create", "delete"})

    def __init__(self, enclave: Any) -> None:
        self._enclave = enclave

    def create(self, label: str, kind: str, access: str) -> str:
        """A key that never leaves the Enclave."""
        from secretivex.stores.secure_enclave.port import Access, Refusal, explain
        from secretivex.stores.secure_enclave.store import public_key_of

        if kind != "p256":
            raise SecretiveError("store_cannot", "a Secure Enclave makes P-256 keys only")
        made = self._enclave.create(label, Access(access))
        if isinstance(made, Refusal):
            raise explain(made)
        return encode_public_line(public_key_of(made), label)

    def take_over(self, label: str, key: PrivateKey) -> str:
        """No key gets in."""
        raise TokenError("unsupported", f"{label}: {key.public.algorithm} cannot be imported")

    def delete(self, label: str) -> None:
        """For ever."""
        from secretivex.stores.secure_enclave.port import Refusal, explain

        found = self._enclave.discover()
        if isinstance(found, Refusal):
            raise explain(found)
        for key in found:
            if key.label == label:
                refusal = self._enclave.delete(key)
                if refusal is not None:
                    raise explain(refusal)
                return
        raise SecretiveError("key_not_found", f"the Enclave has no key {label}")


def maker_of(chosen: ChosenStore) -> Maker | None:
    """Who makes keys in a store; None for a kind that others make keys for."""
    if chosen.setup.kind == "tpm":
        return TpmMaker(chosen)
    if chosen.setup.kind == "secure_enclave":
        from secretivex.stores.secure_enclave.macos import MacEnclave

        return EnclaveMaker(MacEnclave())
    return None
