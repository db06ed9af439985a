"""What tokens need of the machine: OpenSSH's programs, which providers may be loaded, who asks.

Rule for editors: a provider is code that runs with the user's rights. Its path is judged after
every symbolic link is resolved, and what is loaded is the resolved path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from secretivex.stores.token.errors import TokenError
from sshwire.patterns import match_pattern_list
from sshwire.pubkey import fingerprint, md5_fingerprint
from sshwire.token.sk_helper import INTERNAL_PROVIDER

SK_HELPER = "/usr/lib/openssh/ssh-sk-helper"
PKCS11_HELPER = "/usr/lib/openssh/ssh-pkcs11-helper"
ASKPASS = "/usr/bin/ssh-askpass"

DEFAULT_PROVIDERS = "/usr/lib*/*,/usr/local/lib*/*"
"""Patterns of allowed providers in ssh-agent(1), option -P."""

MAX_PROVIDER_BYTES = 4096
"""PATH_MAX of Linux."""

_ASKPASS_VARIABLES = frozenset(
    {
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "XDG_SESSION_TYPE",
        "XDG_CURRENT_DESKTOP",
        "DBUS_SESSION_BUS_ADDRESS",
        "HOME",
        "PATH",
        "LANG",
        "LANGUAGE",
        "SSH_ASKPASS",
        "SSH_ASKPASS_REQUIRE",
    }
)


@dataclass(frozen=True, slots=True)
class TokenTools:
    """One value for a whole agent. `askpass` is "" where nobody can be asked.

    `device_lock` is a descriptor that all processes of an agent share, -1 where there is but one:
    who holds its record lock uses the security key.
    """

    sk_helper: str = SK_HELPER
    pkcs11_helper: str = PKCS11_HELPER
    allowed_providers: str = DEFAULT_PROVIDERS
    restrict_websafe: bool = True
    websafe_allow: str = "ssh:*"
    """Applications of security keys that are not a web site's: PROTOCOL.u2f."""
    device_lock: int = -1
    askpass: str = ""
    askpass_environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    confirm_command: tuple[str, ...] = ()
    """Asks before every signature, whatever the key; empty for those that must, by `askpass`."""
    confirm_timeout_ms: int = 30_000
    fingerprint_hash: str = "sha256"

    def as_table(self) -> dict[str, Any]:
        """In terms of JSON."""
        return asdict(self)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """The inverse."""
        return cls(**{**table, "confirm_command": tuple(table["confirm_command"])})

    def show(self, key_blob: bytes) -> str:
        """A key's fingerprint, as prompts have it."""
        is_md5 = self.fingerprint_hash == "md5"
        return md5_fingerprint(key_blob) if is_md5 else fingerprint(key_blob, self.fingerprint_hash)

    def resolve(self, provider: str) -> str:
        """The path of a provider without symbolic links; raises `TokenError`."""
        if len(os.fsencode(provider)) > MAX_PROVIDER_BYTES or "\0" in provider or not provider:
            raise TokenError("provider_not_found", "the provider's name is not a path")
        try:
            return os.path.realpath(provider, strict=True)
        except OSError as error:
            reason = error.strerror or "no such file"
            raise TokenError("provider_not_found", f"{provider}: {reason}") from error

    def allow(self, provider: str) -> str:
        """The resolved path of a provider that may be loaded; raises `TokenError`."""
        resolved = self.resolve(provider)
        if not match_pattern_list(resolved, self.allowed_providers):
            raise TokenError("provider_not_allowed", f"{resolved} is not among allowed_providers")
        return resolved

    def is_web_key(self, application: str) -> bool:
        """Whether a web site may know a security key, so that it signs SSH's own data only."""
        return self.restrict_websafe and not match_pattern_list(application, self.websafe_allow)

    def allow_security_key(self, provider: str) -> str:
        """The same for a security key's middleware, where "internal" needs no file."""
        if provider.lower() in ("", INTERNAL_PROVIDER):
            return INTERNAL_PROVIDER
        return self.allow(provider)


def find_tools(environ: Mapping[str, str], **settings: Any) -> TokenTools:
    """The tools as OpenSSH finds them: SSH_SK_HELPER, SSH_PKCS11_HELPER, SSH_ASKPASS and its kin.

    `settings` are the other fields by name.
    """
    return TokenTools(
        sk_helper=environ.get("SSH_SK_HELPER") or SK_HELPER,
        pkcs11_helper=environ.get("SSH_PKCS11_HELPER") or PKCS11_HELPER,
        askpass=_find_askpass(environ),
        askpass_environ={
            name: value
            for name, value in environ.items()
            if name in _ASKPASS_VARIABLES or name.startswith("LC_")
        },
        **settings,
    )


def _find_askpass(environ: Mapping[str, str]) -> str:
    """ssh-add(1): SSH_ASKPASS_REQUIRE decides; else there must be a display."""
    require = environ.get("SSH_ASKPASS_REQUIRE", "").lower()
    has_display = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    if require == "never" or (require != "force" and not has_display):
        return ""
    return environ.get("SSH_ASKPASS") or ASKPASS
