"""What every store must do, done by each of them for real, in a process of its own.

List in a stable order; sign with every algorithm and flag so that the key verifies it; refuse unknown
keys and flags; lose its keys and get them back; sign for many at once; tell how it does and why.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secretivex.identity import Identity
from secretivex.stores.secure_enclave.port import Access
from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import ECC, RSA
from secretivex.stores.tpm.device import Tpm
from secretivex.stores.tpm.pem import encode_key_file
from sshwire.errors import WireError
from sshwire.pubkey import parse_public_key
from sshwire.signature import parse_signature, verify_signature

KINDS = {
    "ed25519": ("EC:edwards25519", ("-t", "ed25519")),
    "p256": ("EC:prime256v1", ("-t", "ecdsa", "-b", "256")),
    "p384": ("EC:secp384r1", ("-t", "ecdsa", "-b", "384")),
    "p521": ("EC:secp521r1", ("-t", "ecdsa", "-b", "521")),
    "rsa2048": ("rsa:2048", ("-t", "rsa", "-b", "2048")),
    "rsa3072": ("rsa:3072", ("-t", "rsa", "-b", "3072")),
    "rsa4096": ("rsa:4096", ("-t", "rsa", "-b", "4096")),
}
FORMATS = {
    "ed25519": "ssh-ed25519",
    "p256": "ecdsa-sha2-nistp256",
    "p384": "ecdsa-sha2-nistp384",
    "p521": "ecdsa-sha2-nistp521",
}


@dataclass
class Backend:
    """A store with the keys of `kinds`, one each under its kind as comment."""

    opened: Any
    kinds: tuple[str, ...]
    lose: Callable[[], object]
    bring_back: Callable[[], object]

    def find(self, comment: str) -> Identity:
        return self.opened.find(comment)  # type: ignore[no-any-return] # an OpenStore


@pytest.fixture
def file_backend(tmp_path: Path, open_store: Any, require_program: Callable[[str], str]) -> Backend:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    for name, (_, options) in KINDS.items():
        command = ("-q", *options, "-N", "", "-C", name, "-f", str(folder / name))
        subprocess.run([require_program("ssh-keygen"), *command], check=True, timeout=120)
    settings = {
        "paths": [str(folder)],
        "key_types": [],
        "passphrase": {},
        "certificates": [],
        "watch": True,
        "debounce_ms": 50,
    }
    away = tmp_path / "away"
    return Backend(
        open_store("file", settings),
        tuple(KINDS),
        lambda: folder.rename(away),
        lambda: away.rename(folder),
    )


@pytest.fixture
def pkcs11_backend(make_token: Any, open_store: Any, tmp_path: Path) -> Backend:
    token = make_token()
    for number, (name, (kind, _)) in enumerate(KINDS.items(), start=1):
        token.make(kind, name, f"{number:02x}")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    home, away = token.objects, tmp_path / "away"

    def lose() -> None:
        shutil.copytree(home, away)
        token.run(token.util, "--delete-token", "--token", token.label)

    return Backend(opened, tuple(KINDS), lose, lambda: away.rename(home))


@pytest.fixture
def tpm_backend(simulator: Any, open_store: Any, tmp_path: Path) -> Backend:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    tpm = Tpm(simulator.address)
    for name, kind in (("p256", ECC), ("rsa2048", RSA)):
        (folder / name).write_bytes(encode_key_file(tpm.create(kind, b"")))
        (folder / name).chmod(0o600)
    tpm.close()
    away = tmp_path / "away"
    opened = open_store("tpm", simulator.settings(folder))
    return Backend(
        opened, ("p256", "rsa2048"), lambda: folder.rename(away), lambda: away.rename(folder)
    )


@pytest.fixture
def enclave_backend(enclave: Any) -> Backend:
    opened, stand_in = enclave
    stand_in.create("p256", Access.NONE)
    opened.reload()
    kept = dict(stand_in.keys)

    def lose() -> None:
        stand_in.keys.clear()
        opened.reload()

    return Backend(opened, ("p256",), lose, lambda: stand_in.keys.update(kept))


BACKENDS = ("file", "pkcs11", "tpm", "enclave")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_backend")


def test_a_store_keeps_to_the_port(backend: Backend, wait: Callable[..., None]) -> None:
    """One test, for making the keys takes longer than all of it."""
    opened, store = backend.opened, backend.opened.store
    wait(lambda: len(opened.comments) == len(backend.kinds), f"not listed: {store.health()}")
    assert opened.comments == sorted(backend.kinds)
    health = store.health()
    assert (health.is_well, health.identities) == (True, len(backend.kinds))
    signs_everything(backend)
    refuses_the_unknown(backend)
    serves_many_at_once(backend)
    survives_a_loss(backend, wait)


def signs_everything(backend: Backend) -> None:
    for name in backend.kinds:
        identity = backend.find(name)
        key = parse_public_key(identity.key_blob)
        for flags, rsa in (
            (0, "rsa-sha2-256"),
            (2, "rsa-sha2-256"),
            (4, "rsa-sha2-512"),
            (6, "rsa-sha2-256"),
        ):
            for data in (b"d", b"x" * 100_000):
                signature = backend.opened.store.sign(identity, data, flags)
                verify_signature(key, signature, data)
                assert parse_signature(signature).format == FORMATS.get(name, rsa)


def refuses_the_unknown(backend: Backend) -> None:
    store = backend.opened.store
    with pytest.raises(LookupError):
        store.sign(Identity(b"no key", "", "", "x"), b"data")
    with pytest.raises((TokenError, WireError)):
        store.sign(backend.find(backend.kinds[0]), b"data", 8)


def serves_many_at_once(backend: Backend) -> None:
    failures: list[Exception] = []

    def work(number: int) -> None:
        identity = backend.find(backend.kinds[number % len(backend.kinds)])
        for turn in range(5):
            data = f"{number} {turn}".encode()
            try:
                signature = backend.opened.store.sign(identity, data)
                verify_signature(parse_public_key(identity.key_blob), signature, data)
            except Exception as error:  # noqa: BLE001 - counted
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def survives_a_loss(backend: Backend, wait: Callable[..., None]) -> None:
    opened = backend.opened
    count = len(backend.kinds)
    backend.lose()
    wait(lambda: len(opened.comments) < count, f"still listed: {opened.store.health()}")
    backend.bring_back()
    opened.reload()
    wait(lambda: len(opened.comments) == count, f"not back: {opened.store.health()}")
    signature = opened.store.sign(backend.find(backend.kinds[0]), b"again")
    verify_signature(parse_public_key(backend.find(backend.kinds[0]).key_blob), signature, b"again")
    wait(lambda: opened.store.health().is_well, f"unwell: {opened.store.health()}")
