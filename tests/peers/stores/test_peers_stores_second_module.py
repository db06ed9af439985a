"""A second PKCS#11 module, of another make: libtpm2-pkcs11 over a TPM in software."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

MODULE = Path("/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1")


# One key each: without a resource manager the simulator has room for three objects in all.
@pytest.mark.parametrize("kind", ["EC:prime256v1", "rsa:2048"])
def test_a_token_in_a_tpm_is_served_like_any_other(
    simulator: Any,
    kind: str,
    tmp_path: Path,
    open_store: Any,
    require_program: Callable[[str], str],
    give_up: Callable[[str], NoReturn],
) -> None:
    if not MODULE.exists():
        give_up(str(MODULE))
    tool = require_program("pkcs11-tool")
    environ = {
        "TPM2_PKCS11_STORE": str(tmp_path),
        "TPM2_PKCS11_TCTI": simulator.address,
        "TPM2_PKCS11_BACKEND": "esysdb",
        "TPM2_PKCS11_LOG_LEVEL": "0",
    }

    def run(*arguments: str) -> None:
        command = [tool, "--module", str(MODULE), *arguments]
        merged = {**os.environ, **environ}
        subprocess.run(command, env=merged, check=True, timeout=60, capture_output=True)

    run("--init-token", "--slot-index", "0", "--label", "tpm", "--so-pin", "sopin")
    officer = ("--login", "--login-type", "so", "--so-pin", "sopin")
    run("--token-label", "tpm", *officer, "--init-pin", "--pin", "userpin")
    user = ("--token-label", "tpm", "--login", "--pin", "userpin")
    run(*user, "--keypairgen", "--key-type", kind, "--label", "key", "--id", "01")
    settings = {
        "module_path": str(MODULE),
        "token_label": "tpm",
        "pin": {"env": "TOKEN_PIN"},
        "poll_ms": 1000,
        "refresh_min_interval_ms": 50,
        "module_timeout_ms": 30_000,
        # The simulator serves one program at a time.
        "max_sessions": 1,
    }
    opened = open_store("pkcs11", settings, environ, {"TOKEN_PIN": b"userpin"})
    identity = opened.find("key")
    for flags in (0, 4):
        signature = opened.store.sign(identity, b"data", flags)
        verify_signature(parse_public_key(identity.key_blob), signature, b"data")
