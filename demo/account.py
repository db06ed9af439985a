"""The demo's account: what was done, whether it was really so, and how long it took."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class DemoFailedError(Exception):
    """A claim of the demo that did not hold."""


@dataclass
class Account:
    """Prints one line a step with its seconds; a claim that fails ends the demo."""

    started: float = field(default_factory=time.monotonic)
    number: int = 0

    @contextmanager
    def step(self, title: str) -> Iterator[list[str]]:
        """Time a step; what the block puts into the list is printed below its line."""
        self.number += 1
        begun = time.monotonic()
        remarks: list[str] = []
        yield remarks
        print(f"{self.number:2}. {title:<66} {time.monotonic() - begun:6.2f} s")
        for remark in remarks:
            for line in remark.rstrip().splitlines():
                print(f"      {line}")

    def total_s(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started


def claim(held: object, what: str) -> None:
    """End the demo unless `held`."""
    if not held:
        raise DemoFailedError(what)


def run(
    *argv: str | Path,
    expect: Sequence[int] = (0,),
    stdin: bytes = b"",
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout_s: float = 60,
) -> str:
    """Run a program to its end and answer its stdout; any other exit status ends the demo."""
    done = subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        timeout=timeout_s,
    )
    if done.returncode not in expect:
        shown = " ".join(str(word) for word in argv)
        words = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise DemoFailedError(
            f"`{shown}` exited with {done.returncode}, expected {list(expect)}:\n{words}"
        )
    return done.stdout.decode()
