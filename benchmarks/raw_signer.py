"""How many signatures a second this key makes in one process that does nothing else.

    python benchmarks/raw_signer.py KEY [FLAGS] [SECONDS]

Two figures: `in_use` is the signer that the agent has chosen, the quicker one of its library's bare call
and of the port through which the agent reaches it, which is what an agent can never exceed; `openssl` is
OpenSSL through `cryptography`, the signer that the targets were set for, for ECDSA the quicker one of its
plain call and of the one with a hash that was made before. Where they are the same, so are the figures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secretivex.signers import AwsLcKey, EcdsaKey, SodiumKey, quickest
from sshwire.privkey import PrivateKey, parse_private_keys

DATA = b"x" * 64
BATCH = 8


def main() -> None:
    """Print the rate and the cost."""
    key = parse_private_keys(Path(sys.argv[1]).read_bytes())[0]
    flags = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    span_s = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
    port = quickest(key)
    chosen = [lambda: port.sign(DATA, flags)]
    openssl = [openssl_call(key), *prehashed_call(key)]
    if isinstance(port, SodiumKey | AwsLcKey):
        in_use = [*chosen, *sodium_call(key, port)]
    else:
        in_use = openssl = [*chosen, *openssl]
    signers = {"in_use": in_use, "openssl": openssl}
    part_s = span_s / len({id(calls) for calls in signers.values()}) / 2
    found: dict[int, dict[str, float]] = {}
    for calls in signers.values():
        if id(calls) not in found:
            found[id(calls)] = fastest(calls, part_s)
    print(json.dumps({name: found[id(calls)] for name, calls in signers.items()}))


def fastest(calls: list[Callable[[], object]], span_s: float) -> dict[str, float]:
    """The best of some loops."""
    best = max(rate(call, span_s) for call in calls)
    return {"throughput_per_s": best[0], "cpu_us": best[1]}


def openssl_call(key: PrivateKey) -> Callable[[], object]:
    """The bare call of `cryptography`: what is left when everything around it costs nothing."""
    secret: Any = key.secret
    if key.public.algorithm == "ssh-ed25519":
        return lambda: secret.sign(DATA)
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    if key.public.algorithm == "ssh-rsa":
        padding, digest = PKCS1v15(), SHA256()
        return lambda: secret.sign(DATA, padding, digest)
    algorithm = ECDSA(SHA256())
    return lambda: secret.sign(DATA, algorithm)


def prehashed_call(key: PrivateKey) -> list[Callable[[], object]]:
    """ECDSA through `cryptography` with the hash from `hashlib`, as the agent calls it."""
    if not key.public.algorithm.startswith("ecdsa"):
        return []
    secret: Any = key.secret
    port = EcdsaKey(secret, key.public.algorithm)
    return [lambda: port.sign(DATA)]


def sodium_call(key: PrivateKey, port: SodiumKey | AwsLcKey) -> list[Callable[[], object]]:
    """The bare call of libsodium, where the agent signs with it."""
    if not isinstance(port, SodiumKey):
        return []
    from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

    secret: Any = key.secret
    pair = crypto_sign_seed_keypair(secret.private_bytes_raw())[1]
    return [lambda: crypto_sign(DATA, pair)]


def rate(sign: Callable[[], object], span_s: float) -> tuple[float, float]:
    """Calls a second, and the processor time of one in microseconds."""
    begun, used, calls = time.perf_counter(), time.process_time(), 0
    while (now := time.perf_counter()) - begun < span_s:
        for _ in range(BATCH):
            sign()
        calls += BATCH
    return calls / (now - begun), (time.process_time() - used) / calls * 1e6


if __name__ == "__main__":
    main()
