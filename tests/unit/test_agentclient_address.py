"""Where an agent is looked for, and that each way of not finding one has words of its own."""

import os
import socket
from pathlib import Path

import pytest

from agentclient.address import MAX_SOCKET_PATH_BYTES, check_length, explain, resolve
from agentclient.client import AgentClient
from agentclient.errors import AgentError, AgentUnavailable, SocketPathTooLong

BOTH = ("SECRETIVE_SOCK", "SSH_AUTH_SOCK")


@pytest.mark.parametrize(
    ("explicit", "environ", "path"),
    [
        ("/given", {"SSH_AUTH_SOCK": "/ssh", "SECRETIVE_SOCK": "/ours"}, "/given"),
        (None, {"SSH_AUTH_SOCK": "/ssh", "SECRETIVE_SOCK": "/ours"}, "/ours"),
        (None, {"SSH_AUTH_SOCK": "/ssh"}, "/ssh"),
        ("", {"SSH_AUTH_SOCK": "/ssh", "SECRETIVE_SOCK": ""}, "/ssh"),
    ],
)
def test_first_name_that_is_given_wins(
    explicit: str | None, environ: dict[str, str], path: str
) -> None:
    assert resolve(explicit, environ, variables=BOTH) == path


def test_no_name_is_unavailable_and_the_hint_says_what_to_set() -> None:
    with pytest.raises(AgentUnavailable) as caught:
        resolve(None, {"SECRETIVE_SOCK": "/ours"})
    assert "SSH_AUTH_SOCK" in caught.value.hint
    assert "SECRETIVE_SOCK" not in caught.value.hint


def test_longest_path_binds_and_one_more_is_refused_with_its_own_code(tmp_path: Path) -> None:
    room = MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - 1
    longest = str(tmp_path / ("x" * room))
    check_length(longest)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(longest)
    with pytest.raises(SocketPathTooLong) as caught:
        resolve(longest + "x", {})
    assert caught.value.code == "socket_path_too_long"
    with pytest.raises(SocketPathTooLong), AgentClient(longest + "x"):
        pass


def connect_error(path: Path) -> AgentError:
    with pytest.raises(AgentUnavailable) as caught, AgentClient(str(path), timeout_s=1):
        pass
    return caught.value


def test_each_way_of_not_answering_is_told_apart(tmp_path: Path) -> None:
    plain, dead = tmp_path / "plain", tmp_path / "dead"
    plain.touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(dead))
    assert "no socket at" in connect_error(tmp_path / "missing").message
    assert "no socket at" in connect_error(plain / "below").message
    assert "is not a socket" in connect_error(plain).message
    assert "is not a socket" in connect_error(tmp_path).message
    assert "nobody listens" in connect_error(dead).message
    assert "not allowed" in explain("/x", PermissionError(13, "denied")).message
    assert "cannot connect" in explain("/x", OSError(93, "odd")).message
