"""`secretive-client` as an operator runs it, against real agents and against none."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sshwire.pubkey import parse_public_line
from sshwire.signature import parse_signature, verify_signature

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Client = Callable[..., "subprocess.CompletedProcess[str]"]

AGENTS = ["ssh-agent", "secretive-agent"]


@pytest.fixture(params=AGENTS)
def client(
    request: pytest.FixtureRequest, standing_agent: Callable[[str], Any], command_line: CommandLine
) -> Client:
    """Run one command with the agent named in the environment."""
    agent = standing_agent(request.param)

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        environ = {"SSH_AUTH_SOCK": agent.address}
        return command_line("secretive-client", *arguments, env=environ, stdin=stdin)

    return run


LOADED = re.compile(r"requests wait \d+ ms for their turn to sign \(p99\)")


def data(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["schema"], document["ok"]) == (1, True)
    return document["data"]


def error(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)["error"]


def test_list_shows_what_ssh_keygen_says(client: Client, key_files: dict[str, Path]) -> None:
    listed = data(client("list", "--format", "json"))
    assert listed["count"] == len(key_files)
    for key in listed["identities"]:
        public = key_files[key["comment"]].with_suffix(".pub")
        assert key["openssh"] == public.read_text().strip()
        told = subprocess.run(
            ["ssh-keygen", "-lf", str(public)], capture_output=True, text=True, check=True
        )
        assert key["fingerprint"] in told.stdout
    table = client("list").stdout
    assert all(key["fingerprint"] in table for key in listed["identities"])
    lines = client("list", "--openssh", "--filter", "P25").stdout
    assert lines == key_files["p256"].with_suffix(".pub").read_text()


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "p521", "rsa"])
def test_sign_makes_a_signature_that_verifies(
    client: Client, kind: str, key_files: dict[str, Path], tmp_path: Path
) -> None:
    public, _ = parse_public_line(key_files[kind].with_suffix(".pub").read_text())
    (tmp_path / "message").write_text("hello")
    options = ["--comment", kind, "--flags", "rsa-sha2-256", "--format", "json"]
    signed = data(client("sign", *options, "--data", str(tmp_path / "message")))
    verify_signature(public, bytes.fromhex(signed["signature_blob_hex"]), b"hello")
    signed = data(client("sign", *options, stdin="hello"))
    blob = bytes.fromhex(signed["signature_blob_hex"])
    verify_signature(public, blob, b"hello")
    assert signed["algorithm"] == parse_signature(blob).format
    assert signed["signature_hex"] == parse_signature(blob).blob.hex()


def test_key_is_chosen_by_blob_and_fingerprint(client: Client, key_files: dict[str, Path]) -> None:
    keys = data(client("list", "--format", "json"))["identities"]
    key = next(one for one in keys if one["comment"] == "ed25519")
    text = client("sign", "--key", key["key_blob_hex"], stdin="x").stdout
    assert text.startswith("algorithm: ssh-ed25519\nsignature: ")
    assert client("sign", "--fingerprint", key["fingerprint"], stdin="x").stdout == text
    assert client("sign", "--key", key["openssh"], stdin="x").stdout == text


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        (["--comment", "nobody"], "key_not_found", 4),
        (["--fingerprint", "SHA256:nothing"], "key_not_found", 4),
        (["--key", "not hex"], "usage", 2),
        ([], "usage", 2),
        (["--comment", "rsa", "--key", "00"], "usage", 2),
        (["--comment", "rsa", "--flags", "ssh-rsa"], "usage", 2),
        (["--comment", "rsa", "--flags", "-1"], "usage", 2),
        (["--comment", "rsa", "--data", "/nonexistent/file"], "input_not_found", 4),
        (["--comment", "rsa", "--data", "/"], "input_unreadable", 3),
        (["--comment", "rsa", "--response-timeout-ms", "0"], "usage", 2),
    ],
)
def test_what_cannot_be_signed_is_said(
    client: Client, options: list[str], code: str, status: int
) -> None:
    done = client("sign", *options, "--format", "json")
    assert done.returncode == status
    assert error(done)["code"] == code
    assert done.stderr.startswith("secretive-client: ")


@pytest.mark.parametrize(("more", "status"), [(0, 0), (1, 3), (100_000, 3)])
def test_longest_data_are_signed_and_longer_ones_refused(
    client: Client, more: int, status: int, key_files: dict[str, Path], tmp_path: Path
) -> None:
    public, _ = parse_public_line(key_files["ed25519"].with_suffix(".pub").read_text())
    (tmp_path / "long").write_bytes(bytes(262144 - 13 - len(public.blob) + more))
    done = client("sign", "--comment", "ed25519", "--data", str(tmp_path / "long"))
    assert done.returncode == status
    assert ("do not fit" in done.stderr) is bool(status)


def test_health_is_fine_and_counts(client: Client) -> None:
    done = client("health", "--format", "json")
    document = json.loads(done.stdout)
    found = document["data"]
    assert found["healthy"] is (done.returncode == 0)
    # All tests share this agent: how long they kept one another waiting is not judged here.
    assert done.returncode == 0 or LOADED.fullmatch(document["error"]["message"]), done.stderr
    assert found["valid_identities"] == found["total_identities"] == 5
    assert found["algorithms"]["ssh-rsa"] == 1
    assert 0 < found["list_ms"] < 10_000
    assert "total_identities: 5\n" in client("health").stdout
    done = client("health", "--min-identities", "6", "--format", "json")
    assert done.returncode == 1
    assert error(done)["code"] == "unhealthy"


@pytest.mark.parametrize(
    ("options", "environ", "code", "status"),
    [
        (["--socket", "/nonexistent/sock"], {}, "agent_unavailable", 5),
        (["--socket", "/etc/passwd"], {}, "agent_unavailable", 5),
        (["--socket", "/" + "x" * 120], {}, "socket_path_too_long", 3),
        ([], {"SSH_AUTH_SOCK": "/nonexistent/sock"}, "agent_unavailable", 5),
        ([], {"SSH_AUTH_SOCK": "/" + "x" * 120}, "socket_path_too_long", 3),
        ([], {}, "agent_unavailable", 5),
        ([], {"HOME": ""}, "agent_unavailable", 5),
    ],
)
@pytest.mark.parametrize("command", ["list", "health"])
def test_agent_that_is_not_there(
    *,
    command: str,
    options: list[str],
    environ: dict[str, str],
    code: str,
    status: int,
    command_line: CommandLine,
) -> None:
    done = command_line("secretive-client", command, *options, "--format", "json", env=environ)
    assert done.returncode == status
    assert error(done)["code"] == code
    assert error(done)["hint"]


def test_home_and_variables_are_expanded_in_the_name_of_the_socket(
    standing_agent: Callable[[str], Any], command_line: CommandLine
) -> None:
    socket = Path(standing_agent("secretive-agent").address)
    env = {"HOME": str(socket.parent), "PLACE": str(socket.parent)}
    for name in (f"~/{socket.name}", f"$PLACE/{socket.name}"):
        assert command_line("secretive-client", "list", "--socket", name, env=env).returncode == 0
        named = {**env, "SECRETIVE_SOCK": name}
        assert command_line("secretive-client", "list", env=named).returncode == 0
        assert command_line("secretive-agent", "reload", env=named).returncode == 0
    done = command_line("secretive-client", "list", "--socket", "$NOWHERE/x", env=env)
    assert (done.returncode, "NOWHERE is not set" in done.stderr) == (2, True)


def test_text_of_health_says_nothing_of_what_only_our_agent_tells(client: Client) -> None:
    assert "None" not in client("health").stdout


def test_an_empty_comment_is_a_choice_like_any_other(client: Client) -> None:
    done = client("sign", "--comment", "", "--format", "json", stdin="x")
    assert (done.returncode, error(done)["code"]) == (4, "key_not_found")


def test_our_variable_goes_before_the_one_of_ssh(
    standing_agent: Callable[[str], Any], command_line: CommandLine
) -> None:
    agent = standing_agent("ssh-agent")
    environ = {"SECRETIVE_SOCK": agent.address, "SSH_AUTH_SOCK": "/nonexistent"}
    assert command_line("secretive-client", "list", env=environ).returncode == 0


def test_agent_that_lists_junk_is_unhealthy(
    junk_agent: Callable[[bytes], str], command_line: CommandLine
) -> None:
    blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x01x"
    listed = b"\x0c\0\0\0\x01" + len(blob).to_bytes(4, "big") + blob + b"\0\0\0\x04\x1b[1m"
    for arguments in (["--format", "json"], []):
        address = junk_agent(listed)
        done = command_line("secretive-client", "health", "--socket", address, *arguments)
        assert done.returncode == 1
        assert "\x1b" not in done.stdout
        assert "1 key blobs cannot be read" in done.stderr


@pytest.mark.parametrize("reply", [b"\x0b", b"\x0e\0\0\0\0"])
def test_what_is_no_agent_is_told(
    reply: bytes, junk_agent: Callable[[bytes], str], command_line: CommandLine
) -> None:
    address = junk_agent(reply)
    done = command_line("secretive-client", "health", "--socket", address, "--format", "json")
    assert done.returncode == 5
    assert error(done)["code"] == "protocol_error"


def test_silent_agent_times_out(
    junk_agent: Callable[[bytes], str], command_line: CommandLine
) -> None:
    wait = ["--response-timeout-ms", "200", "--format", "json"]
    done = command_line("secretive-client", "list", "--socket", junk_agent(b""), *wait)
    assert done.returncode == 5
    assert error(done)["code"] == "agent_unavailable"


def test_list_starts_without_what_it_does_not_need() -> None:
    """A library for cryptography or an event loop would double its start."""
    import os
    import sys

    probe = (
        "import sys; from secretivex.cli.client import main; main(['list'])\n"
        "heavy = {'cryptography', 'asyncio', 'uvloop', 'bcrypt', 'email', 'tomllib'}\n"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    path = str(Path(__file__).resolve().parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path, "SSH_AUTH_SOCK": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
