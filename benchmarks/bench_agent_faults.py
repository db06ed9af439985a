"""What goes wrong under load: how many requests fail, and how long until all is well again.

Fifty clients on standing connections ask for 1,000 signatures a second in an open loop, so a request
that had to wait for the agent's recovery is late rather than left out. Recovery runs from the fault,
or from the moment when its cause was gone, to the last failure or the end of the longest silence.
Needs root for the row about full disks and for what is inside the agent's processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentclient.client import AgentClient
from load import Agent, Setup, Shape, family, load_beside, make_keys, start
from ratio import Measured, add_options, bound, finish, not_measurable, with_note
from sshwire.agent.requests import LockRequest, UnlockRequest

CLIENTS = 50
SHAPE = Shape(CLIENTS, rate=1000, duration_s=60, warmup_s=0.5, timeout_ms=5000)
CALM_S = 1.0
"""Between the start of the load and the fault."""
AFTER_S = 3.0
"""From the end of the fault to that of the load; recovery is to be over long before."""
HELD_S = 0.5
"""How long a fault lasts that has an end."""
INSIDE = "BENCH_INSIDE_NAMESPACE"
DISK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Scene:
    """An agent under load and where its files are."""

    agent: Agent
    keys: Sequence[Path]
    folder: Path

    @property
    def workers(self) -> list[int]:
        """The processes that serve: children of the one that the supervisor makes them with."""
        pids = family(self.agent.process.pid)
        return [pid for pid in pids if _parent(pid) != self.agent.process.pid][1:]


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


Act = Callable[[Scene], float]
"""Makes the fault and answers the moment from which recovery counts, on the monotonic clock."""


def kill_worker(scene: Scene) -> float:
    """Without warning; its connections end with it."""
    begun = time.monotonic()
    os.kill(scene.workers[0], signal.SIGKILL)
    return begun


def reload_all(scene: Scene) -> float:
    """Configuration, policy and stores."""
    begun = time.monotonic()
    scene.agent.process.send_signal(signal.SIGHUP)
    return begun


def replace_key(scene: Scene) -> float:
    """Another key takes the place of a file that is served; the load signs with a third one."""
    with tempfile.TemporaryDirectory(dir=scene.folder) as folder:
        (fresh,) = make_keys(Path(folder))
        begun = time.monotonic()
        Path(f"{fresh}.pub").replace(f"{scene.keys[1]}.pub")
        fresh.replace(scene.keys[1])
    scene.agent.process.send_signal(signal.SIGHUP)
    return begun


def lock_and_unlock(scene: Scene) -> float:
    """Everything is refused until it is unlocked; recovery counts from there."""
    with AgentClient(scene.agent.address, timeout_s=20) as agent:
        agent.perform(LockRequest(b"secret"))
        time.sleep(HELD_S)
        agent.perform(UnlockRequest(b"secret"))
    return time.monotonic()


def fill_disk(scene: Scene) -> float:
    """The file system of the audit log is full for a while."""
    begun = time.monotonic()
    ballast = scene.folder / "disk" / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with suppress(OSError):
                while file.write(b"x" * size):
                    pass
    time.sleep(HELD_S)
    return begun


def fill_and_free_disk(scene: Scene) -> float:
    """The same, with the room given back; recovery counts from there."""
    fill_disk(scene)
    (scene.folder / "disk" / "ballast").unlink()
    return time.monotonic()


def exhaust_descriptors(scene: Scene) -> float:
    """Workers may open no more, and connections stand in line; recovery counts from their end."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in scene.workers}
    for pid, (_, most) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (60, most))
    held = []
    for _ in range(200):
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        with suppress(OSError):
            one.connect(scene.agent.address)
        held.append(one)
    time.sleep(HELD_S)
    for one in held:
        one.close()
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    return time.monotonic()


def jump_clock(scene: Scene) -> float:
    """Three days forward, then thirty back."""
    begun = time.monotonic()
    (scene.folder / "clock").write_text("+3d\n")
    time.sleep(HELD_S)
    (scene.folder / "clock").write_text("-30d\n")
    return begun


@dataclass(frozen=True)
class Fault:
    """One row: what is done, what of the configuration it needs, how many may fail."""

    name: str
    act: Act
    at_most_failed: int | None
    """None where refusing is what the agent is told to do meanwhile."""
    config: str = ""
    needs: str = ""
    note: str = ""


AUDIT = 'audit_requests = true\naudit_path = "{folder}/disk/audit"\naudit_on_full = "{rule}"\n'
FAULTS = (
    # A closed connection may be answered by one request that finds it gone.
    Fault("kill -9 a worker", kill_worker, CLIENTS),
    Fault("SIGHUP", reload_all, 0),
    Fault("key file replaced", replace_key, 0, note="the load signs with another key"),
    Fault("lock and unlock", lock_and_unlock, None, note="refused while locked, as it should be"),
    Fault(
        "audit log disk full, going on",
        fill_disk,
        0,
        config=AUDIT.replace("{rule}", "drop-with-counter"),
        needs="root",
    ),
    Fault(
        "audit log disk full, refusing",
        fill_and_free_disk,
        None,
        config=AUDIT.replace("{rule}", "refuse"),
        needs="root",
        note="refused while full, as it is told to; recovery from when there is room",
    ),
    Fault("no descriptors left", exhaust_descriptors, 0, note="recovery from when there are some"),
    Fault("clock jumps 3 days forward, 30 back", jump_clock, 0, needs="faketime"),
)


def suffer(fault: Fault) -> dict[str, Any]:
    """One run with a fresh agent."""
    with tempfile.TemporaryDirectory(prefix="fault-") as name, ExitStack() as stack:
        folder = Path(name)
        keys = make_keys(folder / "keys", count=3)
        environ = {}
        if fault.needs == "root":
            stack.enter_context(_small_disk(folder / "disk"))
        if fault.needs == "faketime":
            (folder / "clock").write_text("+0\n")
            environ = _faketime(folder)
        config = fault.config.replace("{folder}", name)
        agent = stack.enter_context(start("ours:2", Setup(keys, config=config, environ=environ)))
        with load_beside(agent, SHAPE, keys[0]) as result:
            time.sleep(SHAPE.warmup_s + CALM_S)
            from_s = fault.act(Scene(agent, keys, folder))
            time.sleep(AFTER_S)
    failed_ms = (result["last_failure_s"] - from_s) * 1000 if result["failed"] else 0.0
    silent_ms = min((result["gap_ended_s"] - from_s) * 1000, result["longest_gap_ms"])
    return {"failed": result["failed"], "recovery_ms": max(failed_ms, silent_ms, 0.0)}


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A small file system, with room for the log of the whole run."""
    folder.mkdir()
    options = f"size={DISK_BYTES},mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _library() -> str:
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else ""


def _faketime(folder: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": _library(),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def rows_of(fault: Fault, rounds: int) -> list[Measured]:
    """Failures and recovery of one fault."""
    lacking = (fault.needs == "root" and os.geteuid() != 0) or (
        fault.needs == "faketime" and not _library()
    )
    if lacking:
        return [not_measurable(fault.name, f"needs {fault.needs}")]
    runs = [suffer(fault) for _ in range(rounds)]
    failed = [float(run["failed"]) for run in runs]
    recovery = [run["recovery_ms"] for run in runs]
    rows = [
        bound(f"{fault.name}: failed requests", failed, at_most=fault.at_most_failed, unit=""),
        bound(f"{fault.name}: recovery", recovery, at_most=1000, unit="ms"),
    ]
    return [with_note(row, fault.note) for row in rows]


def main() -> None:
    """Every fault, in a mount namespace of our own where that is possible."""
    parser = argparse.ArgumentParser(description="Faults under load.")
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="faults whose names have this word")
    options = parser.parse_args()
    if os.geteuid() == 0 and INSIDE not in os.environ and shutil.which("unshare"):
        command = ["unshare", "--mount", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, INSIDE: "1"})  # noqa: S606 - no shell is wanted
    chosen = [fault for fault in FAULTS if options.only in fault.name]
    finish([row for fault in chosen for row in rows_of(fault, options.rounds)], options)


if __name__ == "__main__":
    main()
