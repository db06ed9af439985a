"""Every vector ends in its class of outcome."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import pytest

from sshwire.cert import parse_certificate, verify_certificate_signature
from sshwire.errors import (
    PassphraseError,
    TruncatedError,
    UnsupportedError,
    VerificationError,
    WireError,
)
from sshwire.privkey import PrivateKey, encode_private_key, parse_private_file, parse_private_keys
from sshwire.pubkey import encode_public_line, fingerprint, parse_public_line
from sshwire.signature import encode_signature, parse_signature, verify_signature

VECTORS = Path(__file__).parent / "vectors"

_ERRORS: dict[str, type[WireError]] = {
    "unsupported": UnsupportedError,
    "truncated": TruncatedError,
    "passphrase": PassphraseError,
    "malformed": WireError,
}


@dataclass(frozen=True)
class Vector:
    headers: dict[str, str]
    payload: str

    @property
    def outcome(self) -> str:
        return self.headers["outcome"]


def _load(path: Path) -> Vector:
    head, payload = path.read_text().split("\n\n", 1)
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    return Vector(headers, payload)


def _vectors(folder: str) -> list[object]:
    paths = sorted((VECTORS / folder).rglob("*.txt"))
    assert paths, folder
    return [pytest.param(_load(path), id=path.stem) for path in paths]


def _assert_refused(caught: pytest.ExceptionInfo[WireError], outcome: str) -> None:
    assert isinstance(caught.value, _ERRORS[outcome])
    if outcome == "malformed":
        assert not isinstance(caught.value, UnsupportedError | TruncatedError | PassphraseError)


@pytest.mark.parametrize("vector", _vectors("pubkey"))
def test_public_line_is_read_and_written_as_ssh_keygen_does(vector: Vector) -> None:
    if vector.outcome != "ok":
        with pytest.raises(WireError) as caught:
            parse_public_line(vector.payload)
        _assert_refused(caught, vector.outcome)
        return
    key, comment = parse_public_line(vector.payload)
    assert comment == vector.headers["comment"]
    assert encode_public_line(key, comment) == vector.payload.rstrip("\n")
    assert fingerprint(key.blob) == vector.headers["sha256"]
    assert fingerprint(key.blob, "sha512") == vector.headers["sha512"]


@pytest.mark.parametrize("vector", _vectors("cert"))
def test_certificate_has_the_fields_that_ssh_keygen_was_given(vector: Vector) -> None:
    key, _ = parse_public_line(vector.payload)
    certificate = parse_certificate(key.blob)
    stated = {
        "serial": str(certificate.serial),
        "type": certificate.type.name,
        "key-id": certificate.key_id,
        "principals": ",".join(certificate.principals),
        "valid-after": str(certificate.valid_after),
        "valid-before": str(certificate.valid_before),
        "critical-options": ",".join(name for name, _ in certificate.critical_options),
        "extensions": ",".join(name for name, _ in certificate.extensions),
        "plain": encode_public_line(certificate.public_key),
    }
    assert stated.items() <= vector.headers.items()
    assert fingerprint(key.blob) == fingerprint(certificate.public_key.blob)
    if vector.outcome == "ok":
        verify_certificate_signature(certificate)
    else:
        with pytest.raises(VerificationError) as caught:
            verify_certificate_signature(certificate)
        assert caught.value.reason == vector.outcome


def _open(vector: Vector) -> PrivateKey:
    passphrase = vector.headers.get("passphrase")
    (key,) = parse_private_keys(
        vector.payload.encode(), passphrase=passphrase.encode() if passphrase else None
    )
    return key


@pytest.mark.parametrize("vector", _vectors("privkey"))
def test_private_key_opens_to_the_key_that_ssh_keygen_made(vector: Vector) -> None:
    if vector.outcome not in {"ok", "cannot_sign"}:
        with pytest.raises(WireError) as caught:
            _open(vector)
        _assert_refused(caught, vector.outcome)
        return
    key = _open(vector)
    assert key.comment == vector.headers["comment"]
    assert encode_public_line(key.public) == vector.headers["public"]
    file = parse_private_file(vector.payload.encode())
    assert file.public == key.public
    assert file.is_encrypted == ("passphrase" in vector.headers)
    if vector.outcome == "cannot_sign":
        with pytest.raises(UnsupportedError):
            key.sign(b"data")
        return
    verify_signature(key.public, key.sign(b"data"), b"data")


@pytest.mark.parametrize("vector", _vectors("privkey/plain"))
def test_plain_private_key_is_written_byte_for_byte_as_ssh_keygen_does(vector: Vector) -> None:
    key = _open(vector)
    body = "".join(vector.payload.splitlines()[1:-1])
    blob = base64.b64decode(body)
    start = blob.index(key.public.blob) + len(key.public.blob) + 4
    check = blob[start : start + 4]
    assert encode_private_key(key, random_bytes=lambda n: check[:n]) == vector.payload.encode()


@pytest.mark.parametrize("vector", _vectors("signature"))
def test_signature_verifies_or_is_refused_for_its_reason(vector: Vector) -> None:
    key, _ = parse_public_line(vector.headers["key"])
    signature = base64.b64decode(vector.payload)
    data = vector.headers["data"].encode()
    assert encode_signature(parse_signature(signature)) == signature
    if vector.outcome == "ok":
        verify_signature(key, signature, data)
    else:
        with pytest.raises(VerificationError) as caught:
            verify_signature(key, signature, data)
        assert caught.value.reason == vector.outcome
