"""Which library signs quickest, key type by key type: the choice of `secretivex.signers`.

Every candidate signs in this process, in turn. The row is missed where what the agent chose is not
the quickest, within 5 per cent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ratio import compare, finish, read_options
from secretivex.identity import SigningKey
from secretivex.signers import AwsLcKey, EcdsaKey, SodiumKey, quickest
from sshwire.privkey import PrivateKey, parse_private_keys

DATA = b"x" * 128
SLICE_S = 0.2

Secret = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

KINDS: dict[str, Callable[[], Secret]] = {
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "ECDSA P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSA P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSA P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
}


def load(secret: Secret) -> PrivateKey:
    """The key as the agent loads it."""
    pem = secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return parse_private_keys(pem)[0]


def signs(sign: Callable[[bytes], bytes], count: int) -> Callable[[], None]:
    """`count` signatures."""

    def run() -> None:
        for _ in range(count):
            sign(DATA)

    return run


def count_of(sign: Callable[[bytes], bytes]) -> int:
    """Signatures of about one slice."""
    sign(DATA)
    begun = time.perf_counter()
    count = 0
    while time.perf_counter() - begun < SLICE_S:
        sign(DATA)
        count += 1
    return count


def openssl(key: PrivateKey) -> SigningKey:
    """OpenSSL through `cryptography`, by the quicker of its ways."""
    if isinstance(key.secret, ec.EllipticCurvePrivateKey):
        return EcdsaKey(key.secret, key.public.algorithm)
    return key


def rivals_of(chosen: SigningKey, key: PrivateKey) -> dict[str, SigningKey]:
    """Every other signer that can make this key's signatures, by its library's name."""
    secret, algorithm = key.secret, key.public.algorithm
    found: dict[str, SigningKey] = {"OpenSSL": openssl(key)}
    if isinstance(secret, ed25519.Ed25519PrivateKey):
        found["libsodium"] = SodiumKey(secret.private_bytes_raw(), algorithm)
    elif isinstance(secret, ec.EllipticCurvePrivateKey) and not algorithm.endswith("521"):
        with contextlib.suppress(ImportError):
            found["AWS-LC"] = AwsLcKey(secret, algorithm)
    return {name: rival for name, rival in found.items() if type(rival) is not type(chosen)}


def main() -> None:
    """The chosen signer beside every other that can sign."""
    options = read_options(rounds=7)
    rows = []
    for name, generate in KINDS.items():
        key = load(generate())
        chosen = quickest(key)
        rivals = rivals_of(chosen, key)
        if not rivals:
            print(f"{name}: OpenSSL is the only one")
        count = count_of(chosen.sign)
        for library, rival in rivals.items():
            ours, other = signs(chosen.sign, count), signs(rival.sign, count)
            work = f"{name}: the chosen signer, {count} signatures"
            rows.append(compare(work, library, ours, other, at_most=1.05, rounds=options.rounds))
    finish(rows, options)


if __name__ == "__main__":
    main()
