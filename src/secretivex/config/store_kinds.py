"""The key stores that can be configured, one value a kind.

Rule for editors: `settings` is what a store's process is told, in terms of JSON; `variables` names the
variables whose values it may know. A secret itself never stands in a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from secretivex.config.rows.stores import STORE_TYPES


@dataclass(frozen=True, slots=True)
class SecretConfig:
    """Where a PIN or a passphrase comes from; everything empty is nowhere."""

    env: str | None = None
    file: Path | None = None
    command: tuple[str, ...] = ()
    keyring: str | None = None
    askpass: bool = False

    def settings(self) -> dict[str, Any]:
        """In terms of JSON."""
        return {
            "env": self.env,
            "file": None if self.file is None else str(self.file),
            "command": list(self.command),
            "keyring": self.keyring,
            "askpass": self.askpass,
        }

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of variables that hold a secret."""
        return () if self.env is None else (self.env,)


@dataclass(frozen=True, slots=True)
class FileStoreConfig:
    """Keys in files: which ones, and how encrypted ones are opened.

    `default_dir` is ~/.ssh where it is to be scanned; `key_types` () is all types.
    """

    kind: ClassVar[str] = "file"
    paths: tuple[Path, ...]
    default_dir: Path | None
    passphrase_env: str | None
    key_types: tuple[str, ...]
    passphrase_command: tuple[str, ...] = ()
    passphrase_keyring: str | None = None
    askpass: bool = False
    certificates: tuple[Path, ...] = ()

    def settings(self) -> dict[str, Any]:
        """In terms of JSON."""
        folder = () if self.default_dir is None else (self.default_dir,)
        secret = SecretConfig(
            self.passphrase_env,
            None,
            self.passphrase_command,
            self.passphrase_keyring,
            self.askpass,
        )
        return {
            "paths": [str(path) for path in (*self.paths, *folder)],
            "named": [str(path) for path in self.paths],
            "key_types": list(self.key_types),
            "passphrase": secret.settings(),
            "certificates": list(map(str, self.certificates)),
        }

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of variables that hold a secret."""
        return () if self.passphrase_env is None else (self.passphrase_env,)


@dataclass(frozen=True, slots=True)
class Pkcs11StoreConfig:
    """Keys in one token of a PKCS#11 module."""

    kind: ClassVar[str] = "pkcs11"
    module_path: Path
    uri: str | None
    token_label: str | None
    token_serial: str | None
    slot: int | None
    pin: SecretConfig
    refresh_min_interval_ms: int
    module_timeout_ms: int
    max_sessions: int | None
    certificates: tuple[Path, ...]
    key_types: tuple[str, ...]
    paths: ClassVar[tuple[Path, ...]] = ()

    def settings(self) -> dict[str, Any]:
        """In terms of JSON."""
        return {
            "module_path": str(self.module_path),
            "uri": self.uri,
            "token_label": self.token_label,
            "token_serial": self.token_serial,
            "slot": self.slot,
            "pin": self.pin.settings(),
            "refresh_min_interval_ms": self.refresh_min_interval_ms,
            "module_timeout_ms": self.module_timeout_ms,
            "max_sessions": self.max_sessions,
            "certificates": list(map(str, self.certificates)),
            "key_types": list(self.key_types),
        }

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of variables that hold a secret."""
        return self.pin.variables


@dataclass(frozen=True, slots=True)
class TpmStoreConfig:
    """Keys that a TPM 2.0 sealed, in files."""

    kind: ClassVar[str] = "tpm"
    paths: tuple[Path, ...]
    device: str
    pin: SecretConfig
    certificates: tuple[Path, ...]
    key_types: tuple[str, ...]

    def settings(self) -> dict[str, Any]:
        """In terms of JSON."""
        return {
            "paths": list(map(str, self.paths)),
            "device": self.device,
            "pin": self.pin.settings(),
            "certificates": list(map(str, self.certificates)),
            "key_types": list(self.key_types),
        }

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of variables that hold a secret."""
        return self.pin.variables


@dataclass(frozen=True, slots=True)
class EnclaveStoreConfig:
    """Keys in a Mac's Secure Enclave."""

    kind: ClassVar[str] = "secure_enclave"
    prompt: str
    reuse_ms: int
    certificates: tuple[Path, ...]
    key_types: tuple[str, ...]
    paths: ClassVar[tuple[Path, ...]] = ()
    variables: ClassVar[tuple[str, ...]] = ()

    def settings(self) -> dict[str, Any]:
        """In terms of JSON."""
        return {
            "prompt": self.prompt,
            "reuse_ms": self.reuse_ms,
            "certificates": list(map(str, self.certificates)),
            "key_types": list(self.key_types),
        }


StoreConfig = FileStoreConfig | Pkcs11StoreConfig | TpmStoreConfig | EnclaveStoreConfig


def store_values(store: StoreConfig) -> dict[str, Any]:
    """What the store's table says or leaves to its defaults, by the keys of a file."""
    return {row.key: _value_of(store, row.key) for row in STORE_TYPES[store.kind].settings}


def _value_of(store: StoreConfig, key: str) -> Any:
    if isinstance(store, FileStoreConfig) and key == "scan_default_dir":
        return store.default_dir is not None
    if isinstance(store, Pkcs11StoreConfig | TpmStoreConfig) and key in _PIN_FIELDS:
        return getattr(store.pin, _PIN_FIELDS[key])
    return getattr(store, key)


_PIN_FIELDS = {"pin_env": "env", "pin_file": "file", "pin_command": "command", "askpass": "askpass"}
