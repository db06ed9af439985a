"""Who is asked when: one question a connection, a few at a time, none for a client that left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssh_hosts import blob_of, login_data, session_of

from secretivex.engine import ConfirmJob, SignJob
from secretivex.identity import Identity
from secretivex.key_table import build_entry
from secretivex.peer import Caller, Peer
from secretivex.server.confirm.asked import Asked
from secretivex.server.confirm.board import MAX_QUESTIONS, Board
from secretivex.server.lanes.turn import Turn
from secretivex.server.worker.confirming import ConfirmDesk, make_question
from secretivex.stores.token.askpass import Prompt
from secretivex.stores.token.tools import TokenTools, find_tools
from sshwire.wire import encode_string, encode_text

BLOB = encode_text("ssh-ed25519") + encode_string(bytes(32))
PATIENCE_S = 60.0


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
    """A desk and its board, and what came out of them in order."""

    def __init__(self, tools: TokenTools, remember_s: float = 0.0) -> None:
        self.outcomes: list[tuple[str, str]] = []
        self.board: Board[int] = Board(lambda asked, now: Prompt(tools, asked.question, now))
        self.desk = ConfirmDesk(self.go_on)
        self.desk.people = self
        self.desk.tools = tools
        self.remember_s = remember_s

    def ask_people(self, ticket: int, asked: Asked) -> None:
        self.board.ask(ticket, asked, time.monotonic())

    def forget_question(self, ticket: int) -> None:
        self.board.forget(ticket)

    def go_on(self, job: ConfirmJob, refusal: str, _turn: Turn) -> None:
        self.outcomes.append((job.sign.entry.identity.comment, refusal))

    def look(self) -> None:
        for ticket, word in self.board.advance(time.monotonic(), self.remember_s):
            self.desk.end(ticket, word)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.outcomes
            self.look()
            time.sleep(0.01)

    def answers(self, *jobs: ConfirmJob) -> list[str]:
        before = len(self.outcomes)
        for job in jobs:
            self.desk.submit(job, Turn(Owner()))
        self.until(lambda: len(self.outcomes) == before + len(jobs))
        return [word for _, word in self.outcomes[before:]]


def answer_of(tools: TokenTools) -> str:
    return Bench(tools).answers(job_of())[0]


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
    tools = TokenTools(askpass=script(tmp_path, "sleep 300"), confirm_timeout_ms=200)
    begin = time.monotonic()
    assert answer_of(tools) == "confirm_timeout"
    assert time.monotonic() - begin < PATIENCE_S


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
    tools = TokenTools(askpass=script(tmp_path, wait), askpass_environ=dict(os.environ))
    bench = Bench(tools)
    greedy, gone = Owner(), Owner()
    others = [Owner() for _ in range(MAX_QUESTIONS - 1)]
    for number in range(3):
        bench.desk.submit(job_of(f"greedy {number}"), Turn(greedy))
    bench.until(lambda: opened.read_text() == "x\n")
    for other in others:
        bench.desk.submit(job_of("modest"), Turn(other))
    bench.until(lambda: opened.read_text() == "x\n" * MAX_QUESTIONS)
    bench.desk.submit(job_of("gone"), Turn(gone))
    time.sleep(0.2)
    bench.look()
    assert opened.read_text() == "x\n" * MAX_QUESTIONS
    bench.desk.forget(gone)
    gate.touch()
    bench.until(lambda: len(bench.outcomes) == 2 + MAX_QUESTIONS)
    assert [name for name, _ in bench.outcomes].count("modest") == MAX_QUESTIONS - 1
    assert {word for _, word in bench.outcomes} == {""}


def test_a_question_nobody_waits_for_is_taken_away_with_all_that_it_started(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "pid"
    askpass = script(tmp_path, f"sleep 300 &\necho $! > {pid}.new\nmv {pid}.new {pid}\nwait")

    def story(end: Callable[[Bench, Owner], object]) -> None:
        pid.unlink(missing_ok=True)
        bench = Bench(TokenTools(askpass=askpass, askpass_environ=dict(os.environ)))
        owner = Owner()
        bench.desk.submit(job_of(), Turn(owner))
        bench.until(pid.exists)
        window = int(pid.read_text())
        end(bench, owner)
        bench.until(lambda: not is_running(window))
        assert bench.outcomes == []

    story(lambda bench, owner: bench.desk.forget(owner))
    story(lambda bench, _owner: bench.board.close())


def test_of_a_connection_that_is_gone_no_other_question_is_shown(tmp_path: Path) -> None:
    opened = tmp_path / "opened"
    opened.touch()
    askpass = script(tmp_path, f"echo x >> {opened}\nexec sleep 300")
    bench = Bench(TokenTools(askpass=askpass, askpass_environ=dict(os.environ)))
    # Between two words from a worker, the supervisor looks at its board.
    forget, owner = bench.forget_question, Owner()
    forgotten: list[int] = []

    def forget_and_look(ticket: int) -> None:
        forgotten.append(ticket)
        forget(ticket)
        bench.look()

    for _ in range(5):
        bench.desk.submit(job_of(), Turn(owner))
    bench.until(lambda: opened.read_text() == "x\n")
    bench.forget_question = forget_and_look  # type: ignore[method-assign] # it looks, too
    bench.desk.forget(owner)
    assert forgotten == [5, 4, 3, 2, 1]
    assert opened.read_text() == "x\n"
    assert bench.board.due(0.0) is None


CALLER = Caller("/usr/bin/ssh", (), 77)


def login_job(
    *, host: str = "host", uid: int = 7, each_time: bool = False, caller: Caller | None = CALLER
) -> ConfirmJob:
    job = job_of()
    entry = replace(job.sign.entry, asks_each_time=each_time)
    data = login_data(session_of(0), host=blob_of(host))
    return ConfirmJob(job.sign._replace(entry=entry, data=data, peer=Peer(uid, 1, 2, caller)))


def counting(tmp_path: Path, body: str = "exit 0") -> tuple[TokenTools, Path]:
    asked = tmp_path / "asked"
    asked.touch()
    return TokenTools(askpass=script(tmp_path, f"echo x >> {asked}\n{body}")), asked


def test_requests_alike_share_one_question_while_it_is_open(tmp_path: Path) -> None:
    tools, asked = counting(tmp_path, "sleep 0.3; exit 1")
    bench = Bench(tools)
    assert bench.answers(*(login_job() for _ in range(20))) == ["confirm_denied"] * 20
    assert asked.read_text() == "x\n"
    assert bench.answers(login_job()) == ["confirm_denied"], "a refusal holds for nobody else"
    assert asked.read_text() == "x\n" * 2


def test_an_answer_holds_for_its_time_and_for_requests_alike_only(tmp_path: Path) -> None:
    tools, asked = counting(tmp_path)
    bench = Bench(tools, remember_s=3600)
    assert bench.answers(login_job()) == [""]
    assert bench.answers(*(login_job() for _ in range(5))) == [""] * 5
    assert asked.read_text().count("x") == 1
    others = (
        login_job(host="other"),
        login_job(uid=8),
        login_job(caller=Caller("/usr/bin/scp", (), 77)),
        login_job(caller=Caller("/usr/bin/ssh", (), 78)),
        login_job(each_time=True),
        login_job(each_time=True),
        login_job(caller=None),
        login_job(caller=Caller("", None, 77)),
        job_of(),
    )
    assert bench.answers(*others) == [""] * len(others)
    assert asked.read_text().count("x") == 1 + len(others)
    bench.board.forget_answers()
    assert bench.answers(login_job()) == [""]
    assert asked.read_text().count("x") == 2 + len(others)


def test_an_answer_is_over_after_its_time(tmp_path: Path) -> None:
    tools, asked = counting(tmp_path)
    bench = Bench(tools, remember_s=0.2)
    assert bench.answers(login_job()) == [""]
    time.sleep(0.3)
    assert bench.answers(login_job()) == [""]
    assert asked.read_text().count("x") == 2


def test_whoever_leaves_a_shared_question_leaves_it_to_the_others(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    tools, asked = counting(tmp_path, f"while [ ! -e {gate} ]; do sleep 0.05; done")
    bench = Bench(tools)
    first = Owner()
    bench.desk.submit(login_job(), Turn(first))
    bench.desk.submit(login_job(), Turn(Owner()))
    bench.until(lambda: asked.read_text() == "x\n")
    bench.desk.forget(first)
    gate.touch()
    bench.until(lambda: len(bench.outcomes) == 1)
    assert asked.read_text() == "x\n"


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
