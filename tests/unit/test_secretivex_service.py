"""The agent as a service: unit files, the Mac's property list, the pipe's access rules, notices."""

from __future__ import annotations

import plistlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from secretivex.cli.agent import main
from secretivex.errors import SecretiveError
from secretivex.server.surroundings.notify import (
    Notifier,
    ready,
    reloading,
    stopping,
    watchdog_period_s,
)
from secretivex.server.windows import rules as windows
from secretivex.service import launchd, systemd
from secretivex.service.seal import Whose

SID = "S-1-5-21-1004336348-1177238915-682003330-1012"


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("/usr/bin/secretive-agent", "/usr/bin/secretive-agent"),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("line\nend", '"line\\x0aend"'),
        ("bell\x07", '"bell\\x07"'),
        ("ключ", "ключ"),
    ],
)
def test_a_word_of_exec_start_means_itself(word: str, wanted: str) -> None:
    assert systemd.quote_argument(word) == wanted


def test_a_program_s_path_means_itself_and_what_systemd_refuses_is_refused_first() -> None:
    # Variables are not expanded in it: systemd would look for a folder of two dollars.
    assert systemd.quote_program("/opt/$x y/100%") == '"/opt/$x y/100%%"'
    for path in ("/it's", '/a"b', "/a\\b", "/a\nb", "/\udcff"):
        with pytest.raises(SecretiveError) as refused:
            systemd.quote_program(path)
        assert refused.value.code == "service_failed"
    with pytest.raises(SecretiveError, match="not UTF-8"):
        systemd.quote_argument("/\udcff")


def test_the_property_list_runs_the_command_and_is_known_again() -> None:
    content = launchd.render_plist(("/opt/agent", "run"), log="/tmp/agent.log")
    value = plistlib.loads(content)
    assert value["ProgramArguments"] == ["/opt/agent", "run"]
    assert value["KeepAlive"] == {"SuccessfulExit": False}
    assert launchd.judge_plist(content) is Whose.OURS
    laid_out_otherwise = plistlib.dumps(value, fmt=plistlib.FMT_BINARY)
    assert launchd.judge_plist(laid_out_otherwise) is Whose.OURS
    changed = plistlib.dumps(value | {"Nice": 5})
    assert launchd.judge_plist(changed) is Whose.CHANGED
    for foreign in (plistlib.dumps({"Label": launchd.LABEL}), plistlib.dumps([]), b"<plist><dict>"):
        assert launchd.judge_plist(foreign) is Whose.FOREIGN


def test_the_pipe_is_its_owners_and_the_systems_alone() -> None:
    rules = f"D:P(A;;GA;;;S-1-5-18)(A;;GA;;;{SID})"
    assert windows.pipe_sddl(SID, SID) == f"O:{SID}G:{SID}{rules}"
    # A service may not give its pipe to the user: it stays SYSTEM's, and the list is the same.
    assert windows.pipe_sddl(SID, "S-1-5-18") == f"O:S-1-5-18G:S-1-5-18{rules}"


@pytest.mark.parametrize(
    "sid",
    [
        *("", "WD", "S-1-1-0", "S-1-5-11", "S-1-5-32-545", f"{SID})(A;;GA;;;WD", "S-2-1-1"),
        # Administrators, interactive users, whoever is local, all services, a domain's users.
        *(f"{SID}\n", "S-1-5-32-544", "S-1-5-4", "S-1-2-0", "S-1-5-6", "S-1-5-21-1-2-3-513"),
        *("S-1-5-21-1-2-3-512", "S-1-3-4", "S-1-15-2-1", "S-1-5-80-0"),
    ],
)
def test_no_group_and_no_injected_rule_is_taken_for_an_owner(sid: str) -> None:
    with pytest.raises(SecretiveError):
        windows.pipe_sddl(sid, SID)


@pytest.mark.parametrize(
    "sid",
    [
        *("S-1-5-18", "S-1-5-19", "S-1-5-21-1-2-3-500", "S-1-5-21-1-2-3-1001"),
        *("S-1-12-1-1-2-3-4", "S-1-5-80-1-2-3-4-5"),
    ],
)
def test_an_account_may_own_the_pipe(sid: str) -> None:
    assert f"(A;;GA;;;{sid})" in windows.pipe_sddl(sid, "S-1-5-18")


def test_only_the_first_instance_claims_the_name() -> None:
    first = windows.pipe_open_mode(is_first=True)
    assert first & windows.FILE_FLAG_FIRST_PIPE_INSTANCE
    assert not windows.pipe_open_mode(is_first=False) & windows.FILE_FLAG_FIRST_PIPE_INSTANCE


@pytest.mark.parametrize("name", ["/notify", "@notify"])
def test_the_manager_is_told(tmp_path: Path, name: str) -> None:
    if name.startswith("@"):
        address, bound = f"@{tmp_path}", f"\0{tmp_path}"
    else:
        address = bound = f"{tmp_path}{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(bound)
        now = [100.0]
        environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "7"}
        notifier = Notifier(environ, pid=7, clock=lambda: now[0])
        notifier.tell("READY=1", "STATUS=fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"
        assert notifier.period_s == 1.0
        notifier.live()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.live()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        assert notifier.until_due_s() == 1.0
        now[0] = 101.5
        notifier.live()
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_is_not_there_is_no_fault() -> None:
    Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}).tell("READY=1")
    Notifier({}).tell("READY=1")
    assert Notifier({}).until_due_s() is None


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_signs_of_life_are_due_at_half_of_the_time(
    environ: dict[str, str], wanted: float | None
) -> None:
    assert watchdog_period_s(environ, 7) == wanted


def test_a_reload_is_told_with_its_moment() -> None:
    assert reloading(lambda: 5_000_000) == ("RELOADING=1", "MONOTONIC_USEC=5000")


def test_a_rejected_reload_is_told_in_one_line_and_a_long_drain_is_asked_for() -> None:
    assert ready() == ("READY=1", "STATUS=serving")
    told = ready("agent.toml:3: bad\nMAINPID=1\n" + "x" * 1000)
    assert told[1].startswith("STATUS=serving; the new configuration was rejected: agent.toml:3:")
    assert all("\n" not in line and len(line) < 300 for line in told)
    assert stopping(60.5)[2] == "EXTEND_TIMEOUT_USEC=60500000"


def test_systemd_finds_nothing_wrong_with_the_units(
    require_program: object, tmp_path: Path
) -> None:
    require_program("systemd-analyze")  # type: ignore[operator]
    for name, text in (
        ("secretive-agent.service", systemd.render_user_service(("/bin/true", "run"))),
        ("secretive-agent.socket", systemd.render_user_socket()),
    ):
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        (
            "systemd-analyze",
            "verify",
            "--user",
            str(tmp_path / "secretive-agent.service"),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_a_configuration_that_the_agent_would_not_start_with_is_not_installed(
    tmp_path: Path, require_program: Callable[[str], object], capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the first connection would find a service that has failed, and nobody would be told."""
    require_program("systemctl")
    config = tmp_path / "agent.toml"
    config.write_text("profil = 'pssh'\nmax_signers = 0\n")
    for more in ((), ("--no-start",)):
        assert main(["install", "--config", str(config), *more]) == 3
        said = capsys.readouterr().err
        assert f"{config}:1: profil: unknown key" in said
        assert f"{config}:2: max_signers" in said
    assert main(["install", "--config", str(tmp_path / "no.toml")]) == 4
