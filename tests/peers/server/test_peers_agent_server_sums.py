"""Figures of a running agent, as Prometheus reads them: exact after known requests, never falling."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agentclient.client import AgentClient
from agentclient.errors import AgentError
from sshwire.pubkey import parse_public_line

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Figures = dict[tuple[str, ...], float]

DENYING = 'no "p384"\\ ever/\u00e9'
ASKING = "ask first"


def figures(address: Path) -> Figures:
    """Every sample that the agent's page has, by its name and the values of its labels."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(60)
        connected.connect(str(address))
        connected.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connected.recv(65_536), b""))
    families = text_string_to_metric_families(answer.partition(b"\r\n\r\n")[2].decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def fell(before: Figures, after: Figures) -> list[tuple[str, ...]]:
    """What may never fall, and did."""
    rising = ("_total", "_count", "_sum", "_bucket")
    return [
        series
        for series, value in before.items()
        if series[0].endswith(rising) and after.get(series, -1) < value
    ]


def blob_of(key: Path) -> bytes:
    return parse_public_line(key.with_name(key.name + ".pub").read_text())[0].blob


def sign(service: Any, blob: bytes, times: int) -> int:
    """How many signatures were made, each asked for over a connection of its own."""
    made = 0
    for _ in range(times):
        with suppress(AgentError), AgentClient(str(service.address), timeout_s=60) as agent:
            agent.sign(blob, b"data")
            made += 1
    return made


def write_config(folder: Path, keys: Mapping[str, Path]) -> Path:
    """Two stores, a key that a rule refuses, and a person who likes all but one key."""
    person = folder / "person"
    person.write_text('#!/bin/sh\ntest "$SECRETIVE_CONFIRM_KEY_COMMENT" != rsa\n')
    person.chmod(0o700)
    stores = [[keys[kind] for kind in ("ed25519", "rsa", "p384")], [keys["p521"]]]
    tables = "".join(
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = {list(map(str, paths))}\n'
        for paths in stores
    )
    config = folder / "agent.toml"
    config.write_text(
        f'metrics_listen = "{folder}/m"\naudit_requests = true\naudit_path = "{folder}/log"\n'
        f'{tables}[policy]\nconfirm_command = ["{person}"]\n'
        f'[[policy.rules]]\nname = \'{DENYING}\'\neffect = "deny"\ncomments = ["p384"]\n'
        f'[[policy.rules]]\nname = "{ASKING}"\neffect = "confirm"\ncomments = ["rsa"]\n'
    )
    return config


EXPECTED = {
    ("secretivex_requests_total", "ok", "sign"): 9,
    ("secretivex_requests_total", "policy_denied", "sign"): 3,
    ("secretivex_requests_total", "confirm_denied", "sign"): 2,
    ("secretivex_requests_total", "key_not_found", "sign"): 1,
    ("secretivex_requests_total", "ok", "list"): 6,
    ("secretivex_signatures_total", "file"): 5,
    ("secretivex_signatures_total", "file-2"): 4,
    ("secretivex_store_requests_total", "ok", "file"): 5,
    ("secretivex_store_requests_total", "ok", "file-2"): 4,
    ("secretivex_store_sign_seconds_count", "file-2"): 4,
    ("secretivex_policy_decisions_total", "denied", DENYING.replace("/", "|")): 3,
    ("secretivex_policy_decisions_total", "no_deny_matches", ASKING): 2,
    ("secretivex_policy_decisions_total", "no_deny_matches", "none"): 9,
    ("secretivex_confirmations_total", "allowed"): 9,
    ("secretivex_confirmations_total", "confirm_denied"): 2,
    ("secretivex_sign_seconds_count",): 9,
    ("secretivex_queue_wait_seconds_count",): 9,
    ("secretivex_queue_wait_seconds_bucket", "+Inf"): 9,
    ("secretivex_store_well", "file-2"): 1,
    ("secretivex_store_keys", "file"): 3,
    ("secretivex_keys",): 4,
    ("secretivex_audit_stuck",): 0,
}


@pytest.mark.parametrize("workers", [1, 2])
def test_sums_are_exact_and_outlive_workers_and_reloads(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    where = tmp_path / "m"
    service = start_service("--config", write_config(tmp_path, key_files), workers=workers)
    wait(lambda: is_listening(where), "metrics are not served")
    begun = figures(where)

    def count_since(series: tuple[str, ...]) -> float:
        now = figures(where).get(series, 0)
        return now - begun.get(series, 0) if series[0].endswith("_total") else now

    def are_exact() -> bool:
        return {series: count_since(series) for series in EXPECTED} == EXPECTED

    assert sign(service, blob_of(key_files["ed25519"]), 5) == 5
    assert sign(service, blob_of(key_files["p521"]), 4) == 4
    assert sign(service, blob_of(key_files["p384"]), 3) == 0
    assert sign(service, blob_of(key_files["rsa"]), 2) == 0
    assert sign(service, blob_of(key_files["ed25519"])[:-1] + b"?", 1) == 0
    for _ in range(6):
        with AgentClient(str(service.address), timeout_s=60) as agent:
            agent.identities()
    wait(are_exact, "the sums are not exact")
    wait(lambda: count_since(("secretivex_audit_records_total",)) >= 21, "records are not counted")
    before = figures(where)
    assert not [series for series in before if "" in series]
    if workers > 1:
        os.kill(service.workers[0], signal.SIGKILL)
        wait(lambda: count_since(("secretivex_workers_lost_total",)) == 1, "no worker lost")
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: count_since(("secretivex_reloads_total", "ok")) == 1, "no reload")
    assert fell(before, figures(where)) == []
    assert sign(service, blob_of(key_files["p521"]), 1) == 1
    series = "secretivex_signatures_total", "file-2"
    wait(lambda: count_since(series) == 5, "counting does not go on")
    assert service.stop() == 0
