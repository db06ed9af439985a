"""Evidence packs against the tools an auditor has: ssh-keygen, sha256sum, and a real ssh-agent."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agentclient.client import AgentClient, AgentSigner
from agentclient.errors import AgentRefused
from fleetmdm.evidence.sign import signature_name
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.pubkey import fingerprint, parse_public_line

WHO = "fleet@example.org"
NAMESPACE = "evidence@fleetmdm"
KINDS = {"ed25519": ("ed25519", "256"), "ecdsa": ("ecdsa", "384"), "rsa": ("rsa", "2048")}
Program = Callable[[str], str]


@pytest.fixture
def agent(require_program: Program, tmp_path: Path) -> Iterator[Path]:
    """A real ssh-agent with one key of each kind."""
    socket = tmp_path / "agent.sock"
    process = subprocess.Popen(
        [require_program("ssh-agent"), "-D", "-a", str(socket)], stdout=subprocess.DEVNULL
    )
    try:
        while not socket.exists():
            assert process.poll() is None
        for name, (kind, bits) in KINDS.items():
            key = tmp_path / name
            subprocess.run(
                [require_program("ssh-keygen"), "-q", "-t", kind, "-b", bits, "-N", "", "-f", key],
                check=True,
            )
            subprocess.run(
                [require_program("ssh-add"), "-q", key],
                check=True,
                env={**os.environ, "SSH_AUTH_SOCK": str(socket)},
            )
        yield socket
    finally:
        process.terminate()
        process.wait()


def _public(tmp_path: Path, name: str) -> str:
    return " ".join((tmp_path / f"{name}.pub").read_text().split()[:2])


def _keygen_verifies(
    require_program: Program, allowed: Path, subject: Path, signature: Path, namespace: str
) -> bool:
    command = [require_program("ssh-keygen"), "-Y", "verify", "-f", str(allowed), "-I", WHO]
    with subject.open("rb") as file:
        done = subprocess.run(
            [*command, "-n", namespace, "-s", str(signature)],
            stdin=file,
            capture_output=True,
            check=False,
        )
    return done.returncode == 0


def _sums_verify(require_program: Program, pack: Path) -> bool:
    command = [require_program("sha256sum"), "--quiet", "--strict", "-c", "SHA256SUMS"]
    return subprocess.run(command, cwd=pack, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", KINDS)
def test_stock_tools_accept_a_pack_and_refuse_a_flipped_byte(
    name: str,
    agent: Path,
    tmp_path: Path,
    require_program: Program,
    export_sample: Callable[..., Path],
) -> None:
    key, _ = parse_public_line(_public(tmp_path, name))
    with AgentClient(str(agent)) as client:
        pack = export_sample(tmp_path / "pack", signers=[AgentSigner(client, key)])
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f'{WHO} namespaces="{NAMESPACE}" {_public(tmp_path, name)}\n')
    trust = Trust(parse_allowed_signers(allowed.read_text()), [WHO], datetime.now(UTC))
    assert verify_pack(pack, trust).findings == []
    assert _sums_verify(require_program, pack)

    for subject, part in (("manifest.json", "manifest"), ("SHA256SUMS", "sums")):
        path = pack / subject
        signature = pack / signature_name(fingerprint(key.blob), part)
        assert _keygen_verifies(require_program, allowed, path, signature, NAMESPACE)
        assert not _keygen_verifies(require_program, allowed, path, signature, "file")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert not _keygen_verifies(require_program, allowed, path, signature, NAMESPACE)
        assert verify_pack(pack, trust).findings
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    for path in sorted(pack.rglob("*")):
        unlisted = path.parent.name == "signatures" or path.name == "SHA256SUMS"
        if path.is_dir() or unlisted or not path.stat().st_size:
            continue
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert not _sums_verify(require_program, pack), path
        assert verify_pack(pack, trust).findings, path
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert verify_pack(pack, trust).findings == []


def test_the_auditors_commands_run_as_the_readme_says(
    agent: Path, tmp_path: Path, require_program: Program, export_sample: Callable[..., Path]
) -> None:
    require_program("ssh-keygen")
    require_program("sha256sum")
    keys = [parse_public_line(_public(tmp_path, name))[0] for name in KINDS]
    with AgentClient(str(agent)) as client:
        pack = export_sample(tmp_path / "pack", signers=[AgentSigner(client, key) for key in keys])
    text = (pack / "README.txt").read_text().replace("\\\n", " ")
    commands = re.findall(r"^    ((?:sha256sum|ssh-keygen) .*)$", text, re.MULTILINE)
    assert len(commands) == 1 + 2 * len(KINDS)
    # The reader's own file of allowed signers; its content is what they got from the signer.
    (tmp_path / "allowed_signers").write_text((pack / "keys" / "allowed_signers").read_text())
    for each in commands:
        command = each.replace("-f allowed_signers", "-f ../allowed_signers")
        subprocess.run(["sh", "-ec", command], cwd=pack, check=True, stdout=subprocess.DEVNULL)


def test_our_verifier_and_ssh_keygen_agree_on_time(
    agent: Path, tmp_path: Path, require_program: Program, export_sample: Callable[..., Path]
) -> None:
    key, _ = parse_public_line(_public(tmp_path, "ed25519"))
    with AgentClient(str(agent)) as client:
        pack = export_sample(tmp_path / "pack", signers=[AgentSigner(client, key)])
    allowed = tmp_path / "allowed_signers"
    allowed.write_text(f'{WHO} valid-before="20200101Z" {_public(tmp_path, "ed25519")}\n')
    signature = pack / signature_name(fingerprint(key.blob), "manifest")
    assert not _keygen_verifies(
        require_program, allowed, pack / "manifest.json", signature, NAMESPACE
    )
    trust = Trust(parse_allowed_signers(allowed.read_text()), [WHO], datetime.now(UTC))
    assert {each.code for each in verify_pack(pack, trust).findings} == {"signer_expired"}


def test_a_locked_agent_leaves_no_pack(
    agent: Path, tmp_path: Path, require_program: Program, export_sample: Callable[..., Path]
) -> None:
    key, _ = parse_public_line(_public(tmp_path, "ed25519"))
    subprocess.run(
        [require_program("ssh-add"), "-q", "-D"],
        check=True,
        env={**os.environ, "SSH_AUTH_SOCK": str(agent)},
    )
    with AgentClient(str(agent)) as client, pytest.raises(AgentRefused):
        export_sample(tmp_path / "pack", signers=[AgentSigner(client, key)])
    assert not [path for path in tmp_path.iterdir() if "pack" in path.name]
