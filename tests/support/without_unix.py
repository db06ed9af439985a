"""Runs the Windows agent in a process that has lost what Unix alone has; a script, not a module.

The standard library is imported first, for it was built for this system. Then `sys.platform` says
win32, modules and names that Windows lacks are gone, and our code is imported: what it needs of them
shows. Prints what the agent answered.
"""

import asyncio
import concurrent.futures
import ctypes
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path

import click
import nacl.bindings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

USED = (asyncio, concurrent.futures, ctypes, logging, subprocess, tempfile, click, nacl.bindings)
GONE_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "syslog", "uvloop", "readline")
GONE_NAMES = {
    os: (
        *("fork", "geteuid", "getuid", "getegid", "setsid", "killpg", "pidfd_open", "O_NOFOLLOW"),
        *("O_CLOEXEC", "O_NONBLOCK", "mkfifo", "sched_getaffinity", "getpgid"),
    ),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGKILL", "pthread_sigmask"),
    select: ("epoll", "poll"),
    socket: ("AF_UNIX", "SO_PEERCRED", "SOCK_SEQPACKET", "send_fds", "recv_fds"),
}
NAME = r"\\.\pipe\agent-test"
OWNER = "S-1-5-21-1-2-3-1001"


class Blocker(MetaPathFinder):
    """Finds no module that Windows lacks."""

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] in GONE_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)


def lose_unix() -> None:
    for name in GONE_MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Blocker())
    pair, local = socket.socketpair, socket.AF_UNIX
    # The library's own use of it goes on, as it does on Windows by other means.
    socket.socketpair = lambda *_: pair(local)
    for module, names in GONE_NAMES.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"


def main() -> int:
    support = Path(__file__).parent
    sys.path[:0] = [str(support), str(support.parents[1] / "src")]
    lose_unix()
    import pipe_stand_in
    from pipe_stand_in import StandInPipes

    from secretivex.cli.agent import COMMANDS as AGENT_COMMANDS
    from secretivex.cli.agent import main as agent_main
    from secretivex.cli.client.program import COMMANDS as CLIENT_COMMANDS
    from secretivex.config import ConfigInput
    from secretivex.loading import make_setup
    from secretivex.server.windows.agent import PipeAgent
    from secretivex.server.windows.port import PipeClient
    from sshwire.agent.requests import AddRequest, ListRequest, SignRequest, encode_request
    from sshwire.keyblob import PublicKey
    from sshwire.privkey import PrivateKey
    from sshwire.privkey.fields import encode_private_fields
    from sshwire.wire import Reader, encode_string

    flags = {"socket_path": NAME}
    config = make_setup(ConfigInput(flags, {"HOME": "/"}, None, 2, Path("/"))).config
    pipes = StandInPipes("S-1-5-18")
    agent = PipeAgent(config, {}, pipes, owner_sid=OWNER, read=lambda: config)
    ready = threading.Event()
    thread = threading.Thread(target=agent.run, args=(ready.set,), daemon=True)
    thread.start()
    assert ready.wait(pipe_stand_in.PATIENCE_S)
    raw = Ed25519PrivateKey.generate()
    blob = encode_string(b"ssh-ed25519") + encode_string(raw.public_key().public_bytes_raw())
    key = PrivateKey(PublicKey("ssh-ed25519", blob), "", raw)
    fields = Reader(encode_private_fields(key))
    with pipes.connect(NAME, PipeClient(OWNER, 1)) as connected:
        for request in (
            AddRequest(fields.text(), fields.rest(), "mine"),
            ListRequest(),
            SignRequest(blob, b"data"),
        ):
            body = encode_request(request)
            connected.sendall(len(body).to_bytes(4, "big") + body)
            size = int.from_bytes(connected.recv(4), "big")
            click.echo(f"{request.__class__.__name__} {connected.recv(size)[0]}")
    commands = {**AGENT_COMMANDS, **CLIENT_COMMANDS}
    for name in ("install", "uninstall", "status", "list", "sign", "health", "wait-ready", "add"):
        module, _, attribute = commands[name][0].partition(":")
        assert getattr(import_module(module), attribute).name
    agent.reload()
    agent.stop()
    thread.join(pipe_stand_in.PATIENCE_S)
    assert not thread.is_alive()
    os.environ.clear()
    os.environ.update({"HOME": "/", "USERPROFILE": "/"})
    click.echo(f"check-config {agent_main(['check-config', '--socket', NAME])}")
    status = agent_main(["show-config", "--quiet", "--format", "json"])
    click.echo(f"show-config {status == 0}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
