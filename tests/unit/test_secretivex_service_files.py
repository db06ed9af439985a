"""Service files: put in place together or not at all, and nobody else's is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clikit.errors import Failure
from secretivex.errors import SecretiveError
from secretivex.service.files import in_place, ours_among, whose
from secretivex.service.launchd_manager import LaunchdManager
from secretivex.service.manage import find_manager
from secretivex.service.seal import MARK, Whose, judge_text, seal_text
from secretivex.service.systemd_manager import SystemdManager

OURS = seal_text("[Unit]\n").encode()
NEWER = seal_text("[Unit]\nDescription=new\n").encode()


def test_a_file_is_ours_only_as_we_left_it(tmp_path: Path) -> None:
    path = tmp_path / "unit"
    assert whose(path, judge_text) is Whose.NOBODYS
    for content, wanted in (
        (OURS, Whose.OURS),
        (OURS + b"# mine\n", Whose.CHANGED),
        (OURS.replace(b"[Unit]", b"[Unix]"), Whose.CHANGED),
        (MARK.encode(), Whose.CHANGED),
        (MARK.encode() + b"[Unit]\n", Whose.CHANGED),
        (b"[Unit]\n", Whose.FOREIGN),
        (b"\n" + OURS, Whose.FOREIGN),
        (b"", Whose.FOREIGN),
        (OURS + b"#" * 2_000_000, Whose.FOREIGN),
    ):
        path.write_bytes(content)
        assert whose(path, judge_text) is wanted, content[:200]
    assert whose(path / "below", judge_text) is Whose.NOBODYS
    assert whose(tmp_path, judge_text) is Whose.FOREIGN
    link = tmp_path / "link"
    path.write_bytes(OURS)
    link.symlink_to(path)
    assert whose(link, judge_text) is Whose.FOREIGN


@pytest.mark.parametrize("in_the_way", ["file", "link", "folder", "changed"])
def test_one_that_is_not_ours_keeps_the_other_from_being_written(
    tmp_path: Path, in_the_way: str
) -> None:
    first, second = tmp_path / "a.service", tmp_path / "a.socket"
    if in_the_way == "folder":
        second.mkdir()
    elif in_the_way == "link":
        second.symlink_to("/dev/null")
    else:
        second.write_bytes(b"theirs" if in_the_way == "file" else OURS + b"more")
    with (
        pytest.raises(SecretiveError) as refused,
        in_place({first: NEWER, second: NEWER}, judge_text),
    ):
        raise AssertionError("the block was run")
    assert refused.value.code == "service_exists"
    assert not first.exists()
    assert os.path.lexists(second)
    if in_the_way == "changed":
        with pytest.raises(SecretiveError):
            ours_among((first, second), judge_text)
    else:
        assert ours_among((first, second), judge_text) == ()


def test_what_fails_later_puts_everything_back(tmp_path: Path) -> None:
    first, second = tmp_path / "sub" / "a.service", tmp_path / "a.socket"
    second.write_bytes(OURS)

    def fail() -> None:
        with in_place({first: NEWER, second: NEWER}, judge_text) as changed:
            assert changed == {first, second}
            assert second.read_bytes() == NEWER
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not first.exists()
    assert second.read_bytes() == OURS
    with in_place({second: OURS}, judge_text) as changed:
        assert changed == frozenset()
    (tmp_path / "plain").write_text("")
    with pytest.raises(Failure), in_place({tmp_path / "plain" / "a": OURS}, judge_text):
        raise AssertionError("the block was run")


LAUNCHCTL = """#!/bin/sh
# Stands in for launchctl: a service goes a moment after `bootout`, and `bootstrap` fails until then.
state=$(dirname "$0")/state
echo "$*" >> "$(dirname "$0")/asked"
case $1 in
bootout) [ -e "$state" ] && echo 2 > "$state.going" || exit 3 ;;
bootstrap)
    [ -e "$state" ] && { echo "Bootstrap failed: 5: Input/output error" >&2; exit 5; }
    echo "${STATE:-running}" > "$state" ;;
print)
    if [ -e "$state.going" ]; then
        left=$(cat "$state.going")
        if [ "$left" = 0 ]; then rm "$state" "$state.going"; else echo $((left - 1)) > "$state.going"; fi
    fi
    [ -e "$state" ] || { echo "Could not find service" >&2; exit 113; }
    printf '%s = {\\n\\tactive count = 1\\n\\tstate = %s\\n\\tendpoint = {\\n\\t\\tstate = running\\n' \\
        "$2" "$(cat "$state")" ;;
esac
"""


@pytest.fixture
def launchctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in on the search path; its folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "launchctl").write_text(LAUNCHCTL)
    (folder / "launchctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_launchd_loads_it_again_only_once_the_old_one_is_gone(
    launchctl: Path, tmp_path: Path
) -> None:
    manager = LaunchdManager(tmp_path, 501, sleep=lambda _: None)
    assert not manager.status().is_running
    (plist,) = manager.install(("/opt/agent", "run"), start=True)
    state = manager.status()
    assert (state.is_running, state.said, state.files) == (True, "state = running", (plist,))
    (launchctl / "asked").unlink()
    manager.install(("/opt/agent", "run"), start=True)
    assert "boot" not in (launchctl / "asked").read_text()
    manager.install(("/opt/newer", "run"), start=True)
    assert "/opt/newer" in Path(plist).read_text()
    (launchctl / "state").write_text("not running")
    state = manager.status()
    assert (state.is_running, state.said) == (False, "state = not running")
    assert manager.uninstall() == (plist,)
    assert manager.uninstall() == ()
    assert manager.status().said == "not loaded"


def test_a_list_that_launchd_does_not_take_is_not_left_behind(
    launchctl: Path, tmp_path: Path
) -> None:
    (launchctl / "launchctl").write_text("#!/bin/sh\n[ $1 = bootstrap ] && exit 5\nexit 113\n")
    manager = LaunchdManager(tmp_path, 501, sleep=lambda _: None)
    with pytest.raises(SecretiveError, match="bootstrap"):
        manager.install(("/opt/agent", "run"), start=True)
    assert list((tmp_path / "Library" / "LaunchAgents").iterdir()) == []


def test_a_service_that_does_not_end_is_an_error_and_no_endless_wait(
    launchctl: Path, tmp_path: Path
) -> None:
    (launchctl / "launchctl").write_text("#!/bin/sh\necho state = running\n")
    waits: list[float] = []
    manager = LaunchdManager(tmp_path, 501, sleep=waits.append)
    (tmp_path / "Library" / "LaunchAgents").mkdir(parents=True)
    manager.install(("/opt/agent", "run"), start=False)
    with pytest.raises(SecretiveError, match="does not end"):
        manager.uninstall()
    assert manager.status().files


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "-x", "a%n", "a@b", "ключ", "a\n"])
def test_a_user_whose_name_cannot_stand_in_a_unit_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SecretiveError) as refused:
        SystemdManager(tmp_path, tmp_path, user=name)
    assert refused.value.code == "usage"


def test_a_user_whom_the_system_does_not_know_gets_no_unit(tmp_path: Path) -> None:
    with pytest.raises(SecretiveError) as refused:
        SystemdManager(tmp_path, tmp_path, user="no.such-user").install(("/x", "run"), start=True)
    assert refused.value.code == "user_not_found"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_a_system_user_is_for_systemd(platform: str) -> None:
    with pytest.raises(SecretiveError) as refused:
        find_manager({"HOME": "/"}, user="joe", platform=platform)
    assert refused.value.code == "usage"


def test_a_manager_that_does_not_answer_is_told_as_such(
    tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    require_program("systemctl")
    code = "import sys; from secretivex.cli.agent import main; sys.exit(main())"
    for command in ("status", "install", "uninstall"):
        units = tmp_path / ".config" / "systemd" / "user"
        said = subprocess.run(
            (sys.executable, "-c", code, command),
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "XDG_RUNTIME_DIR": str(tmp_path / "none"),
                "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        wanted = 0 if command == "uninstall" else 5
        assert said.returncode == wanted, said.stderr
        assert not units.exists()
