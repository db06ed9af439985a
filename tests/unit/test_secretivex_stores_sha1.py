"""Keys for servers that know SHA-1 only."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa

from secretivex.stores.sha1 import Sha1Key, signs_over_sha1
from sshwire.algorithms import find_algorithm
from sshwire.keyblob import PublicKey, encode_public_fields
from sshwire.privkey import PrivateKey
from sshwire.signature import parse_signature
from sshwire.wire import encode_text


def private(
    name: str, secret: rsa.RSAPrivateKey | dsa.DSAPrivateKey | ed25519.Ed25519PrivateKey
) -> PrivateKey:
    fields = encode_public_fields(find_algorithm(name), secret.public_key())
    return PrivateKey(PublicKey(name, encode_text(name) + fields), "me", secret)


@pytest.fixture(scope="module")
def rsa_key() -> PrivateKey:
    return private("ssh-rsa", rsa.generate_private_key(65537, 2048))


@pytest.fixture(scope="module")
def dsa_key() -> PrivateKey:
    return private("ssh-dss", dsa.generate_private_key(1024))  # noqa: S505 - the size that ssh-dss has


@pytest.mark.parametrize(
    ("flags", "signature_format"), [(0, "ssh-rsa"), (2, "rsa-sha2-256"), (4, "rsa-sha2-512")]
)
def test_a_client_that_asks_for_more_than_sha1_gets_it(
    rsa_key: PrivateKey, flags: int, signature_format: str
) -> None:
    signature = Sha1Key(rsa_key).sign(b"data", flags)
    assert parse_signature(signature).format == signature_format


def test_dsa_knows_nothing_newer_whatever_the_flags(dsa_key: PrivateKey) -> None:
    for flags in (0, 2, 4):
        assert parse_signature(Sha1Key(dsa_key).sign(b"data", flags)).format == "ssh-dss"


def test_only_rsa_and_dsa_have_such_signatures(rsa_key: PrivateKey, dsa_key: PrivateKey) -> None:
    assert signs_over_sha1(rsa_key)
    assert signs_over_sha1(dsa_key)
    modern = private("ssh-ed25519", ed25519.Ed25519PrivateKey.generate())
    assert not signs_over_sha1(modern)
