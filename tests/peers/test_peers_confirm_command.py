"""A `confirm_command` that gets another user's rights, as sudo and pkexec do."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from secretivex.stores.token.askpass import Prompt, Question
from secretivex.stores.token.tools import TokenTools

NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may look into, as pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def longest_call_s(command: tuple[str, ...], is_open: Callable[[], bool]) -> float:
    """Of all calls until a question that nobody answers is over."""
    tools = TokenTools(confirm_command=command, confirm_timeout_ms=60_000)
    prompt = Prompt(tools, Question("?"), time.monotonic())
    end = time.monotonic() + 60
    while not is_open():
        if prompt.outcome(time.monotonic()) is not None or time.monotonic() > end:
            raise RuntimeError("the program did not begin")
        time.sleep(0.01)
    begin = time.monotonic()
    if prompt.outcome(begin + 61) != "confirm_timeout":
        raise RuntimeError("it did not end")
    return time.monotonic() - begin


def test_a_program_that_may_not_be_ended_holds_up_nobody(
    open_folder: Path, require_program: Callable[[str], str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a program that runs as root for others")
    become_root, pid_file = open_folder / "become-root", open_folder / "pid"
    shutil.copy(require_program("setpriv"), become_root)
    become_root.chmod(0o4755)
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 300"
    command = (str(become_root), "--reuid", "0", "--clear-groups", "sh", "-c", script)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os._exit(0 if longest_call_s(command, pid_file.exists) < 30 else 1)
        os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 2:
        pytest.skip("programs get nobody's rights in this folder")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert status == 0
