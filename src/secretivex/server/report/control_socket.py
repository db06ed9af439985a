"""The control socket: what the agent protocol has no word for, for the operator of this agent.

It stands beside the agent's socket, is open to its owner alone, and is never forwarded, for `ssh -A`
forwards the agent's socket only. A question is one line of JSON, `{"verb": ...}`; the answer is one
document, then the end. Rule for editors: no answer holds a secret, and a question is short.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secretivex.errors import SecretiveError

VERBS = ("metrics", "openmetrics", "reset", "health", "reload")

MAX_QUESTION_BYTES = 4096
MAX_ANSWER_BYTES = 16 * 1024 * 1024


def control_path(socket_path: Path) -> Path:
    """Where the control socket of an agent is."""
    return socket_path.with_name(socket_path.name + ".ctl")


def encode_question(verb: str) -> bytes:
    """A question as it is sent."""
    return json.dumps({"verb": verb}).encode() + b"\n"


def parse_question(line: bytes) -> str:
    """The verb of a question; raises ValueError for what is none."""
    try:
        document = json.loads(line)
    except RecursionError as error:
        raise ValueError("not a question: nested too deep") from error
    verb = document.get("verb") if isinstance(document, dict) else None
    if verb not in VERBS:
        raise ValueError(f"not a verb: {verb!r}")
    return str(verb)


def encode_answer(answer: Mapping[str, Any]) -> bytes:
    """An answer as it is sent."""
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


def ask(path: Path, verb: str, *, timeout_s: float) -> dict[str, Any]:
    """Ask an agent; raises `SecretiveError` with `control_unavailable`."""
    try:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(timeout_s)
            connected.connect(os.fspath(path))
            connected.sendall(encode_question(verb))
            answer = _read_all(connected)
    except OSError as error:
        raise SecretiveError(
            "control_unavailable",
            f"nothing answers at the control socket {path}: {error.strerror or error}",
            hint="`secretive-agent run` has one, and ssh-agent's form with --config; others do not",
        ) from error
    if not answer:
        message = f"the agent at {path} hung up before it answered"
        raise SecretiveError("control_unavailable", message, hint="it may be about to end")
    try:
        document = json.loads(answer)
    except ValueError as error:
        raise SecretiveError("control_unavailable", f"{path} answers with no document") from error
    if not isinstance(document, dict):
        raise SecretiveError("control_unavailable", f"{path} answers with no document")
    return document


def _read_all(connected: socket.socket) -> bytes:
    parts = []
    size = 0
    while data := connected.recv(65_536):
        size += len(data)
        if size > MAX_ANSWER_BYTES:
            raise OSError("the answer has no end")
        parts.append(data)
    return b"".join(parts)
