"""The process of one module that clients loaded: for all workers, by OpenSSH's `ssh-pkcs11-helper`.

Its keys are listed by who loaded it; here they only sign. Rule for editors: the PIN was right when a
worker tried it, and is tried once here.
"""

from __future__ import annotations

from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.module import HelperModule
from secretivex.stores.token.tools import TokenTools
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey

PIN = "pin"
"""The name of the PIN among a module's secrets."""


class ModuleStore:
    """Signs with the keys of a module; offers none by itself."""

    kind = "module"
    tend_every_s = 3600.0

    def __init__(self, setup: StoreSetup, module: HelperModule) -> None:
        self.name = setup.name
        self._module = module

    def sign_with(self, key: PublicKey, data: bytes, flags: int) -> bytes:
        """The encoded signature of a plain key; raises `TokenError`."""
        try:
            return self._module.sign(key, data, flags)
        except WireError as error:
            raise TokenError("unsupported", str(error)) from error

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Nothing is listed here."""
        return ()

    def identities(self) -> tuple[Identity, ...]:
        """None: clients added them."""
        return ()

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """No key is this store's own."""
        raise LookupError(f"{identity.comment} is not here ({len(data)} bytes, flags {flags})")

    def export(self, identity: Identity) -> KeyRecord:
        """As `sign`."""
        raise LookupError(f"{identity.comment} is not here")

    def health(self) -> StoreHealth:
        """Well: what goes wrong with a signature is told to who wants it."""
        return StoreHealth(self.name, self.kind, is_well=True, identities=0)

    def fileno(self) -> int:
        """Nothing wakes it."""
        return -1

    def tend(self) -> bool:
        """Nothing changes."""
        return False

    def news(self) -> tuple[StoreEvent, ...]:
        """Nothing is reported."""
        return ()

    def close(self) -> None:
        """End the helper, whatever it does."""
        self._module.abandon()


def open_module_store(setup: StoreSetup) -> ModuleStore:
    """The module that settings name; nothing is loaded yet."""
    tools = TokenTools(pkcs11_helper=setup.settings["helper"])
    module = HelperModule(setup.settings["provider"], setup.secrets[PIN], tools)
    return ModuleStore(setup, module)
