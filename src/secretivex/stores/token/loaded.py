"""A module's keys on their way from the worker that loaded it to the supervisor.

Rule for editors: the supervisor loads no module, for that may take long or never end; it believes
what its worker found.
"""

from __future__ import annotations

from dataclasses import dataclass

from sshwire.agent.requests import AddSmartcardRequest, encode_request, parse_request
from sshwire.errors import WireError
from sshwire.token.pkcs11_helper import TokenKey
from sshwire.wire import Reader, encode_string, encode_text, encode_uint32


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """A client's request, its provider resolved, and the keys that the module offers."""

    request: AddSmartcardRequest
    keys: tuple[TokenKey, ...]


def encode_loaded_module(loaded: LoadedModule) -> bytes:
    """As bytes for the private channel; holds the PIN in clear."""
    parts = [encode_string(encode_request(loaded.request)), encode_uint32(len(loaded.keys))]
    for key in loaded.keys:
        parts += (encode_string(key.key_blob), encode_text(key.label))
    return b"".join(parts)


def parse_loaded_module(body: bytes) -> LoadedModule:
    """The inverse; raises `WireError`."""
    reader = Reader(body)
    request = parse_request(reader.string())
    if not isinstance(request, AddSmartcardRequest):
        raise WireError("keys of a module for a request that asked for none")
    keys = tuple(TokenKey(reader.string(), reader.text()) for _ in range(reader.uint32()))
    reader.finish()
    return LoadedModule(request, keys)
