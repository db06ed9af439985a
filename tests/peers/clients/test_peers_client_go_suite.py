"""The tests of Go's own agent package, run with our agent in the place of ssh-agent.

They start whatever `ssh-agent` the PATH names, with an empty environment, so a script of that name
stands for ours. They come with Debian's golang-golang-x-crypto-dev, and are long for what the
compiler takes: `apt-get install golang-go golang-golang-x-crypto-dev` first.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = "golang.org/x/crypto/ssh/agent"
ROOT = Path("/usr/share/gocode")
SOURCES = Path(__file__).resolve().parents[3] / "src"
WITH_AN_AGENT = (
    "TestAgent",
    "TestCert",
    "TestAuth",
    "TestLockOpenSSHAgent",
    "TestSetupForwardAgent",
)


@pytest.mark.long
def test_the_tests_of_go_pass(require_program: Callable[[str], str], tmp_path: Path) -> None:
    go = require_program("go")
    if not (ROOT / "src" / SUITE).is_dir():
        pytest.skip("golang-golang-x-crypto-dev is not installed")
    calls = tmp_path / "calls"
    # They compare with SHA-1 signatures, which stock ssh-agent makes unasked.
    environ = {"PYTHONPATH": str(SOURCES), "SECRETIVE_ALLOW_SHA1": "true"}
    assigned = shlex.join(f"{name}={value}" for name, value in environ.items())
    agent = tmp_path / "ssh-agent"
    agent.write_text(
        f"#!/bin/sh\necho >> {shlex.quote(str(calls))}\n"
        f'exec env {assigned} {shlex.quote(sys.executable)} -m secretivex.cli.agent "$@"\n'
    )
    agent.chmod(0o755)
    done = subprocess.run(
        [go, "test", "-count=1", "-v", SUITE],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "GOPATH": str(ROOT),
            "GOCACHE": str(tmp_path / "cache"),
            "GO111MODULE": "off",
        },
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = set(re.findall(r"^--- PASS: (\w+)", done.stdout, re.MULTILINE))
    assert passed >= set(WITH_AN_AGENT), done.stdout
    assert len(calls.read_text()) >= len(WITH_AN_AGENT)
