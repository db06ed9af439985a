"""`ssh-keygen -Y` and we agree on what verifies and on what does not, both ways round."""

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentclient.client import AgentClient, AgentSigner
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.errors import VerificationError, WireError
from sshwire.privkey import parse_private_keys
from sshwire.pubkey import parse_public_line
from sshwire.sshsig import HashName, is_canonical, sign_message, verify_message

MESSAGE = b"a message of two lines\nand some bytes \x00\xff\n"
NOW = datetime.now(tz=UTC)
KINDS = ["ed25519", "p256", "p384", "p521", "rsa"]
HASHES: list[HashName] = ["sha256", "sha512"]

Verify = Callable[..., bool]


@pytest.fixture
def keygen(require_program: Callable[[str], str]) -> str:
    return require_program("ssh-keygen")


@pytest.fixture
def theirs(tmp_path: Path, keygen: str) -> Verify:
    """What `ssh-keygen -Y verify` says."""

    def verify(allowed: str, armored: bytes, *, at: str = "", zone: str = "UTC") -> bool:
        (tmp_path / "allowed").write_text(allowed)
        (tmp_path / "sig").write_bytes(armored)
        options = ["-O", f"verify-time={at}"] if at else []
        command = [keygen, "-Y", "verify", "-I", "me@x", "-n", "file", *options]
        done = subprocess.run(
            [*command, "-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "sig")],
            input=MESSAGE,
            env={**os.environ, "TZ": zone},
            capture_output=True,
            timeout=30,
            check=False,
        )
        return done.returncode == 0

    return verify


def ours(allowed: str, armored: bytes, *, now: datetime = NOW) -> bool:
    try:
        verify_message(
            MESSAGE,
            armored,
            namespace="file",
            principal="me@x",
            now=now,
            allowed=parse_allowed_signers(allowed, localize=datetime.astimezone),
        )
    except (VerificationError, WireError):
        return False
    return True


def line_of(path: Path, prefix: str = "me@x") -> str:
    return f"{prefix} {path.with_suffix('.pub').read_text()}"


def their_signature(
    keygen: str, key: Path, *, namespace: str = "file", hash_name: str = "sha512"
) -> bytes:
    command = [keygen, "-Y", "sign", "-f", str(key), "-n", namespace, "-O", f"hashalg={hash_name}"]
    done = subprocess.run(command, input=MESSAGE, capture_output=True, timeout=30, check=True)
    return done.stdout


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("kind", KINDS)
def test_they_accept_what_we_sign(
    kind: str, hash_name: HashName, key_files: dict[str, Path], theirs: Verify
) -> None:
    (key,) = parse_private_keys(key_files[kind].read_bytes())

    class FileSigner:
        public_key = key.public

        def sign(self, data: bytes, flags: int = 0) -> bytes:
            return key.sign(data, flags)

    armored = sign_message(MESSAGE, signer=FileSigner(), namespace="file", hash_name=hash_name)
    assert theirs(line_of(key_files[kind]), armored)
    assert ours(line_of(key_files[kind]), armored)
    other = sign_message(MESSAGE, signer=FileSigner(), namespace="git", hash_name=hash_name)
    assert not theirs(line_of(key_files[kind]), other)
    assert not ours(line_of(key_files[kind]), other)


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("kind", KINDS)
def test_we_accept_what_they_sign(
    kind: str, hash_name: str, key_files: dict[str, Path], keygen: str
) -> None:
    key = key_files[kind]
    armored = their_signature(keygen, key, hash_name=hash_name)
    assert is_canonical(armored)
    assert ours(line_of(key), armored)
    assert not ours(line_of(key_files["p256" if kind == "ed25519" else "ed25519"]), armored)
    assert not ours(line_of(key), their_signature(keygen, key, namespace="git"))


@pytest.mark.parametrize("kind", ["ssh-agent", "secretive-agent"])
def test_an_agent_signs_for_us_with_every_key(
    kind: str, standing_agent: Callable[[str], Any], key_files: dict[str, Path], theirs: Verify
) -> None:
    with AgentClient(standing_agent(kind).address, timeout_s=60) as client:
        for path in key_files.values():
            public, _ = parse_public_line(path.with_suffix(".pub").read_text())
            signer = AgentSigner(client, public)
            armored = sign_message(MESSAGE, signer=signer, namespace="file")
            assert theirs(line_of(path), armored)
            assert ours(line_of(path), armored)


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        (lambda armored: armored, True),
        (lambda armored: armored + b"after", True),
        (lambda armored: armored[:-1], True),
        (lambda armored: armored.replace(b"U1NI", b"U1 \tNI", 1), True),
        (lambda armored: armored.replace(b"\n-----END", b"\n\n-----END"), True),
        (lambda armored: b"\n" + armored, False),
        (lambda armored: armored.replace(b"\n", b"\r\n"), False),
        (lambda armored: armored.replace(b"U1NI", b"U1N-", 1), False),
        (lambda armored: armored.replace(b"U1NI", b"U1==", 1), False),
        (lambda armored: armored.replace(b"END", b"end"), False),
        (lambda armored: armored[:200] + armored[201:], False),
        (lambda armored: armored[: armored.rindex(b"\n-----END")] + b"\n", False),
        (lambda _: b"", False),
    ],
)
def test_we_agree_on_changed_armor(
    change: Callable[[bytes], bytes],
    accepted: bool,
    key_files: dict[str, Path],
    keygen: str,
    theirs: Verify,
) -> None:
    line = line_of(key_files["ed25519"])
    armored = change(their_signature(keygen, key_files["ed25519"]))
    assert theirs(line, armored) is accepted
    assert ours(line, armored) is accepted


@pytest.mark.parametrize(
    ("prefix", "accepted"),
    [
        ("me@x", True),
        ("*@x", True),
        ("!you@x,m?@x", True),
        ("*@x,!me@x", False),
        ("you@x", False),
        ('"me@x,foo bar"', True),
        ('me@x namespaces="fi*,!git"', True),
        ('me@x NAMESPACES="file"', True),
        ('me@x namespaces="git"', False),
        ('me@x namespaces=""', False),
        ("me@x namespaces=file", False),
        ('me@x namespaces="file', False),
        ("me@x cert-authority", False),
        ("me@x nonsense", False),
        ('me@x valid-after="20260601Z"', True),
        ('me@x valid-after="20260601000000Z"', True),
        ('me@x valid-after="20260601000001Z"', False),
        ('me@x valid-after="202606010001Z"', False),
        ('me@x valid-before="20260601Z"', True),
        ('me@x valid-before="202605312359UTC"', False),
        ('me@x valid-before="20260601",valid-after="20260601"', False),
        ('me@x valid-after="20260531Z",valid-before="20260602Z"', True),
        ('me@x valid-before="20270101Z",valid-before="20270101Z"', False),
        ('me@x valid-after="tomorrow"', False),
    ],
)
def test_we_agree_on_allowed_signers(
    prefix: str, accepted: bool, key_files: dict[str, Path], keygen: str, theirs: Verify
) -> None:
    armored = their_signature(keygen, key_files["ed25519"])
    line = "# comment\n\n" + line_of(key_files["ed25519"], prefix)
    assert theirs(line, armored, at="20260601000000Z") is accepted
    assert ours(line, armored, now=datetime(2026, 6, 1, tzinfo=UTC)) is accepted


def test_we_agree_on_local_time(key_files: dict[str, Path], keygen: str, theirs: Verify) -> None:
    armored = their_signature(keygen, key_files["ed25519"])
    # Five hours west of Greenwich, 07:00 is noon in UTC.
    line = line_of(key_files["ed25519"], 'me@x valid-after="202601010700"')
    for at, accepted in (("20260101120000Z", True), ("20260101115959Z", False)):
        assert theirs(line, armored, at=at, zone="EST5") is accepted
    with pytest.raises(WireError, match="time zone"):
        parse_allowed_signers(line)


@pytest.mark.parametrize(
    ("principals", "options", "at", "accepted"),
    [
        ("me@x,you@x", [], "20260601Z", True),
        ("you@x", [], "20260601Z", False),
        ("me@x", ["-V", "20260101000000Z:20260601000000Z"], "20260531Z", True),
        ("me@x", ["-V", "20260101000000Z:20260601000000Z"], "20260601Z", False),
        ("me@x", ["-V", "20260101000000Z:20260601000000Z"], "20251231Z", False),
        ("me@x", ["-O", "force-command=true"], "20260601Z", True),
        ("me@x", ["-h"], "20260601Z", False),
    ],
)
def test_we_agree_on_certificates(
    *,
    principals: str,
    options: list[str],
    at: str,
    accepted: bool,
    key_files: dict[str, Path],
    keygen: str,
    theirs: Verify,
    tmp_path: Path,
    start_agent: Callable[[str], Any],
    require_program: Callable[[str], str],
) -> None:
    user = tmp_path / "user"
    user.write_bytes(key_files["ed25519"].read_bytes())
    user.chmod(0o600)
    user.with_suffix(".pub").write_bytes(key_files["ed25519"].with_suffix(".pub").read_bytes())
    certify = [keygen, "-q", "-s", str(key_files["p256"]), "-I", "id", "-n", principals, *options]
    subprocess.run([*certify, f"{user}.pub"], check=True, timeout=30)
    certificate, _ = parse_public_line((tmp_path / "user-cert.pub").read_text())
    agent = start_agent("ssh-agent")
    environ = {**os.environ, "SSH_AUTH_SOCK": agent.address}
    subprocess.run(
        [require_program("ssh-add"), "-q", str(user)], env=environ, check=True, timeout=30
    )
    with AgentClient(agent.address, timeout_s=60) as client:
        signer = AgentSigner(client, certificate)
        armored = sign_message(MESSAGE, signer=signer, namespace="file")
    line = line_of(key_files["p256"], "*@x cert-authority")
    now = datetime.strptime(at, "%Y%m%dZ").replace(tzinfo=UTC)
    assert theirs(line, armored, at=at) is accepted
    assert ours(line, armored, now=now) is accepted
    assert not ours(line_of(key_files["p384"], "*@x cert-authority"), armored, now=now)
    assert not ours(line_of(key_files["ed25519"]), armored, now=now)
