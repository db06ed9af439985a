"""The agent under a real systemd: a user's manager in a mount and cgroup namespace of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secretivex.service import launchd, systemd

ROOT = Path(__file__).resolve().parents[3]
PACKAGING = ROOT / "packaging"

Require = Callable[[str], object]

BOOT = """
set -eu
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/system
umount -R /sys/fs/cgroup || true
mount -t cgroup2 none /sys/fs/cgroup
group=/sys/fs/cgroup/agent-test-$$
mkdir "$group"
echo $$ > "$group/cgroup.procs"
/lib/systemd/systemd --user --log-target=null &
manager=$!
trap 'kill $manager; wait $manager || true; echo 0 > /sys/fs/cgroup/cgroup.procs
find $group -depth -type d -exec rmdir {} + || true' EXIT
for _ in $(seq 600); do
    systemctl --user is-system-running >/dev/null 2>&1 && break
    sleep 0.05
done
"""
"""Starts a user's manager; what follows is run beside it."""


@pytest.fixture
def in_systemd(
    require_program: Require, tmp_path: Path
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a script where `systemctl --user` reaches a real manager."""
    require_program("systemctl")
    require_program("unshare")
    if os.geteuid() != 0:
        pytest.skip("only root may mount a cgroup tree for the manager")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    home = tmp_path / "home"
    home.mkdir()
    program = tmp_path / "bin" / "secretive-agent"
    program.parent.mkdir()
    # As an installed program: beside the interpreter that runs it, on nobody's search path.
    (program.parent / "python").symlink_to(sys.executable)
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from secretivex.cli.agent import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(runtime),
            "AGENT": str(program),
            "TMP": str(tmp_path),
        }
        return subprocess.run(
            ("unshare", "--mount", "--cgroup", "/bin/bash", "-c", BOOT + script),
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_install_starts_it_by_its_socket_and_uninstall_leaves_nothing(
    in_systemd: Callable[[str], subprocess.CompletedProcess[str]],
    key_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    config = tmp_path / "agent.toml"
    key = key_files["ed25519"]
    config.write_text(
        f'workers = 2\n[[stores]]\ntype = "file"\npaths = ["{key}"]\nscan_default_dir = false\n'
    )
    units = tmp_path / "home" / ".config" / "systemd" / "user"
    said = in_systemd(
        f"""
        export SSH_AUTH_SOCK=$XDG_RUNTIME_DIR/secretive/agent.sock
        agent() {{ {sys.executable} -c "
import sys
sys.path.insert(0, '{ROOT}/src')
sys.executable = '$TMP/bin/python'
from secretivex.cli.agent import main
sys.exit(main(sys.argv[1:]))" "$@"; }}
        agent status --format json && exit 90
        agent install --config {config} --format json
        agent install --config {config} --quiet
        [ "$(systemctl --user is-active secretive-agent.service || true)" = inactive ]
        ssh-add -l
        for _ in $(seq 600); do
            [ "$(systemctl --user is-active secretive-agent.service || true)" = active ] && break
            sleep 0.05
        done
        systemctl --user is-active secretive-agent.service
        systemctl --user show -p Type -p WatchdogUSec secretive-agent.service
        agent status
        main=$(systemctl --user show -p MainPID --value secretive-agent.service)
        ssh-keygen -q -t ecdsa -N '' -f $TMP/more
        sed -i "s#paths = .*#paths = [\\"$TMP/more\\"]#" {config}
        systemctl --user reload secretive-agent.service
        for _ in $(seq 600); do ssh-add -l | grep -q ECDSA && break; sleep 0.05; done
        # A change is answered when every worker knows of it and of what came before.
        ssh-keygen -q -t ed25519 -N '' -f $TMP/other
        ssh-add -q $TMP/other
        ssh-add -q -d $TMP/other
        ssh-add -l
        [ "$main" = "$(systemctl --user show -p MainPID --value secretive-agent.service)" ]
        kill -9 $main
        for _ in $(seq 600); do
            now=$(systemctl --user show -p MainPID --value secretive-agent.service)
            [ "$now" != "$main" ] && [ "$now" != 0 ] && break; sleep 0.05
        done
        ssh-add -l
        agent uninstall
        [ "$(systemctl --user is-active secretive-agent.socket || true)" != active ]
        agent uninstall
        """
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "ED25519" in said.stdout
    assert said.stdout.count("(ECDSA)") == 2
    assert "Type=notify" in said.stdout
    assert "WatchdogUSec=30s" in said.stdout
    assert "systemd: installed; socket active, service active" in said.stdout
    assert "nothing was installed" in said.stdout
    assert list(units.glob("secretive-agent*")) == []


PLACES = """
units=$HOME/.config/systemd/user address=$XDG_RUNTIME_DIR/secretive/agent.sock
export SSH_AUTH_SOCK=$address
echo 'workers = 1' > $TMP/agent.toml
agent() { "$TMP/$place/bin/secretive-agent" "$@"; }
within() { for _ in $(seq 600); do "$@" && return; sleep 0.05; done; false; }
answers() { ssh-add -l >/dev/null || [ $? = 1 ]; }
rejected() { systemctl --user show -p StatusText secretive-agent.service | grep rejected; }
put() { place=$1; mkdir -p "$TMP/$1/bin"; cp -P $TMP/bin/* "$TMP/$1/bin"; }
nothing() { [ -z "$(ls $units | grep -v wants)" ]; systemctl --user is-active secretive-agent.socket || true; }
put 'my $HOME 100% é'
mkdir "$TMP/"'it"s a path 5%h \\'
config="$TMP/"'it"s a path 5%h \\'/$'a\\tb.toml'
cp $TMP/agent.toml "$config"
mkdir $TMP/'$x'; cp $TMP/agent.toml $TMP/'$x'; agent install --config $TMP/'$x'/agent.toml 2>&1 || echo "dollar: $?"
agent install --config "$config" --quiet
ssh-add -l || [ $? = 1 ]
main=$(systemctl --user show -p MainPID --value secretive-agent.service)
tr '\\0' '\\n' < /proc/$main/cmdline | grep -qxF "$config"
systemctl --user show -p StatusText --value secretive-agent.service
echo 'nonsense = 1' >> "$config"
systemctl --user reload secretive-agent.service
within rejected
echo 'workers = 1' > "$config"
agent install --quiet --config $TMP/agent.toml
ssh-add -l || [ $? = 1 ]
now=$(systemctl --user show -p MainPID --value secretive-agent.service)
[ $now != $main ]
agent install --quiet --config $TMP/agent.toml
[ $now = $(systemctl --user show -p MainPID --value secretive-agent.service) ]
mkdir $units/secretive-agent.service.d
printf '[Service]\\nEnvironment=MINE=1\\n' > $units/secretive-agent.service.d/mine.conf
echo '# mine' >> $units/secretive-agent.service
agent install 2>&1 || echo "hand-edited: $?"
agent uninstall 2>&1 || echo "kept: $?"
agent status
sed -i '$d' $units/secretive-agent.service
agent uninstall
[ "$(find $units -type f)" = $units/secretive-agent.service.d/mine.conf ]
rm -r $units/secretive-agent.service.d
# What is in the way is found before anything is written.
put "quo'te"; agent install 2>&1 || echo "quote: $?"; nothing
place=.
echo letter > $address; agent install 2>&1 || echo "letter: $?"; cat $address; nothing; rm $address
$TMP/bin/secretive-agent run --config $TMP/agent.toml 2>/dev/null & other=$!
within answers
agent install 2>&1 || echo "live: $?"; kill $other; wait $other || true; nothing
echo > $units/sockets.target.wants; agent install 2>&1 || echo "wants: $?"
rm $units/sockets.target.wants; nothing
echo all done
"""


def test_install_is_all_or_nothing_and_knows_its_own(
    in_systemd: Callable[[str], subprocess.CompletedProcess[str]],
) -> None:
    said = in_systemd(PLACES)
    out = said.stdout
    assert out.rstrip().endswith("all done"), out + said.stderr
    assert "serving; the new configuration was rejected" in out
    for what in (
        "dollar: 2",
        "hand-edited: 6",
        "kept: 6",
        "quote: 5",
        "letter: 5\nletter",
        "live: 5",
        "wants: 5",
    ):
        assert what in out, (what, out)
    assert "changed by hand: secretive-agent.service" in out


def test_a_unit_of_somebody_else_is_left_alone(
    in_systemd: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    units = tmp_path / "home" / ".config" / "systemd" / "user"
    units.mkdir(parents=True)
    theirs = units / "secretive-agent.service"
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    said = in_systemd(
        f"""
        {sys.executable} -c "
import sys
sys.path.insert(0, '{ROOT}/src')
sys.executable = '$TMP/bin/python'
from secretivex.cli.agent import main
sys.exit(main(['install', '--format', 'json']))" || echo "status $?"
        """
    )
    document, _, status = said.stdout.rpartition("status")
    assert status.strip() == "6"
    assert json.loads(document)["error"]["code"] == "service_exists"
    assert theirs.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_the_units_that_ship_are_the_ones_that_are_installed() -> None:
    command = ("/usr/bin/secretive-agent", "run")
    wanted = {
        "systemd/user/secretive-agent.service": systemd.render_user_service(command),
        "systemd/user/secretive-agent.socket": systemd.render_user_socket(),
        "systemd/system/secretive-agent@.service": systemd.render_system_service(command),
        "systemd/system/secretive-agent@.socket": systemd.render_system_socket(),
        "launchd/org.secretivex.agent.plist": launchd.render_plist(
            ("/usr/local/bin/secretive-agent", "run"), log="/usr/local/var/log/secretive-agent.log"
        ).decode(),
    }
    assert {name: (PACKAGING / name).read_text() for name in wanted} == wanted


def test_systemd_finds_nothing_wrong_with_the_system_units(
    require_program: Require, tmp_path: Path
) -> None:
    require_program("systemd-analyze")
    service = systemd.render_system_service(("/bin/true", "run"))
    for name, text in (
        ("secretive-agent@root.service", service),
        ("secretive-agent@root.socket", systemd.render_system_socket()),
    ):
        (tmp_path / name).write_text(text)
    said = subprocess.run(
        ("systemd-analyze", "verify", str(tmp_path / "secretive-agent@root.service")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_the_system_unit_is_hardened(require_program: Require, tmp_path: Path) -> None:
    require_program("systemd-analyze")
    unit = tmp_path / "secretive-agent@someone.service"
    unit.write_text(systemd.render_system_service(("/bin/true", "run")))
    said = subprocess.run(
        ("systemd-analyze", "security", "--offline=true", "--threshold=9", str(unit)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stdout[-300:]
    assert "Overall exposure level" in said.stdout
