"""Two seconds of measuring: how many signatures a core makes, alone and with a client's round trip.

Rule for editors: keys are made here and thrown away; nothing of the user's is touched.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from secretivex.signers import quickest
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey
from sshwire.wire import encode_string

DATA = b"\0" * 128
BATCH = 16


@dataclass(frozen=True, slots=True)
class Calibration:
    """What one core did a second."""

    signatures_per_s: float
    round_trips_per_s: float
    """Request through a socket, signature, reply: the least that serving takes."""
    duration_s: float


def calibrate(
    duration_s: float = 2.0, clock: Callable[[], float] = time.perf_counter
) -> Calibration:
    """Measure, half of the time each."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = Ed25519PrivateKey.generate()
    blob = encode_string(b"ssh-ed25519") + encode_string(secret.public_key().public_bytes_raw())
    key = quickest(PrivateKey(PublicKey("ssh-ed25519", blob), "", secret))
    client, server = socket.socketpair()
    with client, server:

        def serve() -> None:
            client.send(DATA)
            server.send(key.sign(server.recv(4096)))
            client.recv(4096)

        alone = _rate(lambda: key.sign(DATA), duration_s / 2, clock)
        served = _rate(serve, duration_s / 2, clock)
    return Calibration(alone, served, duration_s)


def _rate(work: Callable[[], object], duration_s: float, clock: Callable[[], float]) -> float:
    begun = now = clock()
    count = 0
    while now - begun < duration_s:
        for _ in range(BATCH):
            work()
        count += BATCH
        now = clock()
    return count / (now - begun)
