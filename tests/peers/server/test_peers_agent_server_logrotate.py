"""The audit log under logrotate, with the configuration that is packaged, while the agent writes."""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import ListRequest, encode_request

PACKAGED = Path(__file__).resolve().parents[3] / "packaging" / "logrotate" / "secretive-agent"

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]


def ask_lists(service: Any, times: int) -> None:
    with service.connect() as connected:
        connected.sendall(encode_frame(encode_request(ListRequest())) * times)
        for _ in range(times):
            size = int.from_bytes(connected.recv(4, socket.MSG_WAITALL), "big")
            connected.recv(size, socket.MSG_WAITALL)


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_logrotate_takes_files_from_an_agent_that_writes_and_nothing_is_lost(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    require_program: Callable[[str], str],
) -> None:
    logrotate = require_program("logrotate")
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    log = folder / "audit.jsonl"
    service = start_service("--key", key_files["ed25519"], "--audit-requests", "--audit-path", log)
    config = tmp_path / "logrotate.conf"
    shown = PACKAGED.read_text().replace("/var/lib/secretive-agent/joe/", f"{folder}/")
    me, mine = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    config.write_text(shown.replace("su joe joe", f"su {me} {mine}"))

    asked = 0

    def taken() -> list[Path]:
        return sorted(folder.glob("audit.jsonl-*"))

    def rotated() -> bool:
        """Once a second at most: a file's name has the second in it."""
        nonlocal asked
        before = len(taken())
        ask_lists(service, 100)
        asked += 100
        # The last records are on their way meanwhile, to the file that is taken away.
        command = (logrotate, "--state", str(tmp_path / "done"), "--force", str(config))
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0 or "already exists" in ended.stderr, ended.stderr
        return len(taken()) > before

    for _ in range(4):
        wait(rotated, "logrotate took nothing")
    assert service.stop() == 0
    assert [path.suffix for path in taken()].count(".gz") == 3
    assert oct(log.stat().st_mode & 0o777) == "0o600"
    files: list[Path] = []
    for path in (*taken(), log):
        files.append(tmp_path / f"read-{len(files)}")
        files[-1].write_bytes(read(path))
    lines = b"".join(file.read_bytes() for file in files).splitlines()
    # One more, for the agent counted as ready when it answered a list.
    assert sum(json.loads(line)["event"] == "list" for line in lines) >= asked + 1
    client = (sys.executable, "-m", "secretivex.cli.client", "verify-audit", "--format", "json")
    checked = service.tool(*client, "--key-file", f"{log}.key", *map(str, files))
    assert checked.returncode == 0, checked.stdout
    data = json.loads(checked.stdout)["data"]
    assert (len(data["chains"]), data["unclosed_chains"]) == (1, [])
    assert data["unsealed_records"] == 0
