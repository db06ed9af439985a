"""The same shell scripts with the real `ssh-agent` and with ours: they must print the same.

A script is given the agent as `$A`, a private key without passphrase as `$KEY` and a folder as `$T`.
Where the two differ on purpose docs/ssh-agent-differences.md has a row instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

WAITING = """
    runs() { case $(ps -o stat= -p "$1") in ''|Z*) return 1 ;; esac; }
    until_so() { n=0; while ! "$@" && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; }
    ended() { ! runs "$1"; }
    gone() { ! test -e "$1"; }
    """
"""What the scripts wait with, for a minute at most."""

SCRIPTS = {
    "the environment it sets up is used and taken down": """
        eval $($A -s) > "$T/said"; sed 's/[0-9][0-9]*/N/' "$T/said"
        test -S "$SSH_AUTH_SOCK" && kill -0 $SSH_AGENT_PID && echo both are there
        stat -c %a "$SSH_AUTH_SOCK" "$(dirname "$SSH_AUTH_SOCK")"
        ssh-add -l; echo $?
        ssh-add -q "$KEY"; ssh-add -l | cut -d' ' -f1,4; ssh-add -T "$KEY.pub"; echo $?
        sock=$SSH_AUTH_SOCK; pid=$SSH_AGENT_PID
        eval $($A -k) > "$T/said"; sed 's/[0-9][0-9]*/N/' "$T/said"
        echo "${SSH_AUTH_SOCK-gone} ${SSH_AGENT_PID-gone}"
        until_so ended $pid
        test -e "$(dirname "$sock")" || echo its folder is gone
        """,
    "what a shell is to evaluate": """
        for shell in /bin/sh /usr/bin/tcsh; do
            for flag in '' -s -c; do
                out=$(SHELL=$shell $A $flag); pid=$(echo "$out" | sed -n 's/.*pid \\([0-9]*\\).*/\\1/p')
                echo "$out" | sed 's/[0-9][0-9]*/N/; s#/[^ ;]*#PATH#'
                SSH_AGENT_PID=$pid SHELL=$shell $A $flag -k | sed 's/[0-9][0-9]*/N/'
            done
        done
        """,
    "a command runs in the caller's place": """
        $A sh -c 'test -S "$SSH_AUTH_SOCK" && kill -0 $SSH_AGENT_PID && ssh-add -l; exit 7'; echo $?
        umask 027; $A sh -c umask
        $A sh -c 'cd / && pwd'; (cd "$T" && $A sh -c 'test "$(pwd)" = "$T" && echo stays')
        $A sh -c 'echo $PPID' | grep -qx $$ && echo its parent is the caller
        $A sh -c 'yes | head -n 1'
        $A sh -c 'kill -PIPE $$; echo survived'; echo $?
        $A sh -c 'kill -XFSZ $$; echo survived' 2>/dev/null; echo $?
        echo input | $A cat
        """,
    "nobody waits for the background agent": """
        out=$($A -s); echo got lines; eval "$out" > /dev/null; $A -k > /dev/null
        """,
    "signals": """
        for signal in INT HUP TERM; do
            eval $($A -s) > /dev/null
            # Whoever is told to end before it answers has not chosen yet what to ignore.
            ssh-add -l > /dev/null 2>&1; kill -$signal $SSH_AGENT_PID; sleep 0.5
            [ $signal = INT ] || until_so ended $SSH_AGENT_PID
            if runs $SSH_AGENT_PID; then
                ssh-add -l > /dev/null; echo $signal stays $?; $A -k > /dev/null
            else
                echo $signal ends; test -e "$SSH_AUTH_SOCK" || echo and cleans up
            fi
        done
        """,
    "a session of its own": """
        eval $($A -s) > /dev/null
        test $(ps -o sid= -p $SSH_AGENT_PID) -eq $SSH_AGENT_PID && echo leads its session
        ps -o tty= -p $SSH_AGENT_PID
        $A -k > /dev/null
        """,
    "a chosen address": """
        umask 000; eval $($A -s -a "$T/sock") > /dev/null; umask 022
        echo $(basename "$SSH_AUTH_SOCK") $(stat -c %a "$T/sock")
        $A -s -a "$T/sock" > "$T/out" 2> /dev/null || echo refused; cat "$T/out"
        ssh-add -l; $A -k > /dev/null
        until_so gone "$T/sock"; test -e "$T/sock" || echo gone
        echo mine > "$T/file"; $A -s -a "$T/file" 2> /dev/null || echo refused; cat "$T/file"
        """,
    "default lifetimes": """
        for life in 0 1H30M 3550w; do
            eval $($A -s -t $life) > /dev/null; ssh-add -q "$KEY"; sleep 0.2
            ssh-add -l > /dev/null; echo $life $?; $A -k > /dev/null
        done
        eval $($A -s -t 1) > /dev/null; ssh-add -q "$KEY"; sleep 2.2; ssh-add -l
        ssh-add -q -t 600 "$KEY"; sleep 2.2; ssh-add -l | cut -c1-4; $A -k > /dev/null
        """,
    "refused command lines print nothing": """
        try() { "$@" > "$T/out" 2> "$T/err" < /dev/null && echo "took $*"; cat "$T/out"
                test -s "$T/err" || echo "said nothing of $*"; }
        unset SSH_AGENT_PID
        try $A -s -c; try $A -d -D; try $A -z; try $A -k true; try $A -s true; try $A -D true
        try $A -t x; try $A -t 1.5h; try $A -t 3551w; try $A -E nope; try $A -O nope
        try $A -P /a -P /b; try $A -k; SSH_AGENT_PID=1 try $A -k; try $A "$T"
        try $A -s -a "$T/$(printf '%0120d' 0)"
        echo end
        """,
    "the foreground": """
        for flag in -D -d; do
            $A $flag -s -a "$T/fg" > "$T/out" 2> "$T/err" & pid=$!
            until_so grep -q 'Agent pid' "$T/out"
            sed 's/[0-9][0-9]*/N/; s#/[^ ;]*#PATH#' "$T/out"
            SSH_AUTH_SOCK=$T/fg ssh-add -l; kill -TERM $pid; wait $pid; test -e "$T/fg" || echo gone
        done
        """,
}


@pytest.fixture
def run_script(tmp_path: Path, require_program: Callable[[str], str]) -> Callable[..., str]:
    """Run one script with an agent; what it printed."""
    key = tmp_path / "key"
    make = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True, timeout=60)
    ours = tmp_path / "secretive-agent"
    ours.write_text(f'#!/bin/sh\nexec {sys.executable} -m secretivex.cli.agent "$@"\n')
    ours.chmod(0o755)

    def run(agent: str, script: str) -> str:
        folder = tmp_path / Path(agent).name[:4]
        folder.mkdir()
        kept = {"PATH": os.environ.get("PATH", "") + ":/usr/sbin", "HOME": str(tmp_path)}
        done = subprocess.run(
            ["sh", "-c", WAITING + script],
            env={**kept, "A": agent, "KEY": str(key), "T": str(folder), "LANG": "C.UTF-8"}
            | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=140,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return lambda agent, script: run(agent if agent == "ssh-agent" else str(ours), script)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=[*SCRIPTS])
def test_a_script_prints_the_same_with_either_agent(
    run_script: Callable[..., str], script: str, require_program: Callable[[str], str]
) -> None:
    require_program("ssh-agent")
    expected = run_script("ssh-agent", script)
    assert expected
    assert run_script("secretive-agent", script) == expected
