"""Memory and descriptors of the agent's processes: what a soak test watches.

An agent that is not dumpable hides its /proc from its own user, so ours tells them itself; others
are looked at from outside, by the number of their process. Rule for editors: what cannot be read is
an error that says so, never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from secretivex.bench.soak import Probe, Vitals
from secretivex.errors import SecretiveError

PROC = Path("/proc")


def watch_processes(pids: Sequence[int]) -> Probe:
    """Look at these processes and at those they made since, in /proc."""

    def probe() -> Sequence[Vitals]:
        seen = [_look(pid, may_end=pid not in pids) for pid in _families(pids)]
        return [one for one in seen if one is not None]

    return probe


def _families(pids: Sequence[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    members = list(pids)
    for member in members:
        members += children.get(member, [])
    return members


def _runs(pid: int) -> bool:
    """Whether a process is there and is not one that only waits to be asked how it ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def _look(pid: int, *, may_end: bool) -> Vitals | None:
    """None for one that ended before it was looked at, where it may: a helper lives for a moment."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
        descriptors = sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
    except OSError as error:
        if may_end and not _runs(pid):
            return None
        raise SecretiveError(
            "metrics_unavailable",
            f"cannot look at process {pid}: {error.strerror}",
            hint="run it as the agent's user or root; an agent that is not dumpable tells root only",
        ) from error
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")]
    return Vitals(pid, sizes[0] if sizes else 0, descriptors)
