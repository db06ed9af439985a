"""What every store must do, done by each of them for real, in a process of its own.

List in a stable order; sign with every algorithm and flag so that the key verifies it; refuse unknown
keys and flags; lose its keys and get them back; sign for many at once; tell how it does and why; stay
answerable while a signature takes long; offer a certificate with the key that it certifies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from store_backends import FORMATS, KINDS, SIGNED

from secretivex.identity import Identity
from secretivex.stores.hosting.endpoint import RemoteKey
from secretivex.stores.memory import MemoryStore
from secretivex.stores.secure_enclave.port import Access
from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import ECC, RSA
from secretivex.stores.tpm.device import Tpm
from secretivex.stores.tpm.pem import encode_key_file
from sshwire.errors import WireError
from sshwire.privkey import PrivateKey, parse_private_key
from sshwire.pubkey import encode_public_line, parse_public_key
from sshwire.signature import parse_signature, verify_signature


@dataclass
class Backend:
    """A store with the keys of `kinds`, one each under its kind as comment."""

    opened: Any
    kinds: tuple[str, ...]
    lose: Callable[[], object]
    bring_back: Callable[[], object]
    slow: Callable[[], AbstractContextManager[object]]
    """While it lasts, what signs or reads keys does not get on."""
    certificate: Path | None = None
    """Where `certificates` says that one may be; None where only clients add certificates."""

    def find(self, comment: str) -> Identity:
        return self.opened.find(comment)  # type: ignore[no-any-return] # an OpenStore


CERTIFICATE = "attached-cert.pub"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def ordered(path: Path, order: str) -> Iterator[None]:
    path.write_text(order)
    try:
        yield
    finally:
        path.unlink()


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
        "certificates": [str(tmp_path / CERTIFICATE)],
        "watch": True,
        "debounce_ms": 50,
    }
    away = tmp_path / "away"
    opened = open_store("file", settings)
    return Backend(
        opened,
        SIGNED["file"],
        lambda: folder.rename(away),
        lambda: away.rename(folder),
        # Its keys are signed with elsewhere: they must not care.
        lambda: stopped(opened.store.pid),
        tmp_path / CERTIFICATE,
    )


@pytest.fixture
def pkcs11_backend(shimmed: Any, open_store: Any, tmp_path: Path) -> Backend:
    token = shimmed
    for number, (name, (kind, _)) in enumerate(KINDS.items(), start=1):
        token.make(kind, name, f"{number:02x}")
    settings = token.settings(certificates=[str(tmp_path / CERTIFICATE)])
    opened = open_store("pkcs11", settings, token.environ, token.secrets)
    home, away = token.objects, tmp_path / "away"

    def lose() -> None:
        shutil.copytree(home, away)
        for _ in range(50):
            # A helper that writes to the token at this moment makes the tool fail.
            with contextlib.suppress(subprocess.CalledProcessError):
                token.run(token.util, "--delete-token", "--token", token.label)
            if not home.exists():
                return

    def bring_back() -> None:
        for _ in range(50):
            # A helper that is in the middle of something may have left, or leave, a file there.
            shutil.rmtree(home, ignore_errors=True)
            with contextlib.suppress(OSError):
                away.rename(home)
                return
        pytest.fail("the token's folder is never empty")

    return Backend(
        opened,
        SIGNED["pkcs11"],
        lose,
        bring_back,
        lambda: ordered(tmp_path / "orders", "sleep 1"),
        tmp_path / CERTIFICATE,
    )


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
    settings = simulator.settings(folder, certificates=[str(tmp_path / CERTIFICATE)])
    opened = open_store("tpm", settings)
    return Backend(
        opened,
        SIGNED["tpm"],
        lambda: folder.rename(away),
        lambda: away.rename(folder),
        lambda: stopped(simulator.process.pid),
        tmp_path / CERTIFICATE,
    )


@pytest.fixture
def enclave_backend(enclave: Any, tmp_path: Path) -> Backend:
    opened, stand_in = enclave
    stand_in.create("p256", Access.NONE)
    opened.reload()
    kept = dict(stand_in.keys)

    def lose() -> None:
        stand_in.keys.clear()
        opened.reload()

    return Backend(
        opened,
        SIGNED["secure_enclave"],
        lose,
        lambda: stand_in.keys.update(kept),
        stand_in.thinking,
        tmp_path / CERTIFICATE,
    )


class InMemory:
    """The keys that clients add, as the supervisor holds them."""

    def __init__(self, keys: Sequence[PrivateKey]) -> None:
        self.store = MemoryStore()
        self._keys = keys
        self.fill()

    def fill(self) -> None:
        for key in self._keys:
            self.store.add(key)

    @property
    def comments(self) -> list[str]:
        return [identity.comment for identity in self.store.identities()]

    def find(self, comment: str) -> Identity:
        return next(one for one in self.store.identities() if one.comment == comment)

    def reload(self) -> None:
        assert self.store.refresh() == ()


@pytest.fixture
def memory_backend(tmp_path: Path, require_program: Callable[[str], str]) -> Backend:
    keys = []
    for name, (_, options) in KINDS.items():
        command = ("-q", *options, "-N", "", "-C", name, "-f", str(tmp_path / name))
        subprocess.run([require_program("ssh-keygen"), *command], check=True, timeout=120)
        keys.append(parse_private_key((tmp_path / name).read_bytes()))
    opened = InMemory(keys)
    return Backend(
        opened, SIGNED["memory"], opened.store.clear, opened.fill, contextlib.nullcontext
    )


BACKENDS = ("file", "memory", "pkcs11", "tpm", "enclave")


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
    answers_while_a_signature_takes_long(backend)
    offers_a_certificate(backend, wait)
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


def answers_while_a_signature_takes_long(backend: Backend) -> None:
    store, made = backend.opened.store, []
    identity = backend.find(backend.kinds[0])
    key = parse_public_key(identity.key_blob)
    signer = threading.Thread(target=lambda: made.append(store.sign(identity, b"slow")))
    with backend.slow():
        signer.start()
        waits = []
        for _ in range(20):
            begun = time.monotonic()
            assert len(store.identities()) == len(backend.kinds)
            assert store.health().identities == len(backend.kinds)
            waits.append(time.monotonic() - begun)
        record = store.export(identity)
        if record.signer is not None:
            remote = RemoteKey(record.signer, identity.key_blob)
            with pytest.raises(TokenError) as caught:
                remote.sign_while(lambda: False, b"nobody wants this", 0)
            assert caught.value.reason == "no_longer_wanted"
    signer.join(60)
    verify_signature(key, made[0], b"slow")
    assert sorted(waits)[len(waits) // 2] < 0.5, waits


def offers_a_certificate(backend: Backend, wait: Callable[..., None]) -> None:
    """One that a stock authority made of the store's key, written where the settings say."""
    opened, name = backend.opened, backend.kinds[0]
    if backend.certificate is None:
        return
    key = parse_public_key(backend.find(name).key_blob)
    folder = backend.certificate.parent
    (folder / "attached.pub").write_text(encode_public_line(key, "x") + "\n")
    for command in (
        ("-q", "-t", "ed25519", "-N", "", "-f", str(folder / "authority")),
        (
            "-q",
            "-s",
            str(folder / "authority"),
            "-I",
            "id",
            "-n",
            "me",
            str(folder / "attached.pub"),
        ),
    ):
        subprocess.run(["ssh-keygen", *command], check=True, timeout=60)
    opened.reload()
    wait(lambda: opened.comments.count(name) == 2, f"not offered: {opened.store.health()}")
    found = next(
        one
        for one in opened.store.identities()
        if one.comment == name and one.algorithm.endswith("-cert-v01@openssh.com")
    )
    for flags in (0, 4):
        verify_signature(key, opened.store.sign(found, b"data", flags), b"data")
    backend.certificate.unlink()
    opened.reload()
    wait(lambda: opened.comments.count(name) == 1, "a certificate that is gone is still offered")


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
