"""Audit records at real loggers: rsyslog and the systemd journal, each in a view of its own.

The agent and its logger run where /dev, /run and /var/log are the test's, so that both stand at the
addresses that a machine has. Rule for editors: nothing is written outside of the view.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from listening import is_listening

from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.connection import encode_frame
from sshwire.agent.numbers import ReplyNumber
from sshwire.agent.requests import (
    ExtensionRequest,
    ListRequest,
    SignRequest,
    encode_request,
)
from sshwire.pubkey import parse_public_line

ROOT = Path(__file__).resolve().parents[3]
JOURNALD = "/lib/systemd/systemd-journald"

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Require = Callable[[str], str]

SECRET = "canary-5b70"
COMMENT = SECRET + "-comment"
FORGERY = 'x\nPRIORITY=0\n"\x1b[31m'
"""The name of an extension that would be a field of its own, if line ends got through."""

LONG_RULE = "long " + "x" * 480
"""The name of a rule, for records of more than the 1024 bytes that RFC 3164 has room for."""

VIEW = """
set -eu
mkdir -p "$0/run/systemd/journal" "$0/log" "$0/dev"
mount --bind "$0/run" /run
mount --bind "$0/log" /var/log
mount -t tmpfs none "$0/dev"
for name in null zero full random urandom; do
    touch "$0/dev/$name"
    mount --bind /dev/$name "$0/dev/$name"
done
mount --rbind "$0/dev" /dev
echo there
exec sleep 600
"""


@dataclass(frozen=True)
class View:
    """A mount name space: `inside` begins the command line of what is to run there."""

    folder: Path
    inside: tuple[str, ...]


@pytest.fixture
def view(
    tmp_path: Path, require_program: Require, give_up: Callable[[str], NoReturn]
) -> Iterator[View]:
    if os.geteuid():
        give_up("root, to mount folders over others,")
    nsenter = require_program("nsenter")
    command = (require_program("unshare"), "--mount", "/bin/sh", "-c", VIEW, str(tmp_path))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "there\n"
            yield View(tmp_path, (nsenter, f"--target={holder.pid}", "--mount"))
        finally:
            holder.kill()


@dataclass
class Logger:
    """A logger that can be ended and begun again; `place` is the socket that it hears at."""

    command: tuple[str, ...]
    place: Path
    read: Callable[[], list[str]]
    """What it keeps of the audit log, one record a line."""
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self, wait: Wait) -> None:
        self.process = subprocess.Popen(self.command)
        wait(self._is_up, "the logger does not listen")

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the logger ended"
        pid = self.process.pid
        named = Path(f"/proc/{pid}/root{self.place}")
        rows = Path(f"/proc/{pid}/net/unix").read_text().splitlines()
        owned = {str(link) for link in _links(pid)}
        sockets = {f"socket:[{row.split()[6]}]" for row in rows if row.endswith(f" {self.place}")}
        return named.exists() and bool(sockets & owned)

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(60)


def _links(pid: int) -> list[Path]:
    return [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.fixture
def make_logger(view: View, require_program: Require) -> Iterator[Callable[[str], Logger]]:
    """Make rsyslog, as docs/audit.md has it told, or the journal, as it is."""
    with ExitStack() as stack:

        def make(kind: str) -> Logger:
            make = rsyslog if kind == "syslog" else journal
            logger = make(view, require_program)
            stack.callback(logger.stop)
            return logger

        yield make


def rsyslog(view: View, require: Require) -> Logger:
    kept = view.folder / "log" / "audit.jsonl"
    config = view.folder / "rsyslog.conf"
    shown = (
        (ROOT / "docs" / "audit.md").read_text().partition("```rsyslog\n")[2].partition("```")[0]
    )
    assert "/var/log/secretive-audit.jsonl" in shown
    shown = shown.replace("/var/log/secretive-audit.jsonl", "/var/log/audit.jsonl")
    config.write_text('module(load="imuxsock")\n' + shown)
    command = (require("rsyslogd"), "-n", "-i", "NONE", "-f", str(config))
    return Logger(
        (*view.inside, *command),
        Path("/dev/log"),
        lambda: kept.read_text().splitlines() if kept.exists() else [],
    )


def journal(view: View, require: Require) -> Logger:
    require(JOURNALD)
    command = (require("journalctl"), "--directory", str(view.folder / "run" / "log" / "journal"))

    def read() -> list[str]:
        shown = (*command, "-t", "secretive-agent", "_TRANSPORT=journal", "-o", "cat", "-a")
        return run(*shown).splitlines()

    return Logger((*view.inside, JOURNALD), Path("/run/systemd/journal/socket"), read)


def run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@dataclass(frozen=True)
class Scene:
    """An agent that tells a logger."""

    service: Any
    logger: Logger
    key: Path
    wait: Wait

    def audit(self) -> dict[str, Any]:
        found = ask(control_path(self.service.address), "health", timeout_s=60)["audit"]
        assert isinstance(found, dict)
        return found

    def ask_for(self, *requests: bytes) -> list[int]:
        """Numbers of the replies to requests that are sent in one go."""
        with self.service.connect() as connected:
            connected.sendall(b"".join(map(encode_frame, requests)))
            found = []
            for _ in requests:
                size = int.from_bytes(connected.recv(4, socket.MSG_WAITALL), "big")
                found.append(connected.recv(size, socket.MSG_WAITALL)[0])
        return found

    def list(self, times: int) -> None:
        self.ask_for(*[encode_request(ListRequest())] * times)

    def sign(self) -> bool:
        blob = parse_public_line(self.key.with_name("named.pub").read_text())[0].blob
        return self.ask_for(encode_request(SignRequest(blob, SECRET.encode(), 0))) == [
            ReplyNumber.SIGN_RESPONSE
        ]

    def has_all(self) -> bool:
        """Whether the logger has every seal that the agent made so far."""
        lines = self.logger.read()
        return sum('"event":"seal"' in line for line in lines) == int(self.audit()["seals"])


@pytest.fixture
def make_scene(
    view: View,
    make_logger: Callable[[str], Logger],
    start_service: Start,
    key_files: dict[str, Path],
    wait: Wait,
) -> Callable[[str], Scene]:
    def make(kind: str) -> Scene:
        logger = make_logger(kind)
        logger.start(wait)
        key = view.folder / "named"
        shutil.copy2(key_files["ed25519"], key)
        run("ssh-keygen", "-q", "-c", "-C", COMMENT, "-f", str(key))
        config = view.folder / "agent.toml"
        config.write_text(
            f'audit_requests = true\naudit_to = "{kind}"\naudit_key_path = "{key}.audit"\n'
            f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key}"]\n'
            f'[[policy.rules]]\nname = "{LONG_RULE}"\neffect = "deny"\nnamespaces = ["file"]\n'
        )
        service = start_service("--config", config, before=view.inside)
        wait(lambda: is_listening(control_path(service.address)), "no control socket")
        return Scene(service, logger, key, wait)

    return make


LOGGERS = pytest.mark.parametrize("kind", ["syslog", "journald"])


@LOGGERS
def test_a_logger_has_every_record_through_its_pause_and_its_restart(
    make_scene: Callable[[str], Scene], tmp_path: Path, wait: Wait, kind: str
) -> None:
    scene = make_scene(kind)
    logger = scene.logger
    assert scene.sign()
    scene.ask_for(encode_request(ExtensionRequest(FORGERY)))
    refused = refuse_at_length(scene, tmp_path)

    # Its buffer is full: nothing is signed that cannot be recorded.
    logger.signal(signal.SIGSTOP)
    lists = 0

    def is_stuck() -> bool:
        nonlocal lists
        scene.list(200)
        lists += 200
        return bool(scene.audit()["is_stuck"])

    wait(is_stuck, "the logger's buffer was never full")
    assert not scene.sign()
    logger.signal(signal.SIGCONT)
    wait(scene.sign, "it never signed again")
    wait(scene.has_all, "something did not arrive")

    # It is gone, and comes back.
    logger.stop()
    lists += 1
    scene.list(1)
    wait(lambda: bool(scene.audit()["is_stuck"]), "nobody missed the logger")
    assert not scene.sign()
    logger.start(wait)
    wait(scene.sign, "it never signed again")

    assert scene.service.stop() == 0
    wait(lambda: any("chain_closed" in line for line in logger.read()), "the end did not arrive")
    lines = logger.read()
    check_whole(scene, lines, tmp_path)
    records = [json.loads(line) for line in lines]
    happened = [record["event"] for record in records]
    # One more, for the agent counted as ready when it answered a list.
    assert happened.count("list") >= lists + 1
    names = [record["extension"] for record in records if record["event"] == "extension"]
    assert names == [FORGERY]
    (long,) = [record for record in records if record.get("rule") == LONG_RULE]
    assert long["executable"] == refused
    assert len(json.dumps(long)) > 1024
    assert SECRET not in "".join(lines)


def refuse_at_length(scene: Scene, folder: Path) -> str:
    """Have a program with a long path refused by a rule with a long name; the path, as it is told."""
    deep = folder / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    program = shutil.copy2(shutil.which("ssh-keygen") or "", deep / ("k" * 200))
    (folder / "message").write_text(SECRET)
    public = str(scene.key) + ".pub"
    command = (program, "-Y", "sign", "-n", "file", "-f", public, str(folder / "message"))
    assert scene.service.tool(*map(str, command)).returncode != 0
    return str(program)[:512]


def check_whole(scene: Scene, lines: list[str], folder: Path) -> None:
    """One chain from its beginning to its end, by the command that a reader has."""
    log = folder / "read-back.jsonl"
    log.write_text("".join(line + "\n" for line in lines))
    command = (sys.executable, "-m", "secretivex.cli.client", "verify-audit", "--format", "json")
    checked = scene.service.tool(*command, "--key-file", f"{scene.key}.audit", str(log))
    assert checked.returncode == 0, checked.stdout
    data = json.loads(checked.stdout)["data"]
    assert (len(data["chains"]), data["unclosed_chains"]) == (1, [])
    assert (data["unsealed_records"], data["seals_without_key"]) == (0, 0)


def test_the_journal_has_fields_of_ours_alone(
    make_scene: Callable[[str], Scene], tmp_path: Path, wait: Wait
) -> None:
    scene = make_scene("journald")
    assert scene.sign()
    scene.ask_for(encode_request(ExtensionRequest(FORGERY)))
    assert scene.service.stop() == 0
    logger = scene.logger
    wait(lambda: any("chain_closed" in line for line in logger.read()), "the end did not arrive")
    command = ("journalctl", "--directory", str(tmp_path / "run" / "log" / "journal"), "-a")
    entries = [json.loads(line) for line in run(*command, "-o", "json").splitlines()]
    ours = [entry for entry in entries if entry.get("SYSLOG_IDENTIFIER") == "secretive-agent"]
    assert {(one["PRIORITY"], one["SYSLOG_FACILITY"]) for one in ours} == {("6", "10")}
    sent = {name for one in ours for name in one if not name.startswith("_")}
    fields = {"MESSAGE", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "SECRETIVE_EVENT"}
    assert sent == fields
    for one in ours:
        assert json.loads(one["MESSAGE"])["event"] == one["SECRETIVE_EVENT"]
    # What a reader asks for by its field.
    signs = run(*command, "SECRETIVE_EVENT=sign", "-o", "cat").splitlines()
    assert [json.loads(line)["outcome"] for line in signs] == ["ok"]
    # Every field of every entry, the journal's own too.
    assert SECRET not in run(*command, "-o", "export")
