"""A time-stamping authority made with `openssl ts`, and one whose certificate is not for that."""

from __future__ import annotations

import subprocess
from pathlib import Path

CONFIG = """
[ tsa ]
default_tsa = tsa1
[ tsa1 ]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/ca.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = {ess}
"""


class TimeAuthority:
    """A root, and a certificate of it that stamps. Each command is one an administrator would type."""

    def __init__(self, folder: Path, openssl: str, *, key: str = "ec", ess: str = "sha256") -> None:
        folder.mkdir()
        self.folder = folder
        self._openssl = openssl
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder, ess=ess))
        (folder / "stamping.cnf").write_text(
            "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n"
        )
        kinds = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}
        self._run(
            *("req", "-x509", "-newkey", *kinds[key], "-nodes", "-days", "30"),
            *("-subj", "/CN=Test root", "-keyout", "ca.key", "-out", "ca.pem"),
        )
        self._run(
            *("req", "-newkey", *kinds[key], "-nodes", "-subj", "/CN=Test TSA"),
            *("-keyout", "tsa.key", "-out", "tsa.csr"),
        )
        self._run(
            *("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "20"),
            *("-set_serial", "7", "-extfile", "stamping.cnf", "-out", "tsa.pem"),
        )

    @property
    def root(self) -> Path:
        """The certificate to trust."""
        return self.folder / "ca.pem"

    def stamp(self, path: Path) -> bytes:
        """The authority's answer over a file."""
        self._run("ts", "-query", "-data", str(path), "-sha256", "-cert", "-out", "query")
        self._run("ts", "-reply", "-queryfile", "query", "-config", "tsa.cnf", "-out", "reply")
        return (self.folder / "reply").read_bytes()

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [self._openssl, *arguments], cwd=self.folder, check=True, capture_output=True
        )
