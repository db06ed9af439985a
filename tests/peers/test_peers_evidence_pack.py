"""Evidence packs against the tools an auditor has: ssh-keygen, sha256sum, and a real ssh-agent."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from listening import is_listening
from time_authority import TimeAuthority

from agentclient.client import AgentClient, AgentSigner
from agentclient.errors import AgentRefused
from fleetmdm.evidence.pack.cosign import add_timestamp, add_witness
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
        while not is_listening(socket):
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
    """Every command in the text, as it stands, in a folder beside which the auditor's files lie."""
    for program in ("ssh-keygen", "sha256sum", "openssl"):
        require_program(program)
    keys = {name: parse_public_line(_public(tmp_path, name))[0] for name in KINDS}
    with AgentClient(str(agent)) as client:
        signers = [AgentSigner(client, key) for key in keys.values()]
        pack = export_sample(tmp_path / "pack", signers=signers)
        witness = AgentSigner(client, keys["ecdsa"])
        add_witness(pack, [witness], name="witness", now=datetime.now(UTC))
    authority = TimeAuthority(tmp_path / "tsa", require_program("openssl"))
    text = (pack / "README.txt").read_text()
    stamped = re.findall(r"-data (signatures/.*manifest.sshsig)", text)
    assert len(stamped) == 1
    add_timestamp(pack, authority.stamp(pack / stamped[0]))

    # What the reader got from the signers, and the place that each name in the text stands for.
    (tmp_path / "allowed_signers").write_text(
        (pack / "keys" / "allowed_signers").read_text()
        + f'witness namespaces="witness@fleetmdm" {_public(tmp_path, "ecdsa")}\n'
    )
    blocks = re.findall(r"(?:^    \S.*\n(?:        .*\n)*)+", text, re.MULTILINE)
    commands = [block for block in blocks if re.search("sha256sum|ssh-keygen|openssl", block)]
    assert len(commands) == 1 + 2 * len(KINDS) + 1
    by_mark = {signature_name(fingerprint(key.blob), "dsse"): name for name, key in keys.items()}
    cosigned = signature_name(fingerprint(keys["ecdsa"].blob), "witness")
    for block in commands:
        envelope = re.search(r"F=(\S+)", block)
        public = f"../{by_mark[envelope[1]]}.pub" if envelope else ""
        script = (
            block.replace("-f allowed_signers", "-f ../allowed_signers")
            .replace("signer.pub", public)
            .replace("tsa.pem", str(authority.root))
            .replace("signatures/KEY.witness.sshsig", cosigned)
        )
        done = subprocess.run(["sh", "-ec", script], cwd=pack, check=False, capture_output=True)
        assert done.returncode == 0, (script, done.stderr)
        # And none of them is content with anything.
        if "ssh-keygen" in block or "openssl" in block:
            spoilt = pack.parent / "spoilt"
            shutil.copytree(pack, spoilt)
            for name in ("manifest.json", "SHA256SUMS", "log/checkpoint", stamped[0]):
                (spoilt / name).write_bytes((spoilt / name).read_bytes().replace(b"A", b"B") + b" ")
            done = subprocess.run(
                ["sh", "-ec", script], cwd=spoilt, check=False, capture_output=True
            )
            assert done.returncode != 0, script
            shutil.rmtree(spoilt)


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
