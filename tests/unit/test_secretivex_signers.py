"""Whatever signs gives the signatures that the key itself would give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from secretivex.signers import AwsLcKey, EcdsaKey, SodiumKey, numbers_of, quickest
from sshwire.errors import WireError
from sshwire.privkey import PrivateKey, parse_private_keys
from sshwire.signature import encode_ecdsa, verify_signature


def openssh_key(secret: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> PrivateKey:
    return parse_private_keys(
        secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )[0]


@pytest.mark.parametrize("data", [b"", b"x", b"data" * 5000])
def test_libsodium_gives_the_very_signature_of_openssl(
    data: bytes, make_key: Callable[[int], PrivateKey]
) -> None:
    key = make_key(7)
    quick = quickest(key)
    assert isinstance(quick, SodiumKey)
    assert quick.sign(data) == key.sign(data)
    assert quick.sign(data, 2) == key.sign(data)
    with pytest.raises(WireError):
        quick.sign(data, 1)


def test_the_secret_is_overwritten_when_the_key_goes(make_key: Callable[[int], PrivateKey]) -> None:
    quick = quickest(make_key(7))
    assert isinstance(quick, SodiumKey)
    secret = quick._secret
    assert any(secret)
    del quick
    assert not any(secret)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_ecdsa_signatures_verify(curve: ec.EllipticCurve) -> None:
    key = openssh_key(ec.generate_private_key(curve))
    quick = quickest(key)
    assert isinstance(quick, EcdsaKey | AwsLcKey)
    for _ in range(20):
        verify_signature(key.public, quick.sign(b"data", 4), b"data")
    with pytest.raises(WireError):
        quick.sign(b"data", 8)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
@pytest.mark.parametrize("number", [1, 2, 2**200 + 1, 2**255 - 1])
def test_aws_lc_and_openssl_sign_with_the_same_key(curve: ec.EllipticCurve, number: int) -> None:
    pytest.importorskip("awscrt.crypto", reason="the extra awslc is not installed")
    secret = ec.derive_private_key(number, curve)
    key = openssh_key(secret)
    quick = AwsLcKey(secret, key.public.algorithm)
    openssl = EcdsaKey(secret, key.public.algorithm)
    for data in (b"", b"data", b"data" * 5000):
        verify_signature(key.public, quick.sign(data), data)
        verify_signature(key.public, openssl.sign(data), data)
    with pytest.raises(WireError):
        quick.sign(b"data", 8)


def test_rsa_keys_sign_by_themselves() -> None:
    key = openssh_key(rsa.generate_private_key(65537, 2048))
    assert quickest(key) is key


@given(r=st.integers(1, 2**521 - 1), s=st.integers(1, 2**521 - 1))
def test_numbers_go_from_der_to_ssh_as_they_are(r: int, s: int) -> None:
    assert numbers_of(encode_dss_signature(r, s)) == encode_ecdsa(r, s)
