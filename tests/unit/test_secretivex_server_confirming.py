"""Who is asked when: one question a connection, a few at a time, none for a client that left."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from secretivex.engine import ConfirmJob, SignJob
from secretivex.identity import Identity
from secretivex.key_table import build_entry
from secretivex.peer import Peer
from secretivex.server.state import ServerLimits
from secretivex.server.worker.confirming import MAX_QUESTIONS, ConfirmDesk, make_question
from secretivex.server.worker.signing import Turn
from secretivex.stores.token.tools import TokenTools, find_tools
from sshwire.wire import encode_string, encode_text

BLOB = encode_text("ssh-ed25519") + encode_string(bytes(32))
PATIENCE_S = 20.0


class Owner:
    """A connection that takes replies."""

    peer = Peer(uid=0, gid=0)
    caller = "me"

    def fill(self, _turn: Turn, _frame: bytes) -> None:
        raise NotImplementedError


class NoKey:
    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


def job_of(comment: str = "key") -> ConfirmJob:
    entry = build_entry(Identity(BLOB, comment, "ssh-ed25519", "memory"), NoKey())
    return ConfirmJob(SignJob(entry, b"data", 4, Peer(os.getuid(), 1, os.getpid()), 1))


def script(folder: Path, body: str) -> str:
    path = folder / "askpass"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


class Bench:
    """A desk on a loop of its own, and what came out of it in order."""

    def __init__(self, tools: TokenTools, limits: ServerLimits) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.desk = ConfirmDesk(asyncio.get_running_loop(), limits, self.go_on)
        self.desk.tools = tools

    def go_on(self, job: ConfirmJob, refusal: str, _turn: Turn) -> None:
        self.outcomes.append((job.sign.entry.identity.comment, refusal))

    async def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.outcomes
            await asyncio.sleep(0.01)

    async def answers(self, *jobs: ConfirmJob) -> list[str]:
        for job in jobs:
            self.desk.submit(job, Turn(Owner()))
        await self.until(lambda: len(self.outcomes) == len(jobs))
        return [word for _, word in self.outcomes]


def answer_of(tools: TokenTools) -> str:
    async def story() -> str:
        return (await Bench(tools, ServerLimits()).answers(job_of()))[0]

    return asyncio.run(story())


def test_only_a_clean_yes_allows(tmp_path: Path) -> None:
    for body, word in (
        ("exit 0", ""),
        ("echo", ""),
        ("echo Yes", ""),
        ("echo no", "confirm_denied"),
        ("echo yesterday", "confirm_denied"),
        ("exit 1", "confirm_denied"),
        ("kill -9 $$", "confirm_denied"),
        ("echo yes; exit 255", "confirm_denied"),
    ):
        assert answer_of(TokenTools(askpass=script(tmp_path, body))) == word, body


def test_who_cannot_be_asked_has_not_allowed() -> None:
    assert answer_of(TokenTools()) == "confirm_unavailable"
    assert answer_of(TokenTools(askpass="/nonexistent/askpass")) == "askpass_failed"
    assert answer_of(TokenTools(confirm_command=("/nonexistent/ask",))) == "askpass_failed"
    assert answer_of(TokenTools(confirm_command=("ask\0",))) == "confirm_error"


def test_a_person_who_does_not_answer_in_time_has_refused(tmp_path: Path) -> None:
    tools = TokenTools(askpass=script(tmp_path, "sleep 60"), confirm_timeout_ms=200)
    begin = time.monotonic()
    assert answer_of(tools) == "confirm_timeout"
    assert time.monotonic() - begin < 20


def test_the_program_is_told_what_for_and_gets_nothing_else(tmp_path: Path) -> None:
    shown, seen = tmp_path / "shown", tmp_path / "seen"
    askpass = script(tmp_path, f'printf "%s" "$1" > {shown}\nenv > {seen}')
    environ = {"DISPLAY": ":7", "SSH_ASKPASS": askpass, "PATH": "/usr/bin:/bin", "SECRET": "x"}
    assert answer_of(find_tools(environ)) == ""
    assert shown.read_text() == make_question(job_of(), TokenTools()).text
    variables = set(seen.read_text().splitlines())
    assert {"DISPLAY=:7", "SSH_ASKPASS_PROMPT=confirm"} <= variables
    assert not any(line.startswith("SECRET") for line in variables)


def test_a_configured_command_gets_the_parts_and_decides_by_its_exit_status(
    tmp_path: Path,
) -> None:
    seen = tmp_path / "seen"
    command = (script(tmp_path, f'env > {seen}\necho no\nexit "$1"'), "0")
    environ = {"PATH": "/usr/bin:/bin"}
    assert answer_of(TokenTools(confirm_command=command, askpass_environ=environ)) == ""
    refusing = (command[0], "3")
    assert answer_of(TokenTools(confirm_command=refusing)) == "confirm_denied"
    answer_of(TokenTools(confirm_command=command, askpass_environ=environ))
    lines = seen.read_text().splitlines()
    prefix = "SECRETIVE_CONFIRM_"
    found = dict(
        line.removeprefix(prefix).split("=", 1) for line in lines if line.startswith(prefix)
    )
    assert found["REQUEST"] == "sign"
    assert found["KEY_FINGERPRINT"] == found["KEY_ID"] == job_of().sign.entry.sha256
    assert (found["KEY_COMMENT"], found["FLAGS"], found["DATA_LEN"]) == ("key", "4", "4")
    assert (found["CALLER_PID"], found["CALLER_UID"]) == (str(os.getpid()), str(os.getuid()))
    assert found["DESTINATION"] == ""


def test_questions_are_few_and_one_a_connection(tmp_path: Path) -> None:
    opened, gate = tmp_path / "opened", tmp_path / "gate"
    opened.touch()
    wait = f"echo x >> {opened}\nwhile [ ! -e {gate} ]; do sleep 0.05; done"

    async def story() -> None:
        tools = TokenTools(askpass=script(tmp_path, wait), askpass_environ=dict(os.environ))
        bench = Bench(tools, ServerLimits(workers=MAX_QUESTIONS // 2))
        greedy, modest, gone = Owner(), Owner(), Owner()
        for number in range(3):
            bench.desk.submit(job_of(f"greedy {number}"), Turn(greedy))
        await bench.until(lambda: opened.read_text() == "x\n")
        bench.desk.submit(job_of("modest"), Turn(modest))
        await bench.until(lambda: opened.read_text() == "x\nx\n")
        bench.desk.submit(job_of("gone"), Turn(gone))
        await asyncio.sleep(0.2)
        assert opened.read_text() == "x\nx\n"
        bench.desk.forget(gone)
        gate.touch()
        await bench.until(lambda: len(bench.outcomes) == 4)
        assert sorted(name for name, _ in bench.outcomes) == [
            *("greedy 0", "greedy 1", "greedy 2"),
            "modest",
        ]
        assert {word for _, word in bench.outcomes} == {""}

    asyncio.run(story())


def test_a_question_nobody_waits_for_is_taken_away_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    askpass = script(tmp_path, f"sleep 300 &\necho $! > {pid}.new\nmv {pid}.new {pid}\nwait")

    async def story(end: Callable[[Bench, Turn], None]) -> None:
        pid.unlink(missing_ok=True)
        tools = TokenTools(askpass=askpass, askpass_environ=dict(os.environ))
        bench = Bench(tools, ServerLimits())
        turn = Turn(Owner())
        bench.desk.submit(job_of(), turn)
        await bench.until(pid.exists)
        window = int(pid.read_text())
        end(bench, turn)
        await bench.until(lambda: not is_running(window))
        assert [word for _, word in bench.outcomes] in ([], ["no_longer_wanted"])

    def leave(_bench: Bench, turn: Turn) -> None:
        turn.is_dropped = True

    asyncio.run(story(leave))
    asyncio.run(story(lambda bench, _turn: bench.desk.close()))


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
