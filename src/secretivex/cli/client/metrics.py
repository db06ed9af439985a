"""`secretive-client metrics`: what the agent counts, and whether requests wait too long.

Rule for editors: a bound that cannot be judged, for want of figures, is a miss with that reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from clikit.table import show_text
from secretivex.cli.client.session import ClientCall, client_options, find_socket
from secretivex.errors import SecretiveError
from secretivex.metrics.queue_wait import PROFILE_TAILS
from secretivex.metrics.table import BOUNDS_NS
from secretivex.server.report.control_socket import ask, control_path

_SHARES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


@click.command("metrics")
@client_options(timeout_ms=10_000)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    help="Read a snapshot from this file instead of asking the agent.",
)
@click.option("--reset", is_flag=True, help="Begin a new window after this snapshot.")
@click.option(
    "--max-age-ms", type=click.IntRange(min=0), help="Exit 1 if the snapshot is older than this."
)
@click.option(
    "--queue-wait-tail-profile",
    type=click.Choice(tuple(PROFILE_TAILS)),
    help="Exit 1 if requests wait longer than this profile allows.",
)
@click.option(
    "--queue-wait-tail-ns", type=click.IntRange(min=1), help="The wait that few may exceed."
)
@click.option(
    "--queue-wait-tail-max-ratio",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="The share that may exceed it.",
)
def command(
    call: ClientCall,
    *,
    metrics_file: Path | None,
    reset: bool,
    max_age_ms: int | None,
    **tail: Any,
) -> None:
    """Print the agent's figures; exit 1 where a bound is not kept."""
    if reset and metrics_file is not None:
        raise SecretiveError("usage", "--reset asks the agent; it goes with no --metrics-file")
    snapshot = _read(call, metrics_file, reset=reset)
    now_ms = time.time_ns() // 1_000_000
    snapshot["captured_age_ms"] = max(0, now_ms - int(snapshot["captured_unix_ms"]))
    snapshot["agent_uptime_ms"] = max(0, now_ms - int(snapshot["started_unix_ms"]))
    reasons = [*_judge_age(snapshot, max_age_ms), *_judge_tail(snapshot, *_bound_of(tail))]
    found = SecretiveError("unhealthy", "; ".join(reasons)) if reasons else None
    call.emit(snapshot, lambda: _lines(snapshot), found=found)


def _read(call: ClientCall, path: Path | None, *, reset: bool) -> dict[str, Any]:
    snapshot: Any
    if path is None:
        control = control_path(Path(find_socket(call)))
        snapshot = ask(
            control, "reset" if reset else "metrics", timeout_s=call.response_timeout_ms / 1000
        )
    else:
        try:
            snapshot = json.loads(path.read_bytes())
        except FileNotFoundError as error:
            raise SecretiveError("input_not_found", f"there is no file {path}") from error
        except (OSError, ValueError) as error:
            raise SecretiveError(
                "input_unreadable", f"{path} holds no snapshot: {error}"
            ) from error
    if not _is_snapshot(snapshot):
        raise SecretiveError("input_unreadable", "what was read is no metrics snapshot")
    return dict(snapshot)


def _is_snapshot(found: Any) -> bool:
    """Whether everything is there that is judged or computed with, in the form it is used in."""
    if not isinstance(found, dict) or "kind" not in found:
        return False
    numbers = [found.get(key) for key in ("captured_unix_ms", "started_unix_ms", "count")]
    counts = found.get("queue_wait_histogram")
    if not isinstance(counts, list) or len(counts) != len(BOUNDS_NS) + 1:
        return False
    tables = [value for key, value in found.items() if key.endswith("_percentiles")]
    if not all(isinstance(table, dict) for table in tables):
        return False
    shares = [share for table in tables for share in table.values() if share is not None]
    if not all(isinstance(share, dict) and "open_ended" in share for share in shares):
        return False
    numbers += [*counts, *(share.get("ns") for share in shares)]
    rows = found.get("processes", [])
    return all(type(number) is int for number in numbers) and (
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    )


def _judge_age(snapshot: dict[str, Any], max_age_ms: int | None) -> list[str]:
    age_ms = snapshot["captured_age_ms"]
    if max_age_ms is None or age_ms <= max_age_ms:
        return []
    return [f"the snapshot is {age_ms} ms old, and {max_age_ms} are allowed"]


def _bound_of(tail: dict[str, Any]) -> tuple[int, float] | tuple[None, None]:
    """The bound that options ask for: single figures win over the profile's."""
    named = tail["queue_wait_tail_profile"]
    profile = PROFILE_TAILS[named or "balanced"]
    ns, ratio = tail["queue_wait_tail_ns"], tail["queue_wait_tail_max_ratio"]
    if named is None and ns is None and ratio is None:
        return None, None
    return ns or profile.ns, ratio or profile.ratio


def _judge_tail(snapshot: dict[str, Any], ns: int | None, ratio: float | None) -> list[str]:
    if ns is None or ratio is None:
        return []
    counts = snapshot["queue_wait_histogram"]
    total = sum(counts)
    if not total:
        return ["nothing was signed, so that no wait can be judged"]
    share = 1 - ratio
    percentiles = snapshot.get("queue_wait_percentiles") or {}
    for name, at in _SHARES.items():
        known = percentiles.get(name)
        if at >= share and known is not None:
            if known["ns"] <= ns:
                return []
            return [f"queue wait {name} is {known['ns']} ns, and {ns} are allowed"]
    above = sum(
        count for bound, count in zip((*BOUNDS_NS, float("inf")), counts, strict=True) if bound > ns
    )
    if above / total <= ratio:
        return []
    return [f"{above / total:.4f} of the requests waited over {ns} ns, and {ratio} may"]


def _lines(snapshot: dict[str, Any]) -> Iterable[str]:
    for name, value in snapshot.items():
        if name.endswith("_percentiles"):
            yield from _percentile_lines(name.removesuffix("percentiles"), value)
        elif name == "processes":
            for row in value:
                parts = " ".join(f"{key}={show_text(str(part))}" for key, part in row.items())
                yield f"process: {parts}\n"
        else:
            yield from _value_lines(name, value)


def _value_lines(name: str, value: Any) -> Iterable[str]:
    """`name: value`, and of what is inside a table `name.key: value`."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _value_lines(f"{name}.{show_text(str(key))}", part)
    elif isinstance(value, list):
        yield f"{name}: {show_text(' '.join(map(str, value)))}\n"
    elif value is not None:
        word = str(value).lower() if isinstance(value, bool) else str(value)
        yield f"{name}: {show_text(word)}\n"


def _percentile_lines(name: str, percentiles: dict[str, Any]) -> Iterable[str]:
    for share, found in percentiles.items():
        if found is not None:
            sign, ns = (">=" if found["open_ended"] else "<="), found["ns"]
            yield f"{name}{share}_ns: {sign} {ns} ns ({ns / 1e6:.2f} ms)\n"
