"""Which stores there are, one row a kind, and what a store may be beside a store.

Rule for editors: a new kind of store is a row here and in the configuration's table; its module is
imported when one is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

from secretivex.identity import KeyStore
from secretivex.stores.hosting.endpoint import Endpoint
from sshwire.keyblob import PublicKey


@dataclass(frozen=True, slots=True)
class StoreSetup:
    """Everything that a store is made from.

    `settings` is its configuration as a table of JSON, `secrets` the values of variables that it
    names, `endpoint` where it may listen if it signs by itself, `memory` what an earlier process of
    the same store left.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    endpoint: Endpoint | None = None
    memory: bytes = field(default=b"", repr=False)
    owner_uid: int = field(default_factory=lambda: os.geteuid())  # noqa: PLW0108 - Windows has none


@runtime_checkable
class SigningStore(Protocol):
    """A store whose own process signs, one signature after another."""

    def sign_with(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature of a plain key; raises `TokenError`. Called in one thread."""
        ...


@runtime_checkable
class Memory(Protocol):
    """A store that must remember something over the end of its process: PINs that were refused."""

    def memory(self) -> bytes:
        """What a successor is to be given."""
        ...

    def forgive(self) -> None:
        """A person asked to look again: what failed may be tried once more, where that is safe."""
        ...


_OPENERS: Mapping[str, str] = {
    "file": "secretivex.stores.file:open_file_store",
    "pkcs11": "secretivex.stores.pkcs11.store:open_pkcs11_store",
    "tpm": "secretivex.stores.tpm.store:open_tpm_store",
    "module": "secretivex.stores.token.module_store:open_module_store",
    "secure_enclave": "secretivex.stores.secure_enclave.store:open_enclave_store",
}


def open_store(setup: StoreSetup) -> KeyStore:
    """The store; nothing is read yet."""
    module, _, name = _OPENERS[setup.kind].partition(":")
    opener = cast("Callable[[StoreSetup], KeyStore]", getattr(import_module(module), name))
    return opener(setup)
