"""What is reported, and how, of a configuration; made anew with every reload."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from secretivex.config import AgentConfig
from secretivex.metrics.queue_wait import QueueWaitTail, suggest_tail


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """What the configuration says of reporting, and what figures are compared with."""

    socket_path: Path
    metrics_listen: str | None
    metrics_every: int
    metrics_interval_ms: int
    metrics_json: bool
    metrics_output_path: Path | None
    max_signers: int
    max_connections: int
    processes: tuple[str, ...]
    """Names of the parts of the cells: each worker, the supervisor, the reporter."""
    started_unix_ms: int
    suggested: QueueWaitTail


def plan_of(config: AgentConfig, socket_path: Path, started_unix_ms: int) -> ReportPlan:
    """The plan for an agent that listens at `socket_path`."""
    workers = tuple(f"worker-{number}" for number in range(config.workers))
    names = ("agent", "", "") if config.workers == 1 else (*workers, "supervisor", "reporter")
    return ReportPlan(
        socket_path,
        config.metrics_listen,
        config.metrics_every,
        config.metrics_interval_ms,
        config.metrics_json,
        config.metrics_output_path,
        config.max_signers,
        config.max_connections,
        names,
        started_unix_ms,
        suggest_tail(
            config.profile,
            max_signers=config.max_signers,
            workers=config.workers,
            max_connections=config.max_connections,
        ),
    )


def encode_plan(plan: ReportPlan) -> bytes:
    """As bytes for the private channel."""
    return json.dumps(asdict(plan), default=str).encode()


def parse_plan(body: bytes) -> ReportPlan:
    """The inverse."""
    table = json.loads(body)
    output = table["metrics_output_path"]
    return ReportPlan(
        **{
            **table,
            "socket_path": Path(table["socket_path"]),
            "metrics_output_path": None if output is None else Path(output),
            "processes": tuple(table["processes"]),
            "suggested": QueueWaitTail(**table["suggested"]),
        }
    )
