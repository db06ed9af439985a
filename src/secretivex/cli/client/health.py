"""`secretive-client health`: does the agent answer, and is what it offers sound.

It works with any agent and says what the protocol shows: the keys and how long a list took. An agent
of ours tells of its stores, workers, policy and queues too, over its control socket.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clikit.table import show_text
from secretivex.cli.client.keys import ListedKey, filter_keys, listed_key
from secretivex.cli.client.session import ClientCall, client_options
from secretivex.errors import SecretiveError
from secretivex.server.report.control_socket import ask, control_path
from sshwire.errors import UnsupportedError, WireError


@dataclass(frozen=True, slots=True)
class Findings:
    """What the key list holds. A key type that we do not know is counted, not called invalid."""

    counts: dict[str, int]
    algorithms: dict[str, int]
    invalid: tuple[dict[str, str], ...]


@click.command("health")
@client_options(timeout_ms=10_000)
@click.option(
    "--filter", "text", metavar="TEXT", help="Only keys whose comment or fingerprint has TEXT."
)
@click.option(
    "--min-identities",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Unhealthy with fewer keys than this.",
)
def command(call: ClientCall, *, text: str | None, min_identities: int) -> None:
    """Check that the agent answers and that its keys are sound; exit 1 if they are not."""
    begun = time.monotonic()
    with call.agent() as agent:
        connected = time.monotonic()
        keys = [listed_key(identity) for identity in agent.identities()]
        listed = time.monotonic()
    findings = examine(filter_keys(keys, text) if text else keys)
    own = ask_own(control_path(Path(agent.address)), timeout_s=call.response_timeout_ms / 1000)
    problems = [*_problems(findings, min_identities), *(judge_own(own) if own else ())]
    data: dict[str, Any] = {
        "healthy": not problems,
        "problems": problems,
        "socket_path": agent.address,
        "connect_ms": round((connected - begun) * 1000, 3),
        "list_ms": round((listed - connected) * 1000, 3),
        **findings.counts,
        "algorithms": findings.algorithms,
        "invalid_keys": list(findings.invalid),
        "agent": own,
    }
    call.emit(
        data,
        lambda: _lines(data),
        found=SecretiveError("unhealthy", "; ".join(problems)) if problems else None,
    )


def ask_own(path: Path, *, timeout_s: float) -> dict[str, Any] | None:
    """What an agent of ours tells of itself; None for any other."""
    if not path.exists():
        return None
    try:
        return ask(path, "health", timeout_s=timeout_s)
    except SecretiveError as error:
        return {"unreachable": error.message}


def judge_own(own: dict[str, Any]) -> list[str]:
    """What is wrong by the agent's own account."""
    if "unreachable" in own:
        return [own["unreachable"]]
    problems = [
        f"store {store['store']}: {store['reason'] or 'it does not work'}"
        for store in own["stores"]
        if not store["is_well"]
    ]
    ready = sum(worker["ready"] for worker in own["workers"])
    if ready < own["workers_wanted"]:
        problems.append(f"{ready} of {own['workers_wanted']} workers serve")
    if own["reload"]["rejected"]:
        problems.append(f"the last reload was rejected: {own['reload']['rejected']}")
    audit = own.get("audit")
    if audit and audit["is_stuck"]:
        problems.append("the audit log cannot be written")
    return [*problems, *_judge_wait(own["metrics"])]


def _judge_wait(snapshot: dict[str, Any]) -> list[str]:
    """Whether requests wait longer for their turn than the settings let one expect."""
    suggested, p99 = snapshot["queue_wait_suggested"], snapshot["queue_wait_percentiles"]["p99"]
    if not suggested or not p99 or p99["ns"] <= QUEUE_WAIT_FACTOR * suggested["tail_ns"]:
        return []
    if sum(snapshot["queue_wait_histogram"]) < MIN_WAITS:
        return []
    return [f"requests wait {p99['ns'] / 1e6:.0f} ms for their turn to sign (p99)"]


MIN_WAITS = 100
"""Signatures below which the slowest one in a hundred says nothing."""

QUEUE_WAIT_FACTOR = 10
"""Times the wait that settings let one expect, from which on it is a fault rather than load."""


def examine(keys: Sequence[ListedKey]) -> Findings:
    """Count the keys and validate every blob."""
    blobs = Counter(key.blob for key in keys)
    prints = Counter(key.fingerprint for key in keys)
    comments = Counter(key.comment for key in keys)
    invalid = tuple(
        {"comment": key.comment, "fingerprint": key.fingerprint, "reason": reason}
        for key in keys
        if (reason := _fault(key.blob))
    )
    counts = {
        "total_identities": len(keys),
        "valid_identities": len(keys) - len(invalid),
        "invalid_key_blobs": len(invalid),
        "unique_key_blobs": len(blobs),
        "duplicate_key_blobs": len(keys) - len(blobs),
        "unique_fingerprints": len(prints),
        "duplicate_fingerprints": len(keys) - len(prints),
        "duplicate_comments": len(keys) - len(comments),
    }
    algorithms = Counter(key.algorithm for key in keys)
    return Findings(counts, dict(sorted(algorithms.items())), invalid)


def _fault(blob: bytes) -> str:
    from sshwire.pubkey import parse_public_key

    try:
        parse_public_key(blob)
    except UnsupportedError:
        return ""
    except WireError as error:
        return str(error)
    return ""


def _problems(findings: Findings, min_identities: int) -> list[str]:
    problems = []
    if findings.invalid:
        problems.append(f"{len(findings.invalid)} key blobs cannot be read")
    total = findings.counts["total_identities"]
    if total < min_identities:
        problems.append(f"{total} keys, and at least {min_identities} are wanted")
    return problems


def _lines(data: dict[str, Any]) -> Iterable[str]:
    for name, value in data.items():
        if value is not None and not isinstance(value, dict | list):
            yield f"{name}: {show_text(str(value).lower() if value in (True, False) else value)}\n"
    yield "algorithms:\n"
    for name, count in data["algorithms"].items():
        yield f"  {show_text(name)} {count}\n"
    yield from _own_lines(data["agent"])
    for key in data["invalid_keys"]:
        yield f"invalid: {show_text(key['fingerprint'])} {show_text(key['comment'])}: {key['reason']}\n"


def _own_lines(own: dict[str, Any] | None) -> Iterable[str]:
    if own is None or "unreachable" in own:
        return
    for store in own["stores"]:
        state = "well" if store["is_well"] else f"not well: {store['reason']}"
        name, keys = show_text(store["store"]), store["identities"]
        yield f"store {name}: {show_text(state)}, {keys} keys\n"
        if not store["is_well"] and store["remedy"]:
            yield f"  {show_text(store['remedy'])}\n"
    for worker in own["workers"]:
        state = "ready" if worker["ready"] else "not ready"
        yield f"worker {worker['number']}: {state}, pid {worker['pid']}\n"
    if audit := own.get("audit"):
        yield f"audit: {audit['records']} records, {audit['dropped']} dropped, head {audit['head']}\n"
    yield f"locked: {str(own['locked']).lower()}\n"
    yield f"policy_rules: {own['policy']['rules']}\n"
    memory = own.get("memory", {})
    if memory:
        state = "yes" if memory["locked"] else f"no, {memory['reason']}"
        yield f"memory_locked: {show_text(state)}\n"
    yield f"generation: {own['generation']}\n"
