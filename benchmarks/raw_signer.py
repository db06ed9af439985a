"""How many signatures a second this key makes in one process that does nothing else.

    python benchmarks/raw_signer.py KEY [FLAGS] [SECONDS]

The faster of two loops counts: the signer of the cryptographic library alone, and the port through
which the agent reaches whatever signer it has chosen. It is what an agent can never exceed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sshwire.privkey import PrivateKey, parse_private_keys

DATA = b"x" * 64
BATCH = 8


def main() -> None:
    """Print the rate."""
    key = parse_private_keys(Path(sys.argv[1]).read_bytes())[0]
    flags = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    span_s = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
    port = rate(lambda: key.sign(DATA, flags), span_s / 2)
    print(max(port, rate(library_signer(key), span_s / 2)))


def library_signer(key: PrivateKey) -> Callable[[], object]:
    """The call of the library that the port ends in."""
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


def rate(sign: Callable[[], object], span_s: float) -> float:
    """Calls a second."""
    begun, calls = time.perf_counter(), 0
    while (now := time.perf_counter()) - begun < span_s:
        for _ in range(BATCH):
            sign()
        calls += BATCH
    return calls / (now - begun)


if __name__ == "__main__":
    main()
