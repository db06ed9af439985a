"""`fleetmdm collect`: gather device documents from many hosts over SSH."""

from __future__ import annotations

import asyncio
import getpass
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clikit.table import render_table
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone: asyncssh is heavy, and `--help` needs none of it.
    from fleetmdm.collect.plan import Pace, Target
    from fleetmdm.collect.run import HostResult
    from fleetmdm.collect.session import Access
    from fleetmdm.device import Device
    from fleetmdm.store.port import FleetStore

KEEP_EVERY = 50
"""Documents are stored in groups of this size, so that an interruption loses few."""


@click.command()
@click.option(
    "--hosts", type=click.Path(path_type=Path), metavar="FILE", help="YAML list of hosts."
)
@click.option("--agent", metavar="SOCKET", help="SSH agent to log in with [SSH_AUTH_SOCK].")
@click.option(
    "--known-hosts",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Host keys to trust [~/.ssh/known_hosts].",
)
@click.option("--user", metavar="NAME", help="Who logs in where FILE names nobody [you].")
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Hosts at a time.")
@click.option("--timeout", type=click.FloatRange(min=0.1), help="Seconds for one host in all.")
@click.option("--retries", type=click.IntRange(0, 100), help="Tries after a lost connection.")
@click.option("--tag", hidden=True)
@click.option("--ansible-inventory", hidden=True)
@fleet_options()
def command(
    call: FleetCall,
    hosts: Path | None,
    agent: str | None,
    known_hosts: Path | None,
    user: str | None,
    **flags: Any,
) -> None:
    """Run the Linux exporter on every host of FILE over SSH and take in what it prints.

    Logs in with the keys of the agent alone and verifies host keys. Nothing is left on a host.
    Exits 1 when a host gave no document; those of the others are kept.
    """
    _refuse_what_is_not_there(flags)
    targets = _plan(hosts, user)
    access = _access(call, agent, known_hosts)
    pace = _pace(call, flags)
    with call.open_store() as store, call.progress("hosts", len(targets)) as progress:
        work = _gather(call, targets, access, pace, store, progress.advance)
        results, counts = asyncio.run(work)
    results.sort(key=lambda each: each.host)
    data = {"hosts": [_row(each) for each in results], "documents": counts}
    call.emit(data, lambda: _table(call, results), found=_failure(results))


def _refuse_what_is_not_there(flags: dict[str, Any]) -> None:
    for name, option in (("tag", "--tag"), ("ansible_inventory", "--ansible-inventory")):
        if flags.pop(name) is not None:
            raise FleetError(
                "usage", f"collect {option} is not supported yet", hint="list hosts in --hosts FILE"
            )


def _plan(path: Path | None, user: str | None) -> Sequence[Target]:
    from fleetmdm.collect.hosts import parse_hosts
    from fleetmdm.collect.plan import plan_collection

    if path is None:
        raise FleetError(
            "usage", "--hosts is required", hint="name a YAML file with a list of hosts"
        )
    hosts = parse_hosts(_read(path, "hosts file"), name=str(path))
    return plan_collection(hosts, user=user or getpass.getuser())


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such {what}: {path}") from error
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error


def _access(call: FleetCall, agent: str | None, known_hosts: Path | None) -> Access:
    from fleetmdm.cli.inventory.reading import limits_in_force
    from fleetmdm.collect.session import Access, parse_known_hosts
    from fleetmdm.exporters.bundle import stand_alone

    address = agent or call.environ.get("SSH_AUTH_SOCK", "")
    if not address:
        raise FleetError(
            "agent_unavailable",
            "no SSH agent is named",
            hint="give --agent SOCKET or set SSH_AUTH_SOCK",
        )
    home = Path(call.environ.get("HOME", "~")).expanduser()
    path = known_hosts or home / ".ssh" / "known_hosts"
    trusted = parse_known_hosts(_read(path, "known_hosts file"), name=str(path))
    return Access(
        agent=address,
        known_hosts=trusted,
        program=stand_alone("linux").encode(),
        limits=limits_in_force(call),
    )


def _pace(call: FleetCall, flags: dict[str, Any]) -> Pace:
    from fleetmdm.collect.plan import Pace

    return Pace(
        concurrency=call.setting("collect.concurrency", flags["concurrency"]),
        timeout_s=call.setting("collect.timeout_s", flags["timeout"]),
        retries=call.setting("collect.retries", flags["retries"]),
    )


async def _gather(
    call: FleetCall,
    targets: Sequence[Target],
    access: Access,
    pace: Pace,
    store: FleetStore,
    advance: Callable[[], None],
) -> tuple[list[HostResult], dict[str, int]]:
    """Every host's result; documents go into the store as they come, also when interrupted."""
    from fleetmdm.collect.run import collect
    from fleetmdm.collect.session import require_agent

    await require_agent(access.agent)
    results: list[HostResult] = []
    keeper = _Keeper(call, store)
    try:
        async with aclosing(collect(targets, access, pace, jitter=random.random)) as stream:
            async for result in stream:
                results.append(result)
                advance()
                if result.device is not None:
                    keeper.add(result.device)
    finally:
        keeper.flush()
    return results, keeper.counts


class _Keeper:
    """Puts devices into the store in groups and adds up what became of them."""

    def __init__(self, call: FleetCall, store: FleetStore) -> None:
        self._call = call
        self._store = store
        self._waiting: list[Device] = []
        self.counts = dict.fromkeys(("received", "added", "changed", "unchanged", "older"), 0)

    def add(self, device: Device) -> None:
        """Take one more device."""
        self._waiting.append(device)
        if len(self._waiting) >= KEEP_EVERY:
            self.flush()

    def flush(self) -> None:
        """Store what waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            counts = self._store.put_devices(waiting, now=self._call.now())
            for name in self.counts:
                self.counts[name] += getattr(counts, name)


def _row(result: HostResult) -> dict[str, Any]:
    return {
        "host": result.host,
        "ok": result.ok,
        "device_id": result.device.device_id if result.device else None,
        "reason": result.reason,
        "message": result.message,
        "attempts": result.attempts,
        "seconds": result.seconds,
    }


def _table(call: FleetCall, results: Sequence[HostResult]) -> list[str]:
    headers = ("host", "result", "tries", "seconds", "message")
    rows = [
        (each.host, each.reason or "ok", each.attempts, f"{each.seconds:.1f}", each.message)
        for each in results
    ]
    return [render_table(headers, rows, width=call.width)]


def _failure(results: Sequence[HostResult]) -> FleetError | None:
    failed = [each for each in results if not each.ok]
    if not failed:
        return None
    first = failed[0]
    return FleetError(
        "host_unreachable",
        f"{len(failed)} of {len(results)} hosts gave no document; "
        f"{first.host}: {first.reason}: {first.message}",
        hint="the others were kept; run it again for those that failed",
        details={"failed": {each.host: each.reason for each in failed}},
    )
