"""Where the agent's files go: folders that refuse them, disks that are full, locks that were left."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from listening import is_listening

from secretivex.server.report.control_socket import ask, control_path

ROOT = Path(__file__).resolve().parents[3]
AGENT = (sys.executable, "-m", "secretivex.cli.agent")

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environ_of() -> dict[str, str]:
    kept = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    return {**kept, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def on_small_disk(
    require_program: Callable[[str], str], give_up: Callable[[str], NoReturn], tmp_path: Path
) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run an agent to its end whose socket's folder is a file system with these mount options."""
    require_program("unshare")
    if os.geteuid() != 0:
        give_up("root, to mount a file system,")
    folder = tmp_path / "disk"
    folder.mkdir()

    def run(options: str) -> subprocess.CompletedProcess[str]:
        script = f'mount -t tmpfs -o {options} tmpfs {folder} && exec "$@"'
        command = ("unshare", "--mount", "/bin/sh", "-c", script, "sh", *AGENT, "run")
        return subprocess.run(
            (*command, "--socket", str(folder / "agent.sock")),
            env=environ_of(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only file system"), ("nr_inodes=1", "No space left")]
)
def test_a_folder_that_takes_no_socket_is_named_with_the_reason(
    on_small_disk: Callable[[str], subprocess.CompletedProcess[str]], options: str, reason: str
) -> None:
    done = on_small_disk(options)
    assert done.returncode == 5
    assert "cannot make" in done.stderr
    assert reason in done.stderr


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    # As NFS answers where no lock manager runs.
    strace = (require_program("strace"), "-f", "-qq", "-o", "/dev/null")
    done = subprocess.run(
        (
            *strace,
            "-e",
            "trace=flock",
            "-e",
            "inject=flock:error=ENOLCK",
            *AGENT,
            "run",
            "--socket",
            str(tmp_path / "agent.sock"),
        ),
        env=environ_of(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5
    assert "No locks available" in done.stderr
    assert "local disk" in done.stderr


@pytest.mark.parametrize("is_above", [False, True])
def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, run_agent: Run, give_up: Callable[[str], NoReturn], is_above: bool
) -> None:
    if os.geteuid() != 0:
        give_up("root, to give a folder away,")
    others = tmp_path / "others"
    folder = others / "ours" if is_above else others
    folder.mkdir(parents=True, mode=0o700)
    os.chown(others, 12345, -1)
    # A sticky bit hinders everybody but the folder's owner.
    for mode in (0o700, 0o1777):
        others.chmod(mode)
        refused = run_agent("run", "--socket", folder / "s", "--format", "json")
        assert refused.returncode == 5
        error = json.loads(refused.stdout)["error"]
        assert error["code"] == "socket_failed"
        assert f"{others}: belongs to user 12345" in error["message"]
        assert "give it to whom the agent runs as, or choose another" in error["hint"]
        assert list(folder.iterdir()) == []


def test_a_folder_that_a_group_with_others_may_write_to_is_refused(
    tmp_path: Path, run_agent: Run, give_up: Callable[[str], NoReturn]
) -> None:
    if os.geteuid() != 0:
        give_up("root, to give a folder away,")
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chown(folder, -1, 12345)
    folder.chmod(0o775)
    refused = run_agent("run", "--socket", folder / "s")
    assert refused.returncode == 5
    assert f"chmod g-w {folder}" in refused.stderr
    assert list(folder.iterdir()) == []


def test_a_sticky_folder_of_root_and_a_name_space_of_users_take_a_socket(
    start_service: Start, require_program: Callable[[str], str], give_up: Callable[[str], NoReturn]
) -> None:
    unshare = (require_program("unshare"), "--user", "--map-current-user")
    if subprocess.run((*unshare, "true"), capture_output=True, timeout=60, check=False).returncode:
        give_up("name spaces of users")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        if os.geteuid() == 0:
            folder.chmod(0o1777)
        # In there the machine's root, who owns the folders above, is nobody whom one could name.
        for name, before in (("plain", ()), ("within", unshare)):
            address = folder / f"{name}.sock"
            service = start_service(
                "--no-scan-default-dir", workers=1, address=address, before=before
            )
            assert service.ssh_add("-l").returncode == 1
            assert service.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_without_proc_it_serves_all_the_same(
    require_program: Callable[[str], str],
    give_up: Callable[[str], NoReturn],
    start_service: Start,
    key_files: dict[str, Path],
    workers: int,
) -> None:
    if os.geteuid() != 0:
        give_up("root, to mount a file system,")
    bare = 'umount -l /proc && mount -t tmpfs none /proc && exec "$@"'
    before = (require_program("unshare"), "--mount", "/bin/sh", "-c", bare, "sh")
    service = start_service("--key", key_files["ed25519"], workers=workers, before=before)
    assert service.ssh_add("-T", f"{key_files['ed25519']}.pub").returncode == 0
    assert service.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_that_is_removed_under_it_takes_no_connection_and_no_key(
    start_service: Start, key_files: dict[str, Path], workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    with service.connect() as connected:
        service.address.unlink()
        connected.sendall(b"\0\0\0\x01\x0b")
        assert connected.recv(5)[4:] == b"\x0c"
    command = (*AGENT, "run", "--socket", str(service.address))
    second = subprocess.run(
        command, env=environ_of(), capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == 5
    assert "there is no socket" in second.stderr
    assert service.stop() == 0
    assert not control_path(service.address).exists()


@pytest.mark.parametrize(
    ("most", "taken", "told"),
    [(14, 0, "more files, and it takes 44"), (46, 0, "open 43 more"), (64, 50, "more files")],
    ids=["few", "one too few", "taken by others"],
)
def test_too_few_descriptors_to_start_with_are_told(
    tmp_path: Path, most: int, taken: int, told: str
) -> None:
    handed = [os.open(os.devnull, os.O_RDONLY) for _ in range(taken)]
    try:
        done = subprocess.run(
            (*AGENT, "run", "--format", "json", "--workers", "2", "--socket", tmp_path / "s"),
            env=environ_of(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=handed,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
        )
    finally:
        for descriptor in handed:
            os.close(descriptor)
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "limit_too_low"
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_takes_no_more_costs_nothing_else(
    start_service: Start, key_files: dict[str, Path]
) -> None:
    service = start_service(
        *("--key", key_files["ed25519"]),
        workers=2,
        before=("/bin/sh", "-c", 'exec "$@" 2>/dev/full', "sh"),
    )
    assert service.ssh_add("-T", f"{key_files['ed25519']}.pub").returncode == 0
    assert service.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_costs_snapshots_and_nothing_else(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    snapshot, key = tmp_path / "snapshot.json", key_files["ed25519"]
    service = start_service(
        *("--key", key, "--metrics-output", snapshot, "--metrics-interval-ms", "100"),
        workers=workers,
    )
    control = control_path(service.address)
    wait(snapshot.exists, "no snapshot")
    rows = ask(control, "health", timeout_s=30)["processes"]
    (writer,) = (row["pid"] for row in rows if row["name"] in ("reporter", "agent"))
    _, most = resource.prlimit(writer, resource.RLIMIT_FSIZE)
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (1, most))
    failed = re.compile(r"secretivex_snapshot_failures_total [1-9]")

    def has_failed() -> bool:
        return bool(failed.search(ask(control, "openmetrics", timeout_s=30)["openmetrics"]))

    # What it says of it goes to a log that is as full for it: the count has to do.
    wait(has_failed, "no failure was counted")
    public = str(key.with_name(key.name + ".pub"))
    assert service.tool("ssh-add", "-T", public).returncode == 0
    assert json.loads(snapshot.read_text())["kind"]
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (most, most))
    snapshot.unlink()
    wait(snapshot.exists, "no snapshot any more")
    assert service.stop() == 0


def test_agents_that_start_at_once_leave_one(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    first = start_service("--key", key_files["ed25519"], workers=1)
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(60)
    command = (*AGENT, "run", "--socket", str(first.address), "--workers", "1")
    # A dead socket and a lock that nobody holds are left: all of them want to clear the way.
    assert first.address.exists()
    racing = [
        subprocess.Popen(
            (*command, "--key", str(key_files["ed25519"])),
            env=environ_of(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        wait(lambda: sum(one.poll() is None for one in racing) == 1, "not one is left")
        (winner,) = (one for one in racing if one.poll() is None)
        wait(lambda: first.ssh_add("-l").returncode == 0, "nobody answers")
        losers = [one for one in racing if one is not winner]
        assert [one.returncode for one in losers] == [5, 5, 5]
        winner.send_signal(signal.SIGTERM)
        assert winner.wait(60) == 0
    finally:
        for one in racing:
            with suppress(ProcessLookupError):
                one.kill()
            one.communicate(timeout=60)
    assert not first.address.exists()


def test_a_lock_file_that_was_left_is_no_obstacle(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    left = tmp_path / "agent.sock.lock"
    left.write_text("left by an agent that was killed\n")
    service = start_service("--key", key_files["ed25519"], workers=1)
    assert service.ssh_add("-l").returncode == 0
    assert service.stop() == 0
    assert not left.exists()


def test_a_comment_that_two_keys_have_is_answered_with_both(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    keys = []
    for name in ("one", "two"):
        keys.append(tmp_path / name)
        command = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "same", "-f")
        subprocess.run((*command, str(keys[-1])), check=True, timeout=60)
    service = start_service("--key", keys[0], "--key", keys[1], workers=1)
    client = (sys.executable, "-m", "secretivex.cli.client", "sign", "--comment", "same")
    done = service.tool(*client, "--format", "json", stdin="data")
    assert done.returncode == 4
    candidates = json.loads(done.stdout)["error"]["details"]["candidates"]
    assert [one["comment"] for one in candidates] == ["same", "same"]
    for one in candidates:
        assert one["fingerprint"] in done.stderr


def test_reload_names_the_settings_that_wait_for_the_next_start(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    config = tmp_path / "agent.toml"
    store = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key_files["rsa"]}"]\n'
    config.write_text(store)
    service = start_service("--config", config)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    config.write_text(f"socket_backlog = 7\naudit_max_bytes = 5000\n{store}")
    done = service.tool(*AGENT, "reload", "--socket", str(service.address))
    assert done.returncode == 0, done.stderr
    assert "take effect at the next start: socket_backlog, audit_max_bytes" in done.stdout
