"""Which token a store means: a PKCS#11 URI (RFC 7512) or its parts.

Rule for editors: an attribute that is not understood selects nothing, so it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_TOKEN_ATTRIBUTES = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
}
"""RFC 7512 section 2.3, those that name a token."""

_OBJECT_ATTRIBUTES = {"object", "id"}
_IGNORED = {"type", "library-manufacturer", "library-description", "library-version"}
_SECRETS = {"pin-value", "pin-source"}

MAX_URI_CHARS = 4096


class UriError(ValueError):
    """A URI that does not name a token; the message says why and repeats no PIN."""

    hint = "for example pkcs11:token=work;serial=0123"


@dataclass(frozen=True, slots=True)
class TokenSelector:
    """What must be true of a token, and of a key in it; empty parts match everything."""

    label: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    slot: int | None = None
    key_label: str = ""
    key_id: bytes = b""

    def matches_token(self, slot: int, token: Mapping[str, str]) -> bool:
        """Whether a token is meant; its strings are compared without their padding."""
        wanted = {name: getattr(self, name) for name in _TOKEN_ATTRIBUTES.values()}
        return (self.slot is None or self.slot == slot) and all(
            not value or value == token.get(name, "").rstrip() for name, value in wanted.items()
        )

    def matches_key(self, label: str, key_id: bytes) -> bool:
        """Whether a key is meant."""
        return (not self.key_label or self.key_label == label) and (
            not self.key_id or self.key_id == key_id
        )

    @property
    def words(self) -> str:
        """What a person calls it."""
        parts = [f"{name} {getattr(self, name)!r}" for name in ("label", "serial", "model")]
        named = [part for part in parts if not part.endswith("''")]
        if self.slot is not None:
            named.append(f"slot {self.slot}")
        return " and ".join(named) or "any token"


def parse_uri(uri: str) -> tuple[TokenSelector, str]:
    """The token that a URI names and the module's path in it, "" for none; raises `UriError`."""
    if not uri.startswith("pkcs11:") or len(uri) > MAX_URI_CHARS:
        raise UriError("must begin with pkcs11: as RFC 7512 has it")
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    attributes = _parse_attributes(path, ";")
    module = _parse_query(query)
    slot = attributes.pop("slot-id", None)
    if slot is not None and not slot.isdigit():
        raise UriError("slot-id must be a number")
    found: dict[str, str] = {}
    for name, value in attributes.items():
        if name in _TOKEN_ATTRIBUTES:
            found[_TOKEN_ATTRIBUTES[name]] = value.decode(errors="replace")
        elif name not in _OBJECT_ATTRIBUTES | _IGNORED:
            raise UriError(f"unknown attribute {name!r}")
    if attributes.get("type", b"private") not in (b"private", b"public", b"cert"):
        raise UriError("type must be private, public or cert")
    selector = TokenSelector(
        **found,
        slot=None if slot is None else int(slot),
        key_label=attributes.get("object", b"").decode(errors="replace"),
        key_id=attributes.get("id", b""),
    )
    return selector, module


def _parse_query(query: str) -> str:
    attributes = _parse_attributes(query, "&")
    if _SECRETS & attributes.keys():
        raise UriError("a PIN does not belong into a URI: use pin_env, pin_file or pin_command")
    module = attributes.pop("module-path", b"").decode(errors="replace")
    if attributes:
        raise UriError(f"unknown query attribute {min(attributes)!r}")
    return module


def _parse_attributes(text: str, separator: str) -> dict[str, bytes]:
    """RFC 7512: name=value, percent-encoded; a name that is given twice is an error."""
    found: dict[str, bytes] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if not equals:
            raise UriError(f"{name!r} has no value")
        if name in found:
            raise UriError(f"{name!r} is given twice")
        found[name] = unquote_to_bytes(value)
    return found
