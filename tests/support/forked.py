"""Commands of our programs, each run in a fork of the test: no start-up cost, descriptors of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clikit.errors import ErrorTable, Exit

STATUSES = {int(status) for status in Exit} | {141}

Main = Callable[[Sequence[str]], int]


def leaves(
    command: click.Command,
    path: tuple[str, ...] = (),
    above: click.Context | None = None,
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below one, with the words that lead to it."""
    name = path[-1] if path else command.name
    context = click.Context(command, info_name=name, parent=above)
    if not isinstance(command, click.Group):
        yield path, command
        return
    for word in command.list_commands(context):
        below = command.get_command(context, word)
        assert below is not None
        yield from leaves(below, (*path, word), context)


@dataclass(frozen=True)
class Ended:
    """How a command ended in a fork."""

    status: int
    stdout: str
    stderr: str


def nothing() -> None:
    """No preparation."""


def run_forked(
    main: Main,
    argv: Sequence[str],
    folder: Path,
    prepare: Callable[[], None] = nothing,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command line in a fork, at home in `folder`, after `prepare`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _be_the_command(main, argv, folder, (out.fileno(), err.fileno()), prepare, env or {})
        _, waited = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        status = os.waitstatus_to_exitcode(waited)
        return Ended(status, out.read().decode(), err.read().decode())


def _be_the_command(
    main: Main,
    argv: Sequence[str],
    folder: Path,
    descriptors: tuple[int, int],
    prepare: Callable[[], None],
    env: Mapping[str, str],
) -> None:
    status = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for target, descriptor in zip((1, 2), descriptors, strict=True):
            os.dup2(descriptor, target)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update({"HOME": str(folder), "PATH": os.defpath, **env})
        prepare()
        sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
        status = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - the child must not become a second pytest
        status = 99
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _stream(descriptor: int, mode: str) -> Any:
    """A standard stream as the interpreter makes it: None where the descriptor is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    return open(descriptor, mode, closefd=False)


def assert_sound(ended: Ended) -> None:
    """Whatever happened, it ended as documented and no trace of Python shows."""
    assert ended.status in STATUSES - {70}, ended
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "Exception ignored" not in ended.stderr, ended.stderr


def assert_envelope(ended: Ended, codes: ErrorTable) -> None:
    """One document on stdout, with a verdict that fits the exit status."""
    document = json.loads(ended.stdout)
    assert document["schema"] == 1
    assert document["ok"] is (ended.status == 0)
    if not document["ok"]:
        error = document["error"]
        assert set(error) == {"code", "message", "hint", "details"}
        assert int(codes[error["code"]].exit_status) == ended.status
        assert error["message"]


def _no_output() -> None:
    os.close(1)


def _no_streams() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def _no_reader() -> None:
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.close(reader)
    os.close(writer)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def _full_device() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


SURROUNDINGS: Mapping[str, tuple[Callable[[], None], Mapping[str, str]]] = {
    "closed stdout": (_no_output, {}),
    "closed streams": (_no_streams, {}),
    "no reader": (_no_reader, {}),
    "a full device": (_full_device, {}),
    "no terminal": (os.setsid, {"TERM": "none", "COLUMNS": "1", "LINES": "0"}),
    "no home that can be written": (nothing, {"HOME": "/proc"}),
    "no home": (nothing, {"HOME": ""}),
    "colour asked for": (nothing, {"FORCE_COLOR": "1", "COLUMNS": "20"}),
}
"""What a command may find itself in, by name: what is done to its process, and its environment."""


def interrupt_after(delay_s: float) -> Callable[[], None]:
    """Ctrl-C so long after the command began."""

    def prepare() -> None:
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, delay_s)

    return prepare


def assert_interrupted_soundly(ended: Ended) -> None:
    """Ctrl-C ended it in order, or it was done before."""
    # Before and after `main`, the interpreter itself is what is interrupted.
    if ended.status == 99:
        return
    assert_sound(ended)
    if ended.status == 130:
        assert json.loads(ended.stdout)["error"]["code"] == "interrupted"
