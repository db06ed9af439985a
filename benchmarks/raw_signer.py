"""How many signatures a second this key makes in one process that does nothing else.

    python benchmarks/raw_signer.py KEY [FLAGS] [SECONDS]

The fastest of these loops counts: the signing call of each cryptographic library alone, and the port
through which the agent reaches whatever signer it has chosen. It is what an agent can never exceed.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secretivex.signers import quickest
from sshwire.privkey import PrivateKey, parse_private_keys

DATA = b"x" * 64
BATCH = 8


def main() -> None:
    """Print the rate and the cost."""
    key = parse_private_keys(Path(sys.argv[1]).read_bytes())[0]
    flags = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    span_s = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
    port = quickest(key)
    signers = [lambda: port.sign(DATA, flags), *library_signers(key)]
    fastest = max(rate(sign, span_s / len(signers)) for sign in signers)
    print(json.dumps({"throughput_per_s": fastest[0], "cpu_us": fastest[1]}))


def library_signers(key: PrivateKey) -> list[Callable[[], object]]:
    """The bare calls of the libraries: what is left when everything around them costs nothing."""
    secret: Any = key.secret
    if key.public.algorithm == "ssh-ed25519":
        return [lambda: secret.sign(DATA), *_sodium(secret.private_bytes_raw())]
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    if key.public.algorithm == "ssh-rsa":
        padding, digest = PKCS1v15(), SHA256()
        return [lambda: secret.sign(DATA, padding, digest)]
    algorithm = ECDSA(SHA256())
    return [lambda: secret.sign(DATA, algorithm)]


def _sodium(seed: bytes) -> list[Callable[[], object]]:
    try:
        from nacl.bindings import crypto_sign, crypto_sign_seed_keypair
    except ImportError:
        return []
    pair = crypto_sign_seed_keypair(seed)[1]
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
