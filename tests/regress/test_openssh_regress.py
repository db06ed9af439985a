"""OpenSSH's own agent tests, unchanged, against `secretive-agent` or any other agent.

`TEST_AGENT` names the agent: `secretive-agent` (ours, as it stands in this tree), or a program such
as `ssh-agent`, with which every script must pass: that proves the harness.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import NoReturn

import pytest
from openssh_suite import PROGRAMS, SUITE, available_scripts, run_script

ROOT = Path(__file__).resolve().parents[2]
OURS = "secretive-agent"
AGENT = os.environ.get("TEST_AGENT", OURS)
CI_USER = "openssh-regress"

KNOWN_SKIPS: dict[str, tuple[str, ...]] = {}
"""Scripts of which some lines may say "skipped", and those lines."""

LAUNCHER = """\
#!{python} -IS
import sys
sys.path.insert(0, {libraries!r})
from secretivex.cli.agent import main
sys.exit(main())
"""


@pytest.fixture(scope="session")
def components(require_program: Callable[[str], str], give_up: Callable[[str], NoReturn]) -> None:
    """Everything that the scripts need on this machine."""
    for program in ("sudo", "gdb", "perl", "openssl", "pkcs11-tool", "softhsm2-util", "sshd"):
        require_program(program)
    for path in (SUITE / "test-exec.sh", *map(Path, PROGRAMS.values())):
        if not path.exists():
            give_up(f"{path} (Debian: openssh-tests, openssh-client, openssh-server)")


@pytest.fixture(scope="session")
def regress_user(components: None, give_up: Callable[[str], NoReturn]) -> str:
    """Who runs the scripts: `REGRESS_USER`; under CI a user that is made for it."""
    name = os.environ.get("REGRESS_USER", "")
    if name:
        return name
    if not os.environ.get("CI") or os.geteuid() != 0:
        give_up("a user for OpenSSH's tests (set REGRESS_USER; CI as root makes one)")
    with Path("/run/lock/openssh-regress.lock").open("w") as lock:
        # Several processes may run tests at a time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_user()
    return CI_USER


def _make_user() -> None:
    """A user who may become root without a password; only ever under CI."""
    if CI_USER not in {entry.pw_name for entry in pwd.getpwall()}:
        # A password of "*" matches none; "!" would be a locked account, which sshd refuses.
        make = ["useradd", "--create-home", "--shell", "/bin/sh", "--password", "*", CI_USER]
        subprocess.run(make, check=True, timeout=60)
    subprocess.run(["usermod", "-aG", "softhsm", CI_USER], check=True, timeout=60)
    rule = Path("/etc/sudoers.d") / CI_USER
    rule.write_text(f"{CI_USER} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    Path("/run/sshd").mkdir(exist_ok=True)


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder with a short name and no blank in it, whose content everybody may read."""
    folder = Path(tempfile.mkdtemp(prefix="regress-", dir="/tmp"))  # sockets want a short path
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def agent(public_folder: Path, require_program: Callable[[str], str]) -> Path:
    """The executable under test."""
    if AGENT != OURS:
        return Path(require_program(AGENT))
    libraries = public_folder / "libraries"
    for package in ("sshwire", "clikit", "agentclient", "secretivex"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src" / package, libraries / package, ignore=ignored)
    for name in sorted(needed_distributions("secretivex-fleetmdm", "agent")):
        copy_distribution(name, libraries)
    launcher = public_folder / OURS
    python = Path(sys.executable).resolve()
    launcher.write_text(LAUNCHER.format(python=python, libraries=str(libraries)))
    compile_all = [str(python), "-IS", "-m", "compileall", "-q", str(libraries)]
    subprocess.run(compile_all, check=True, timeout=120)
    subprocess.run(["chmod", "-R", "a+rX", str(libraries)], check=True, timeout=60)
    return launcher


def needed_distributions(name: str, extra: str = "") -> set[str]:
    """What a distribution and one of its extras depend on, and what these need in turn."""
    found: set[str] = set()
    for requirement in distribution(name).requires or ():
        wanted, _, marker = requirement.partition(";")
        if "extra ==" in marker and not re.search(rf"extra == ['\"]{extra}['\"]", marker):
            continue
        needed = re.split(r"[^A-Za-z0-9._-]", wanted.strip(), maxsplit=1)[0]
        try:
            distribution(needed)
        except ModuleNotFoundError:
            continue  # its marker says that this machine does not need it
        found |= {needed} | needed_distributions(needed)
    return found


def copy_distribution(name: str, target: Path) -> None:
    for file in distribution(name).files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        copy = target / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(str(file.locate()), copy)


@pytest.mark.parametrize("script", available_scripts())
def test_the_agent_passes_a_script_of_openssh(
    script: str, agent: Path, regress_user: str, public_folder: Path
) -> None:
    # Not named after the script: hostkey-agent drops lines that hold "hostkey" from its settings.
    folder = public_folder / f"run{available_scripts().index(script)}"
    folder.mkdir()
    outcome = run_script(script, agent, regress_user, folder)
    assert outcome.status == 0, outcome.explain()
    unknown = set(outcome.skips) - set(KNOWN_SKIPS.get(script, ()))
    assert not unknown, outcome.explain()
