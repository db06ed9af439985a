"""Which library signs quickest, key type by key type: the choice of `secretivex.signers`.

Every candidate signs in this process, in turn. The row is missed where what the agent chose is not
the quickest, within 5 per cent.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ratio import compare, finish, read_options
from secretivex.signers import SodiumKey, quickest
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


def main() -> None:
    """The chosen signer beside OpenSSL through `cryptography`, and libsodium where it can sign."""
    options = read_options(rounds=7)
    rows = []
    for name, generate in KINDS.items():
        key = load(generate())
        chosen, rivals = quickest(key), {"OpenSSL": key.sign}
        if chosen is key:
            print(f"{name}: OpenSSL is the only one")
            continue
        if name == "Ed25519":
            sodium = SodiumKey(key.secret.private_bytes_raw(), "ssh-ed25519")  # type: ignore[union-attr] # Ed25519 keys alone get here
            rivals["libsodium"] = sodium.sign
        count = count_of(key.sign)
        for rival, sign in rivals.items():
            ours = signs(chosen.sign, count)
            row = compare(
                f"{name}: the chosen signer, {count} signatures",
                rival,
                ours,
                signs(sign, count),
                at_most=1.05,
                rounds=options.rounds,
            )
            rows.append(row)
    finish(rows, options)


if __name__ == "__main__":
    main()
