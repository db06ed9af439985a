"""Packs signed by keys that no file holds, behind secretive-agent: PKCS#11 tokens, TPMs, security keys.

Every signature is verified by `ssh-keygen -Y verify`, by our verifier, and the attestation by
securesystemslib, as in ../test_peers_evidence_interop.py for the other keys.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence_verifiers import check_attestation, check_sshsig

from agentclient.client import AgentClient, AgentSigner
from fleetmdm.evidence.manifest import parse_manifest
from sshwire.pubkey import encode_public_line, fingerprint, parse_public_key

Program = Callable[[str], str]
Wait = Callable[[Callable[[], object], str], None]
Export = Callable[..., Path]


def sign_a_pack(address: str, blob: bytes, output: Path, export: Export) -> Path:
    with AgentClient(address, timeout_s=60) as client:
        return export(output, signers=[AgentSigner(client, parse_public_key(blob))])


def check(pack: Path, blob: bytes, keygen: str) -> None:
    key = parse_public_key(blob)
    check_sshsig(pack, "{options} " + encode_public_line(key), fingerprint(blob), keygen)
    (signer,) = parse_manifest((pack / "manifest.json").read_bytes()).signers
    if "dsse" in signer.forms:
        check_attestation(pack, key)
    else:
        assert key.algorithm.startswith("sk-")


def test_keys_in_a_token_sign_for_every_verifier(
    start_agent: Any,
    make_token: Any,
    tmp_path: Path,
    require_program: Program,
    export_sample: Export,
    wait: Wait,
) -> None:
    """Every kind that the token makes, behind one agent."""
    token = make_token()
    kinds = ("EC:prime256v1", "EC:secp384r1", "rsa:2048", "EC:edwards25519")
    for number, kind in enumerate(kinds, start=1):
        token.make(kind, f"token-{number}", f"0{number}")
    table = (
        f'[[stores]]\ntype = "pkcs11"\nmodule_path = "{token.module}"\n'
        f'token_label = "{token.label}"\npin_env = "TOKEN_PIN"\n'
    )
    agent = start_agent(table, {**token.environ, "TOKEN_PIN": token.pin})
    wait(lambda: len(agent.identities()) == len(kinds), "the token's keys are not served")
    for number in range(1, len(kinds) + 1):
        blob = agent.find(f"token-{number}")
        pack = sign_a_pack(agent.address, blob, tmp_path / str(number), export_sample)
        check(pack, blob, require_program("ssh-keygen"))


def test_keys_in_a_tpm_sign_for_every_verifier(
    start_agent: Any,
    simulator: Any,
    tmp_path: Path,
    require_program: Program,
    export_sample: Export,
    wait: Wait,
) -> None:
    """Both kinds that a TPM makes, behind one agent."""
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o700)
    plain = tmp_path / "plain"
    keygen = require_program("ssh-keygen")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(plain)], check=True)
    table = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{plain}"]\n'
        f'[[stores]]\ntype = "tpm"\npaths = ["{folder}"]\ndevice = "{simulator.address}"\n'
    )
    agent = start_agent(table, {})
    config = ("--config", str(agent.config), "--store", "tpm")
    for kind in ("p256", "rsa2048"):
        made = agent.client("keys", "create", *config, "--label", kind, "--type", kind)
        assert made.returncode == 0, made.stderr
    wait(lambda: len(agent.identities()) == 3, "the new keys are not served")
    for kind in ("p256", "rsa2048"):
        blob = agent.find(kind)
        pack = sign_a_pack(agent.address, blob, tmp_path / kind, export_sample)
        check(pack, blob, keygen)


def test_security_keys_behind_our_agent_sign_for_every_verifier(
    start_agent: Any,
    fido: str,
    tmp_path: Path,
    require_program: Program,
    export_sample: Export,
    wait: Wait,
) -> None:
    keygen, plain = require_program("ssh-keygen"), tmp_path / "plain"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(plain)], check=True)
    table = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{plain}"]\n'
    agent = start_agent(table, {}, "--allowed-providers", fido)
    environ = {**os.environ, "SSH_AUTH_SOCK": agent.address, "SSH_SK_PROVIDER": fido}
    kinds = ("ed25519-sk", "ecdsa-sk")
    for kind in kinds:
        key = str(tmp_path / kind)
        make = [keygen, "-q", "-t", kind, "-w", fido, "-N", "", "-C", kind, "-f", key]
        subprocess.run(make, check=True, timeout=60, stdin=subprocess.DEVNULL)
        add = [require_program("ssh-add"), "-q", "-S", fido, key]
        subprocess.run(add, check=True, env=environ, timeout=60, stdin=subprocess.DEVNULL)
    wait(lambda: len(agent.identities()) == len(kinds) + 1, "the security keys are not served")
    for kind in kinds:
        blob = agent.find(kind)
        pack = sign_a_pack(agent.address, blob, tmp_path / f"{kind}-pack", export_sample)
        check(pack, blob, keygen)
