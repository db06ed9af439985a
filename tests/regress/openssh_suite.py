"""Runs the agent scripts of OpenSSH's own regress suite against any executable that is an agent.

The scripts, their helper programs and a virtual FIDO authenticator come with Debian's package
`openssh-tests`; `TEST_SSH_SSHAGENT` tells them which agent to use. They refuse to run as root and
need `sudo`, so they run as a user of their own in a fresh copy of the suite.

Rule for editors: exit status 0 is also what a skipped script has, so every line that begins with
"skipped" is part of the outcome.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SUITE = Path("/usr/lib/openssh/regress")
"""Where Debian's openssh-tests puts the scripts."""

SCRIPTS = (
    "agent",
    "agent-timeout",
    "agent-subprocess",
    "agent-getpeereid",
    "agent-ptrace",
    "agent-restrict",
    "agent-pkcs11",
    "hostkey-agent",
    "sshsig",
    "cert-file",
)
"""Every script that starts an agent in the suite of OpenSSH 9.2."""

NEWER_SCRIPTS = ("agent-pkcs11-restrict", "agent-pkcs11-cert")
"""Scripts that suites after 9.2 have."""

PROGRAMS: Mapping[str, str] = {
    "SSH": "/usr/bin/ssh",
    "SSHD": "/usr/sbin/sshd",
    "SSHADD": "/usr/bin/ssh-add",
    "SSHKEYGEN": "/usr/bin/ssh-keygen",
    "SSHKEYSCAN": "/usr/bin/ssh-keyscan",
    "SFTP": "/usr/bin/sftp",
    "SFTPSERVER": "/usr/lib/openssh/sftp-server",
    "SCP": "/usr/bin/scp",
    "SSHPKCS11HELPER": "/usr/lib/openssh/ssh-pkcs11-helper",
    "SK_HELPER": "/usr/lib/openssh/ssh-sk-helper",
}
"""What the scripts use beside the agent; each is told as TEST_SSH_NAME."""

TIMEOUT_S = 900.0
"""For one script; the longest takes about a minute on an idle machine."""

_MARK = "OPENSSH_REGRESS_RUN"
"""Set for every process of one script, so that what it leaves behind can be found and ended."""


@dataclass(frozen=True)
class Outcome:
    """What one script did."""

    script: str
    status: int | None
    """None when it took too long."""
    output: str
    seconds: float

    @property
    def skips(self) -> tuple[str, ...]:
        """The lines that say that something was not tested."""
        lines = self.output.splitlines()
        return tuple(line for line in lines if line.lower().startswith("skipped"))

    def explain(self) -> str:
        """What a person needs who reads of a failure."""
        status = "timed out" if self.status is None else f"ended with {self.status}"
        return f"{self.script} {status} after {self.seconds:.0f} s\n{self.output[-6000:]}"


def available_scripts() -> tuple[str, ...]:
    """The scripts to run: the ten, and the newer ones that this suite has."""
    return SCRIPTS + tuple(name for name in NEWER_SCRIPTS if (SUITE / f"{name}.sh").exists())


def run_script(script: str, agent: Path, user: str, folder: Path) -> Outcome:
    """Run one script as `user`; `folder` is empty, has a short path, and can be read by all.

    `agent` is copied first, for a script may change the owner and the mode of what it is given.
    """
    tree = folder / "regress"
    shutil.copytree(SUITE, tree, symlinks=True)
    under_test = folder / "agent-under-test"
    shutil.copyfile(agent, under_test)
    under_test.chmod(0o755)
    _give_away(folder, user)
    mark = f"{script}.{os.getpid()}.{time.monotonic_ns()}"
    environ = {**_environment(tree, under_test), _MARK: mark}
    command = ["sh", str(tree / "test-exec.sh"), str(tree), str(tree / f"{script}.sh")]
    begin = time.monotonic()
    with (folder / "output").open("w+b") as output, _ended(mark):
        process = subprocess.Popen(
            _as_user(user, environ, command),
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(TIMEOUT_S)
        if status is None:
            process.terminate()
    text = (folder / "output").read_text(errors="replace") + _failures(tree)
    return Outcome(script, status, text, time.monotonic() - begin)


def _environment(tree: Path, agent: Path) -> dict[str, str]:
    """Nothing of the caller's: no agent, no display."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C",
        "TEST_SHELL": "/bin/sh",
        "BUILDDIR": str(tree),
        "OBJ": str(tree),
        # The scripts compare with this very word.
        "SUDO": "sudo",
        "TEST_SSH_SSHAGENT": str(agent),
        "TEST_SSH_IPV6": "no",
        "TEST_SSH_ECC": "yes",
        "TEST_SSH_UNSAFE_PERMISSIONS": "1",
        # Stock ssh-agent signs over SHA-1 unasked; ours must be told that such servers are served.
        "SECRETIVE_ALLOW_SHA1": "true",
        "OPENSSL_BIN": "/usr/bin/openssl",
        **{f"TEST_SSH_{name}": path for name, path in PROGRAMS.items()},
    }


def _as_user(user: str, environ: Mapping[str, str], command: list[str]) -> list[str]:
    assignments = [f"{name}={value}" for name, value in environ.items()]
    prefix = [] if _is_me(user) else ["sudo", "-n", "-H", "-u", user]
    return [*prefix, "env", "-i", f"HOME={pwd.getpwnam(user).pw_dir}", *assignments, *command]


def _is_me(user: str) -> bool:
    return pwd.getpwnam(user).pw_uid == os.geteuid()


def _give_away(folder: Path, user: str) -> None:
    if not _is_me(user):
        subprocess.run(["chown", "-R", f"{user}:", str(folder)], check=True, timeout=60)


@contextlib.contextmanager
def _ended(mark: str) -> Iterator[None]:
    """Afterwards end every process that was started with this mark in its environment.

    Until none is left: one that still writes would be in the way of whoever removes its folder.
    """
    try:
        yield
    finally:
        deadline = time.monotonic() + 60
        while _kill_marked(f"{_MARK}={mark}".encode()) and time.monotonic() < deadline:
            time.sleep(0.05)


def _kill_marked(wanted: bytes) -> bool:
    """Kill every process with these words in its environment; whether there was one."""
    found = False
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found = True
                os.kill(int(entry.name), signal.SIGKILL)
    return found


def _failures(tree: Path) -> str:
    """What the suite's own log of failures says."""
    try:
        return (tree / "failed-regress.log").read_text(errors="replace")[-3000:]
    except OSError:
        return ""
