"""The system unit under systemd as process 1, on a copy-on-write view of this machine's root.

A name space for processes, mounts, control groups and names of hosts of its own; what is written
goes to memory and is gone with it. Rule for editors: nothing outside of the view is touched, and the
machine in it powers itself off.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

Require = Callable[[str], object]

GROUP = """
mkdir -p $OUT/groups
mount -t cgroup2 none $OUT/groups
group=$OUT/groups/agent-system-$$
mkdir $group
echo $$ > $group/cgroup.procs
unshare --pid --mount --cgroup --uts --ipc --fork --kill-child /bin/bash -c "$BOOT" || true
echo $$ > $OUT/groups/cgroup.procs
find $group -depth -type d -exec rmdir {} +
"""
"""A control group to be the root of the system's, and to be removed with what it left there."""

BOOT = """
set -eu
memory=$OUT/memory root=$OUT/root
mkdir -p $memory $root
mount -t tmpfs tmpfs $memory
mkdir $memory/upper $memory/work
mount -t overlay overlay -o lowerdir=/,upperdir=$memory/upper,workdir=$memory/work $root
mkdir -p $root/opt/project $root/opt/site $root/opt/out $root/opt/agent/bin
mount --bind $PROJECT $root/opt/project
mount --bind $SITE $root/opt/site
mkdir -p $OUT/out
mount --bind $OUT/out $root/opt/out
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 none $root/sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs $root/run
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mount -t tmpfs -o mode=755 tmpfs $root/dev
mkdir $root/dev/shm $root/dev/pts $root/dev/mqueue $root/dev/hugepages
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    IFS=: read -r name major minor <<< $device
    mknod -m 666 $root/dev/$name c $major $minor
done
ln -s pts/ptmx $root/dev/ptmx
touch $root/opt/out/console
ln -s /opt/out/console $root/dev/console
# Of the machine's own services none: the targets are there and pull nothing in.
for target in sysinit basic sockets timers paths multi-user; do
    rm -rf $root/usr/lib/systemd/system/$target.target.wants
    rm -rf $root/etc/systemd/system/$target.target.wants
    printf '[Unit]\\nDefaultDependencies=no\\n' > $root/etc/systemd/system/$target.target
done
for name in joe:4321 eve:4322; do
    echo "${name%:*}:x:${name#*:}:${name#*:}::/home/${name%:*}:/bin/sh" >> $root/etc/passwd
    echo "${name%:*}:x:${name#*:}:" >> $root/etc/group
    mkdir -p $root/home/${name%:*}/.ssh
done
cp $KEY $root/home/joe/.ssh/id_ed25519
chmod 600 $root/home/joe/.ssh/id_ed25519
chown -R 4321:4321 $root/home/joe
chmod 700 $root/home/joe $root/home/joe/.ssh
cp $OUT/secretive-agent $root/opt/agent/bin/secretive-agent
ln -s $PYTHON $root/opt/agent/bin/python
# A virtual environment, so that processes that the agent starts find what it finds.
echo "home = $(dirname $PYTHON)" > $root/opt/agent/pyvenv.cfg
mkdir -p $root/opt/agent/$LIBRARY
printf '/opt/project/src\n/opt/site\n' > $root/opt/agent/$LIBRARY/paths.pth
cat > $root/etc/systemd/system/test.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/opt/out/said
StandardError=file:/opt/out/said-wrong
TimeoutStartSec=100
ExecStart=/bin/bash -eu /opt/out/script
ExecStopPost=/bin/sh -c 'echo "\\$EXIT_STATUS" > /opt/out/status; exec systemctl poweroff --force --force'
UNIT
export container=test
cd $root
mount --make-rprivate /
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; exec /lib/systemd/systemd "$@"' systemd --system --unit=test.service --log-target=console
"""

SCRIPT = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
agent() { /opt/agent/bin/secretive-agent "$@"; }
as() { setpriv --reuid "$1" --regid "$1" --clear-groups env SSH_AUTH_SOCK=$socket "${@:2}"; }
until_is() { for _ in $(seq 600); do
    [ "$(systemctl is-active "$1" || true)" = "$2" ] && return; sleep 0.05; done; false; }
service=secretive-agent@joe.service socket=/run/secretive-agent/joe/agent.sock
agent install --system-user nobody-here --quiet 2>/dev/null || echo "no such user: $?"
agent install --system-user eve --config /home/eve/agent.toml --quiet 2>/dev/null || echo "no such file: $?"
echo 'workers = 1' > /opt/out/eve.toml
agent install --system-user eve --config /opt/out/eve.toml --quiet
agent install --system-user joe --quiet
agent install --system-user joe --quiet
stat -c 'socket %a %u' $socket
[ "$(systemctl is-active $service || true)" = inactive ]
as 4322 ssh-add -l 2>&1 | sed 's/^/eve: /' || true
as 4321 ssh-add -l
until_is $service active
main=$(systemctl show -p MainPID --value $service)
grep -E '^(Uid|NoNewPrivs|CapEff|Seccomp):' /proc/$main/status
echo "interfaces: $(nsenter --target $main --net ls /sys/class/net 2>/dev/null | tr '\\n' ' ')"
nsenter --target $main --mount setpriv --reuid 4321 --regid 4321 --clear-groups \\
    sh -c 'for f in /home/joe /etc /usr /var/tmp; do
        touch $f/x 2>/dev/null && echo "wrote $f" || echo "not $f"; done
        touch /var/lib/secretive-agent/joe/x && echo "wrote state"; ls /dev | tr "\\n" " "; echo'
systemctl show -p NotifyAccess -p WatchdogUSec -p Result $service
health() { PYTHONPATH=/opt/project/src as 4321 /opt/agent/bin/python -m secretivex.cli.client "$@" || true; }
health health | sed 's/^/health: /'
systemctl reload $service
kill -9 $main
as 4321 ssh-add -l
for _ in $(seq 600); do
    now=$(systemctl show -p MainPID --value $service)
    [ "$now" != 0 ] && [ "$now" != "$main" ] && break; sleep 0.05; done
[ "$now" != "$main" ]
agent status --system-user joe
until_is $service active
systemctl stop $service
stat -c 'socket stays %a' $socket
agent uninstall --system-user joe --quiet
[ ! -e /etc/systemd/system/secretive-agent@joe.service ]
socket=/run/secretive-agent/eve/agent.sock
as 4322 ssh-add -l || [ $? = 1 ]
until_is secretive-agent@eve.service active
tr '\\0' ' ' < /proc/$(systemctl show -p MainPID --value secretive-agent@eve.service)/cmdline
agent uninstall --system-user eve --quiet
ls /etc/systemd/system | grep secretive && exit 91
[ "$(systemctl is-active secretive-agent@joe.socket || true)" != active ]
echo all done
"""


@pytest.fixture
def boot(require_program: Require, tmp_path: Path) -> Callable[[str, Path], dict[str, str]]:
    """Boot, run a script as a unit, power off; what it left in its files, by their names."""
    for name in ("unshare", "nsenter", "setpriv", "systemctl"):
        require_program(name)
    if os.geteuid() != 0:
        pytest.skip("only root may boot a system in name spaces")

    def run(script: str, key: Path) -> dict[str, str]:
        out = tmp_path / "out"
        out.mkdir()
        (out / "script").write_text(script)
        program = tmp_path / "secretive-agent"
        program.write_text(
            "#!/opt/agent/bin/python\nimport sys\n"
            "from secretivex.cli.agent import main\nsys.exit(main())\n"
        )
        program.chmod(0o755)
        environ = {
            "PATH": os.environ["PATH"],
            "BOOT": BOOT,
            "OUT": str(tmp_path),
            "PROJECT": str(ROOT),
            "SITE": sysconfig.get_paths()["purelib"],
            "PYTHON": os.path.realpath(sys.executable),
            "LIBRARY": f"lib/python3.{sys.version_info.minor}/site-packages",
            "KEY": str(key),
        }
        said = subprocess.run(
            ("unshare", "--mount", "/bin/bash", "-c", GROUP),
            env=environ,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        found = {path.name: path.read_text() for path in out.iterdir()}
        return {"said": "", "status": "", "said-wrong": "", **found, "boot": said.stderr}

    return run


def test_the_system_unit_serves_one_user_within_its_walls(
    boot: Callable[[str, Path], dict[str, str]], key_files: dict[str, Path]
) -> None:
    found = boot(SCRIPT, key_files["ed25519"])
    said = found["said"]
    wrong = "\n".join(found[name] for name in ("boot", "console", "said-wrong") if name in found)
    assert found["status"].strip() == "0", said + wrong
    assert said.rstrip().endswith("all done")
    assert "socket 600 4321" in said
    assert "eve: Error connecting to agent: Permission denied" in said
    assert said.count("(ED25519)") == 2
    assert "Uid:\t4321\t4321\t4321\t4321" in said
    assert "NoNewPrivs:\t1" in said
    assert "CapEff:\t0000000000000000" in said
    assert "Seccomp:\t2" in said
    for folder in ("/home/joe", "/etc", "/usr"):
        assert f"not {folder}" in said
    assert "wrote state" in said
    assert "WatchdogUSec=30s" in said
    assert "socket stays 600" in said
    assert "no such user: 4" in said
    assert "no such file: 4" in said
    # Joe's removal takes nothing from Eve, and her configuration was never his.
    assert "The agent has no identities." in said
    assert "run --config /opt/out/eve.toml" in said
    assert "health: socket_path: /run/secretive-agent/joe/agent.sock" in said
    assert "health: generation: 1" in said
