"""What each kind of store signs with in the conformance tests; docs/key-stores.md is held to it."""

from __future__ import annotations

KINDS = {
    "ed25519": ("EC:edwards25519", ("-t", "ed25519")),
    "p256": ("EC:prime256v1", ("-t", "ecdsa", "-b", "256")),
    "p384": ("EC:secp384r1", ("-t", "ecdsa", "-b", "384")),
    "p521": ("EC:secp521r1", ("-t", "ecdsa", "-b", "521")),
    "rsa2048": ("rsa:2048", ("-t", "rsa", "-b", "2048")),
    "rsa3072": ("rsa:3072", ("-t", "rsa", "-b", "3072")),
    "rsa4096": ("rsa:4096", ("-t", "rsa", "-b", "4096")),
}
"""A kind of key: as `pkcs11-tool` calls it, and as `ssh-keygen` does."""

FORMATS = {
    "ed25519": "ssh-ed25519",
    "p256": "ecdsa-sha2-nistp256",
    "p384": "ecdsa-sha2-nistp384",
    "p521": "ecdsa-sha2-nistp521",
}
"""The signature's format; RSA's follows from the flags."""

SIGNED: dict[str, tuple[str, ...]] = {
    "file": tuple(KINDS),
    "memory": tuple(KINDS),
    "pkcs11": tuple(KINDS),
    "tpm": ("p256", "rsa2048"),
    "secure_enclave": ("p256",),
}
"""By the kind of store."""
