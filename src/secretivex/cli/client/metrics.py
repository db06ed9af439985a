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
    wanted = ("captured_unix_ms", "started_unix_ms", "kind", "count", "queue_wait_histogram")
    if not isinstance(snapshot, dict) or not all(key in snapshot for key in wanted):
        raise SecretiveError("input_unreadable", "what was read is no metrics snapshot")
    return snapshot


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
        elif isinstance(value, dict):
            for key, part in value.items():
                yield f"{name}.{show_text(key)}: {show_text(str(part))}\n"
        elif name == "processes":
            for row in value:
                parts = " ".join(f"{key}={show_text(str(part))}" for key, part in row.items())
                yield f"process: {parts}\n"
        elif isinstance(value, list):
            yield f"{name}: {' '.join(map(str, value))}\n"
        elif value is not None:
            yield f"{name}: {show_text(str(value))}\n"


def _percentile_lines(name: str, percentiles: dict[str, Any]) -> Iterable[str]:
    for share, found in percentiles.items():
        if found is not None:
            sign, ns = (">=" if found["open_ended"] else "<="), found["ns"]
            yield f"{name}{share}_ns: {sign} {ns} ns ({ns / 1e6:.2f} ms)\n"
