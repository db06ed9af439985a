"""parallel-ssh and clush: twenty hosts at once with one agent."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.fixture
def host_file(hosts: Any, tmp_path: Path) -> Path:
    """A line for each host of the fleet."""
    path = tmp_path / "fleet"
    path.write_text("".join(f"{address}\n" for address in hosts.fleet))
    return path


def test_parallel_ssh_reaches_twenty_hosts_at_once(
    run_client: Run, hosts: Any, host_file: Path
) -> None:
    fan = ("-h", host_file, "-p", "20", "-t", "60", "-x", shlex.join(hosts.options))
    done = run_client("parallel-ssh", *fan, "--inline-stdout", "echo in")
    assert done.stdout.count("[SUCCESS]") == len(hosts.fleet)
    assert done.stdout.splitlines().count("in") == len(hosts.fleet)


def test_parallel_scp_copies_to_twenty_hosts(
    run_client: Run, hosts: Any, host_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").write_text("words\n")
    fan = ("-h", host_file, "-p", "20", "-t", "60", "-x", shlex.join(hosts.options))
    done = run_client("parallel-scp", *fan, tmp_path / "here", tmp_path / "there")
    assert done.stdout.count("[SUCCESS]") == len(hosts.fleet)
    assert (tmp_path / "there").read_text() == "words\n"


def test_clush_gathers_what_twenty_hosts_say(run_client: Run, hosts: Any) -> None:
    fan = ("-w", "127.0.0.[1-20]", "-f", "20", "-S", "-o", shlex.join(hosts.options))
    told = run_client("clush", *fan, "echo in").stdout.splitlines()
    assert sorted(told) == sorted(f"{address}: in" for address in hosts.fleet)
