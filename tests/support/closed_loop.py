"""Clients that ask again as soon as they are answered, all in one process; run it for a process.

`python closed_loop.py SOCKET CONNECTIONS SECONDS` signs with the agent's first key and prints each
latency in ns, a line each.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from contextlib import ExitStack
from typing import Self

from agentclient.client import AgentClient
from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import SignRequest, encode_request


class _Client:
    """One connection and its open question."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(address)
        self.asked_ns = 0
        self.reply = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, frame: bytes) -> None:
        self.reply = b""
        self.asked_ns = time.perf_counter_ns()
        self.socket.sendall(frame)

    def is_answered(self) -> bool:
        self.reply += self.socket.recv(65_536)
        size = len(self.reply)
        return size >= 4 and size == 4 + int.from_bytes(self.reply[:4], "big")


def storm(address: str, connections: int, seconds: float) -> list[int]:
    """Latencies in ns of what was asked and answered; every answer is a signature."""
    with AgentClient(address, timeout_s=60) as agent:
        blob = agent.identities()[0].blob
    frame = encode_frame(encode_request(SignRequest(blob, b"x" * 64)))
    with ExitStack() as stack:
        clients = [stack.enter_context(_Client(address)) for _ in range(connections)]
        return _run(clients, frame, seconds)


def _run(clients: list[_Client], frame: bytes, seconds: float) -> list[int]:
    latencies = []
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.ask(frame)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in selector.select(1.0):
                client = key.data
                if client.is_answered():
                    latencies.append(time.perf_counter_ns() - client.asked_ns)
                    assert client.reply[4] == 14, "a request was refused"
                    client.ask(frame)
    return latencies


if __name__ == "__main__":
    for latency in storm(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])):
        sys.stdout.write(f"{latency}\n")
