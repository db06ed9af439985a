"""The kinds of key store and the keys inside the table of each.

Rule for editors: as for the table of settings, a key that does nothing yet says so in its `state`,
and one that the agent would be less safe without is `refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secretivex.config.rows.setting import MAX_MS, AgentSetting


@dataclass(frozen=True, slots=True)
class StoreType:
    """A kind of key store: its name in `type`, its keys, and why it is missing ("" if it is not)."""

    name: str
    help: str
    settings: tuple[AgentSetting, ...]
    unavailable: str = ""
    only_on: str = ""
    """The system, as `sys.platform` spells it, that alone has such a store; "" for all."""


_KEY_TYPES = AgentSetting(
    "key_types",
    "list",
    None,
    "Offer only keys of these types, for example ssh-ed25519.",
    default_text="all",
)
_CERTIFICATES = AgentSetting(
    "certificates",
    "list",
    None,
    "Certificates (`*-cert.pub`) to offer with the keys that they certify.",
    default_text="none",
)
_PIN_SETTINGS = (
    AgentSetting(
        "pin_env", "text", None, "Name of the variable that holds the PIN.", is_private=True
    ),
    AgentSetting("pin_file", "path", None, "File that holds the PIN."),
    AgentSetting(
        "pin_command", "list", None, "Program and arguments that print the PIN.", is_private=True
    ),
    AgentSetting("askpass", "bool", False, "Ask for the PIN through SSH_ASKPASS, once."),
)
STORE_TYPES: Mapping[str, StoreType] = {
    row.name: row
    for row in (
        StoreType(
            "file",
            "Private keys in files.",
            (
                AgentSetting(
                    "paths",
                    "list",
                    (),
                    "Key files, and folders whose files are read one level deep.",
                    default_text="none",
                ),
                AgentSetting("scan_default_dir", "bool", True, "Read the keys in ~/.ssh too."),
                AgentSetting(
                    "passphrase_env",
                    "text",
                    None,
                    "Name of the variable that holds the passphrase of encrypted keys.",
                    default_text="none",
                    is_private=True,
                ),
                AgentSetting(
                    "passphrase_command",
                    "list",
                    None,
                    "Program and arguments that print the passphrase.",
                    default_text="none",
                    is_private=True,
                ),
                AgentSetting(
                    "passphrase_keyring",
                    "text",
                    None,
                    "Service under which the desktop's keyring has passphrases, by path of the key.",
                    default_text="none",
                ),
                AgentSetting("askpass", "bool", False, "Ask for passphrases through SSH_ASKPASS."),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "pkcs11",
            "Keys in tokens and smartcards, through a PKCS#11 module.",
            (
                AgentSetting("module_path", "path", None, "The PKCS#11 library; required."),
                AgentSetting("uri", "text", None, "Token by RFC 7512 URI."),
                AgentSetting("token_label", "text", None, "Token by label."),
                AgentSetting("token_serial", "text", None, "Token by serial number."),
                AgentSetting("slot", "int", None, "Token by slot number.", minimum=0),
                *_PIN_SETTINGS,
                AgentSetting(
                    "refresh_min_interval_ms",
                    "int",
                    250,
                    "Shortest time between two readings of the token's keys.",
                    minimum=0,
                    maximum=MAX_MS,
                    unit="ms",
                ),
                AgentSetting(
                    "max_sessions",
                    "int",
                    None,
                    "Sessions with the token, each in a process of its own that signs.",
                    minimum=1,
                    maximum=32,
                    default_text="one a core, 2 to 4",
                ),
                AgentSetting(
                    "module_timeout_ms",
                    "int",
                    30_000,
                    "Longest wait for any answer of the module; its process is then replaced.",
                    minimum=100,
                    maximum=MAX_MS,
                    unit="ms",
                ),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "tpm",
            "Keys sealed by a TPM 2.0 in files of TSS2 PEM.",
            (
                AgentSetting(
                    "paths",
                    "list",
                    (),
                    "Files with sealed keys, and folders whose files are read one level deep.",
                    default_text="none",
                ),
                AgentSetting(
                    "device",
                    "text",
                    "device:/dev/tpmrm0",
                    "The TPM: `device:PATH`, or `swtpm:path=SOCKET` for a simulator.",
                ),
                *_PIN_SETTINGS,
                _CERTIFICATES,
                _KEY_TYPES,
            ),
        ),
        StoreType(
            "secure_enclave",
            "Keys held by a Mac's Secure Enclave.",
            (
                AgentSetting(
                    "prompt",
                    "text",
                    "sign in with an SSH key",
                    "What the system says that the person's consent is for.",
                ),
                AgentSetting(
                    "reuse_ms",
                    "int",
                    0,
                    "How long one consent holds; the system allows five minutes at most.",
                    minimum=0,
                    maximum=300_000,
                    unit="ms",
                ),
                _CERTIFICATES,
                _KEY_TYPES,
            ),
            only_on="darwin",
        ),
    )
}
"""Kinds of store by the `type` that chooses them."""
