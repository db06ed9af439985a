"""The audit log of a running agent: what it holds, that it is whole, and what a full disk does."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening

from secretivex.audit.check import check_log
from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.connection import encode_frame
from sshwire.agent.numbers import ReplyNumber
from sshwire.agent.requests import (
    ExtensionRequest,
    RemoveAllRequest,
    SignRequest,
    encode_request,
)
from sshwire.pubkey import parse_public_line

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
WORKERS = pytest.mark.parametrize("workers", [1, 2])

SECRET = "canary-9f31"


def records(*logs: Path) -> list[dict[str, Any]]:
    lines = b"".join(log.read_bytes() for log in logs).splitlines()
    return [record for record in map(json.loads, lines) if record["event"] != "seal"]


def is_whole(*logs: Path) -> bool:
    keys = {}
    for line in logs[-1].with_name("audit.jsonl.key").read_text().splitlines():
        name, _, text = line.partition(" ")
        keys[name] = bytes.fromhex(text)
    lines = [line for log in logs for line in log.read_bytes().splitlines(keepends=True)]
    report = check_log(lines, keys=keys)
    return not report.findings and not report.unchecked_macs


def sign(service: Any, key: Path) -> None:
    """SSHSIG through the agent, over data that must not show anywhere."""
    message = service.address.with_name("message")
    message.write_text(SECRET)
    command = ("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(key), str(message))
    assert service.tool(*command).returncode == 0
    message.with_name("message.sig").unlink()


@WORKERS
def test_every_request_has_its_record_and_the_log_is_whole(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    log = tmp_path / "audit.jsonl"
    key = key_files["ed25519"]
    service = start_service("--key", key, "--audit-requests", "--audit-path", log, workers=workers)
    sign(service, key.with_name(key.name + ".pub"))
    assert service.ssh_add("-q", str(key_files["rsa"])).returncode == 0
    assert service.ssh_add("-d", str(key_files["rsa"])).returncode == 0
    assert service.ssh_add("-T", str(key_files["rsa"].with_suffix(".pub"))).returncode != 0
    assert service.stop() == 0
    found = records(log)
    happened = [(record["event"], record["outcome"]) for record in found]
    assert happened[0] == ("chain_opened", "ok")
    assert happened[1] == ("start", "ok")
    assert happened[-1] == ("chain_closed", "ok")
    for wanted in (("list", "ok"), ("sign", "ok"), ("add", "ok"), ("remove", "ok"), ("stop", "ok")):
        assert wanted in happened
    signed = next(record for record in found if record["event"] == "sign")
    listed = service_fingerprint(key)
    assert signed["key"] == listed
    assert signed["uid"] == os.getuid()
    assert signed["pid"]
    assert signed["wait_us"] >= 0
    assert signed["sign_us"] > 0
    python = Path(sys.executable).resolve().name
    for record in found:
        if "uid" in record:
            assert record["executable"].endswith(("ssh-keygen", "ssh-add", python)), record
    refused = next(
        one for one in found if (one["event"], one["outcome"] == "ok") == ("sign", False)
    )
    assert refused["key"] == service_fingerprint(key_files["rsa"])
    removed = next(record for record in found if record["event"] == "remove")
    assert removed["key"] == service_fingerprint(key_files["rsa"])
    assert is_whole(log)
    assert log.stat().st_mode & 0o777 == 0o600


def service_fingerprint(key: Path) -> str:
    command = ("ssh-keygen", "-l", "-f", str(key))
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return said.stdout.split()[1]


@WORKERS
def test_nothing_that_was_signed_or_said_of_a_key_gets_into_the_log(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    log = tmp_path / "audit.jsonl"
    key = tmp_path / "named"
    shutil.copy2(key_files["ed25519"], key)
    subprocess.run(
        ("ssh-keygen", "-q", "-c", "-C", SECRET + "-comment", "-f", str(key)),
        check=True,
        timeout=60,
    )
    service = start_service("--key", key, "--audit-requests", "--audit-path", log, workers=workers)
    public = tmp_path / "named.pub"
    public.write_text(service.ssh_add("-L").stdout)
    sign(service, public)
    assert service.stop() == 0
    text = log.read_text()
    assert SECRET not in text
    blob = public.read_text().split()[1]
    assert blob[-40:] not in text


def test_signatures_made_in_one_go_are_told_apart_by_their_keys(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    chosen = [key_files[name] for name in ("ed25519", "p256")]
    keys = [word for key in chosen for word in ("--key", key)]
    service = start_service(*keys, "--audit-requests", "--audit-path", log)
    blobs = [base64.b64decode(Path(f"{key}.pub").read_text().split()[1]) for key in chosen]
    order = [0, 0, 1, 1, 1, 0, 1, 0, 0] * 40
    frames = [encode_request(SignRequest(blobs[which], b"data", 0)) for which in order]
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(service.address))
        for first in range(0, len(frames), 36):
            some = frames[first : first + 36]
            client.sendall(b"".join(map(encode_frame, some)))
            for _ in some:
                size = int.from_bytes(client.recv(4, socket.MSG_WAITALL), "big")
                assert client.recv(size, socket.MSG_WAITALL)[0] == ReplyNumber.SIGN_RESPONSE
    assert service.stop() == 0
    signed = [record for record in records(log) if record["event"] == "sign"]
    fingerprints = [service_fingerprint(key) for key in chosen]
    assert [one["key"] for one in signed] == [fingerprints[which] for which in order]
    numbers = [int(one["request"].partition(".")[2]) for one in signed]
    assert numbers == list(range(numbers[0], numbers[0] + len(order)))
    assert is_whole(log)


def test_the_log_is_rotated_and_still_one_chain(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service(
        *("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log),
        *("--audit-max-bytes", "4096", "--audit-keep", "50"),
    )
    lists = 0

    def has_rotated() -> bool:
        nonlocal lists
        lists += 10
        assert all(service.ssh_add("-l").returncode == 0 for _ in range(10))
        return (tmp_path / "audit.jsonl.2").exists()

    wait(has_rotated, "no second file")
    assert service.stop() == 0
    older = sorted(tmp_path.glob("audit.jsonl.[0-9]*"), key=lambda path: -int(path.suffix[1:]))
    assert is_whole(*older, log)
    assert sum(record["event"] == "list" for record in records(*older, log)) >= lists
    # Who noted the first signing key, which the agent's own log tells, needs no secret to check.
    (signer,) = re.findall(r"audit chain opened .*signer=(\S+)", service.log.read_text())
    verify = (sys.executable, "-m", "secretivex.cli.client", "verify-audit", "--format", "json")
    files = [str(path) for path in (*older, log)]
    checked = service.tool(*verify, "--signer", signer, *files)
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["data"]["signed_heads"] == len(files)
    assert service.tool(*verify, "--signer", "SHA256:other", *files).returncode == 1


def test_a_writer_that_is_killed_is_replaced_and_the_log_stays_whole(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    assert service.ssh_add("-l").returncode == 0
    wait(lambda: '"list"' in log.read_text(), "nothing recorded")
    os.kill(audit_writer(service), signal.SIGKILL)
    wait(lambda: "writer_replaced" in log.read_text(), "no new writer")
    assert service.ssh_add("-l").returncode == 0
    assert service.stop() == 0
    assert is_whole(log)
    assert sum(record["event"] == "chain_opened" for record in records(log)) == 2


def audit_writer(service: Any) -> int:
    """The child of the supervisor that has the log open."""
    pid = service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    holders = []
    for child in map(int, children):
        links = [link.resolve() for link in Path(f"/proc/{child}/fd").iterdir()]
        if any(link.name == "audit.jsonl" for link in links):
            holders.append(child)
    assert len(holders) == 1
    return holders[0]


@pytest.mark.parametrize("rule", ["refuse", "drop-with-counter"])
def test_a_full_disk_stops_signing_or_not_as_the_configuration_says(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, rule: str
) -> None:
    log = tmp_path / "audit.jsonl"
    key = key_files["ed25519"]
    service = start_service(
        *("--key", key, "--audit-requests", "--audit-path", log, "--audit-on-full", rule)
    )
    writer = audit_writer(service)
    _, most = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (log.stat().st_size + 600, most))
    wait(lambda: _fill(service), "the log was never full")
    command = ("ssh-add", "-T", str(key.with_name(key.name + ".pub")))
    is_signing = service.tool(*command).returncode == 0
    assert is_signing == (rule == "drop-with-counter")
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (most, most))
    wait(lambda: service.tool(*command).returncode == 0, "it never signed again")
    wait(lambda: service.logged("the audit log is written again"), "it was not written again")
    assert service.stop() == 0
    assert is_whole(log)


def test_a_writer_that_cannot_write_ends_with_its_agent(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    running: Callable[[int], bool],
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    writer = audit_writer(service)
    _, most = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (log.stat().st_size + 10, most))
    wait(lambda: _fill(service), "the log was never full")
    assert service.stop() == 0
    wait(lambda: not running(writer), "the writer outlived its agent")
    assert service.logged("audit records lost")


def _fill(service: Any) -> bool:
    service.ssh_add("-l")
    return bool(service.logged("cannot write the audit log"))


def test_two_agents_do_not_share_a_log_and_a_log_that_cannot_be_is_said_at_once(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, run_agent: Any
) -> None:
    log = tmp_path / "audit.jsonl"
    start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    options = ("run", "--socket", tmp_path / "other.sock", "--audit-requests", "--audit-path")
    other = run_agent(*options, log)
    assert other.returncode == 5
    assert "another agent writes the audit log" in other.stderr
    nowhere = run_agent(*options, tmp_path / "none" / "audit.jsonl")
    assert nowhere.returncode == 5
    assert "cannot write the audit log" in nowhere.stderr
    assert not (tmp_path / "other.sock").exists()


def test_the_log_is_read_and_checked_by_the_client(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    assert service.ssh_add("-l").returncode == 0
    assert service.stop() == 0
    client = (sys.executable, "-m", "secretivex.cli.client")
    shown = service.tool(*client, "tail-audit", str(log), "--event", "list")
    assert shown.returncode == 0
    assert " list ok " in shown.stdout
    key = ("--key-file", str(log) + ".key")
    whole = service.tool(*client, "verify-audit", str(log), *key, "--format", "json")
    assert whole.returncode == 0
    head = json.loads(whole.stdout)["data"]["head"]
    text = log.read_text()
    log.write_text(text.replace('"list","outcome":"ok"', '"list","outcome":"no"', 1))
    for options in ((), key, ("--head", head)):
        altered = service.tool(*client, "verify-audit", str(log), *options)
        assert altered.returncode == 1
        assert "records_altered" in altered.stdout
    log.write_text("".join(text.splitlines(keepends=True)[:-2]))
    assert service.tool(*client, "verify-audit", str(log), *key).returncode == 0
    cut = service.tool(*client, "verify-audit", str(log), "--head", head)
    assert cut.returncode == 1
    assert "head_missing" in cut.stdout


# Clients that ask and hang up.


def told_requests(service: Any) -> dict[str, int]:
    outcomes: dict[str, int] = ask(control_path(service.address), "metrics", timeout_s=60)[
        "outcomes"
    ]
    return outcomes


@WORKERS
def test_what_a_client_asked_for_is_recorded_though_it_hung_up(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    log, keys = tmp_path / "audit.jsonl", [key_files["ed25519"], key_files["rsa"]]
    service = start_service(
        *("--key", keys[0], "--key", keys[1], "--audit-requests", "--audit-path", log),
        workers=workers,
    )
    blobs = [
        parse_public_line(key.with_name(key.name + ".pub").read_text())[0].blob for key in keys
    ]
    signs = [encode_request(SignRequest(blob, b"data", 4 * (blob is blobs[1]))) for blob in blobs]
    everything = encode_request(RemoveAllRequest())
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    asked = {"sign": 0, "remove_all": 0}
    for _ in range(20):
        for request in (*signs, everything):
            with service.connect() as connected:
                connected.sendall(encode_frame(request))
            asked["remove_all" if request is everything else "sign"] += 1

    def heard() -> bool:
        counts = told_requests(service)
        return all(
            sum(n for name, n in counts.items() if name.startswith(event + ".")) == wanted
            for event, wanted in asked.items()
        )

    wait(heard, "requests were not counted")
    assert service.stop() == 0
    found = [record["event"] for record in records(log)]
    assert {event: found.count(event) for event in asked} == asked
    assert is_whole(log)


@WORKERS
def test_a_record_tells_which_key_was_added_and_which_extension_was_asked_for(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service(
        *("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log), workers=workers
    )
    kinds = [kind for kind in key_files if key_files[kind].suffix != ".pub"]
    for kind in kinds:
        assert service.ssh_add("-q", str(key_files[kind])).returncode == 0
    with service.connect() as connected:
        for name in ("query", "hostile\n\x1b[31m" + "x" * 500):
            connected.sendall(encode_frame(encode_request(ExtensionRequest(name))))
            assert connected.recv(65_536)
    assert service.stop() == 0
    found = records(log)
    added = [record["key"] for record in found if record["event"] == "add"]
    assert added == [service_fingerprint(key_files[kind]) for kind in kinds]
    names = [record["extension"] for record in found if record["event"] == "extension"]
    assert names == ["query", "hostile\n\x1b[31m" + "x" * 51]


def test_a_followed_log_is_shown_line_by_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"time":"t","event":"sign","outcome":"first"}\n')
    command = (sys.executable, "-m", "secretivex.cli.client", "tail-audit", "--follow", str(log))
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}
    following = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert following.stdout is not None
        assert following.stdout.readline() == "t sign first\n"
        with log.open("a") as file:
            file.write('{"time":"t","event":"list","outcome":"second"}\n')
        assert following.stdout.readline() == "t list second\n"
    finally:
        following.kill()
        following.communicate()


def test_what_a_killed_writer_had_not_written_is_counted_and_told(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    log = tmp_path / "audit.jsonl"
    service = start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    control = control_path(service.address)
    wait(lambda: is_listening(control), "no control socket")
    writer = audit_writer(service)
    _, most = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (log.stat().st_size, most))
    wait(lambda: _fill(service), "the log was never full")
    os.kill(writer, signal.SIGKILL)
    wait(lambda: "writer_replaced" in log.read_text(), "no new writer")
    (replaced,) = [one for one in records(log) if one["event"] == "writer_replaced"]
    assert replaced["outcome"] == "records_lost"
    assert ask(control, "health", timeout_s=60)["audit"]["dropped"] == replaced["lost"] > 0
    assert service.ssh_add("-l").returncode == 0
    asked = told_requests(service)["list.ok"]
    assert service.stop() == 0
    listed = sum(record["event"] == "list" for record in records(log))
    assert listed + replaced["lost"] == asked
    assert is_whole(log)
