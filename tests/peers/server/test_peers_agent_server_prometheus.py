"""The packaged dashboard and alerts, evaluated by Prometheus over what a running agent serves."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from ports import free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from agentclient.client import AgentClient
from agentclient.errors import AgentError
from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import SignRequest, encode_request
from sshwire.pubkey import parse_public_line

ROOT = Path(__file__).resolve().parents[3]
ALERTS = ROOT / "packaging" / "prometheus" / "alerts.yml"
BOARD = ROOT / "packaging" / "grafana" / "dashboard.json"
LEGEND = re.compile(r"\{\{(\w+)\}\}")
BURST = 12
"""Signatures of RSA asked for at once, where one thread makes them and a millisecond is patience."""

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]


def told(service: Any, verb: str) -> dict[str, Any]:
    return ask(control_path(service.address), verb, timeout_s=60)


def free_address() -> str:
    """A loopback address that no other test process uses, and a port that is free there."""
    pid = os.getpid()
    host = f"127.{64 + (pid >> 16) % 64}.{(pid >> 8) % 256}.{pid % 256}"
    return f"{host}:{free_port(host)}"


@dataclass(frozen=True)
class Scene:
    """An agent to which everything happens that the dashboard shows."""

    service: Any
    keys: Mapping[str, Path]
    config: Path
    address: str

    def blob(self, kind: str) -> bytes:
        line = self.keys[kind].with_suffix(".pub").read_text()
        return parse_public_line(line)[0].blob

    def act(self) -> None:
        """Signatures that are made, refused and too late; a client too many; two reloads."""
        with suppress(AgentError), AgentClient(str(self.service.address), timeout_s=60) as agent:
            agent.sign(self.blob("ed25519"), b"data")
        with suppress(OSError):
            self._burst()
        held = []
        with suppress(OSError):
            held = [self.service.connect() for _ in range(6)]
        for one in held:
            one.close()

    def _burst(self) -> None:
        request = encode_frame(encode_request(SignRequest(self.blob("rsa"), b"data", 4)))
        with self.service.connect() as connected:
            connected.sendall(request * BURST)
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(65_536):
                pass

    def refuse(self, folder: Path) -> None:
        """What a rule and a wrong configuration are for."""
        (folder / "message").write_text("not allowed")
        public = str(self.keys["ed25519"].with_suffix(".pub"))
        command = ("ssh-keygen", "-Y", "sign", "-n", "file", "-f", public, str(folder / "message"))
        assert self.service.tool(*command).returncode != 0
        good = self.config.read_text()
        self.config.write_text(good + "no_such_key = 1\n")
        told(self.service, "reload")
        self.config.write_text(good)
        told(self.service, "reload")


@pytest.fixture
def scene(start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait) -> Scene:
    config, address = tmp_path / "agent.toml", free_address()
    paths = ", ".join(f'"{key_files[kind]}"' for kind in ("ed25519", "rsa"))
    config.write_text(
        f'metrics_listen = "{address}"\nmax_connections = 3\n'
        "max_signers = 1\nsign_timeout_ms = 1\n"
        f'audit_requests = true\naudit_path = "{tmp_path}/audit.jsonl"\n'
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = [{paths}]\n'
        '[policy]\nallow_comments = ["ed25519", "rsa"]\n'
        '[[policy.rules]]\neffect = "deny"\nkinds = ["sshsig"]\n'
    )
    service = start_service("--config", config)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: all(row["ready"] for row in told(service, "health")["workers"]), "not ready")
    return Scene(service, key_files, config, address)


# Dashboard.


@contextmanager
def prometheus(program: str, folder: Path, scraped: str) -> Iterator[str]:
    """The address of a server that scrapes an agent four times a second and knows the alerts."""
    config = folder / "prometheus.yml"
    job = {"job_name": "secretivex", "static_configs": [{"targets": [scraped]}]}
    every = {"scrape_interval": "250ms", "evaluation_interval": "250ms"}
    settings = {"global": every, "rule_files": [str(ALERTS)], "scrape_configs": [job]}
    with config.open("w") as file:
        YAML(typ="safe").dump(settings, file)
    address = free_address()
    command = [program, f"--config.file={config}", f"--web.listen-address={address}"]
    command += [f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def fetch(address: str, path: str, **parameters: str) -> Any:
    """`data` of an answer of Prometheus's HTTP API; None while it does not answer."""
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}?{query}", timeout=60) as page:
            return json.load(page)["data"]
    except OSError:
        return None


def panels() -> list[tuple[str, str]]:
    """Every query of the dashboard, its variables filled in as Grafana would, and its legend."""
    board = json.loads(BOARD.read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    filled = [
        target["expr"].replace("$__rate_interval", "10s").replace("$__range", "1m")
        for target in targets
    ]
    assert not any("$" in expression for expression in filled)
    return list(zip(filled, (target["legendFormat"] for target in targets), strict=True))


def shows(address: str, expression: str, legend: str) -> bool:
    """Whether a query gives figures, each with the labels that its legend names."""
    found = fetch(address, "query", query=expression)
    if found is None or not found["result"]:
        return False
    return all(
        series["value"][1] != "NaN" and set(LEGEND.findall(legend)) <= set(series["metric"])
        for series in found["result"]
    )


def test_every_panel_of_the_dashboard_shows_figures_of_a_real_agent(
    scene: Scene, tmp_path: Path, wait: Wait, require_program: Callable[[str], str]
) -> None:
    missing = panels()
    assert len(missing) > 20
    with prometheus(require_program("prometheus"), tmp_path, scene.address) as address:
        scene.refuse(tmp_path)

        def all_show() -> bool:
            scene.act()
            missing[:] = [panel for panel in missing if not shows(address, *panel)]
            return not missing

        with suppress(AssertionError):
            wait(all_show, "")
        assert missing == [], (tmp_path / "prometheus.log").read_text()
        (group,) = fetch(address, "rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
        assert len(group["rules"]) == len(rules())


# Alerts.


def rules() -> dict[str, Any]:
    loaded = YAML(typ="safe").load(ALERTS.read_text())["groups"][0]["rules"]
    return {rule["alert"]: rule for rule in loaded}


@dataclass(frozen=True)
class Trouble:
    """The one series that changes, how, and what the alert says then; steps are minutes."""

    series: str
    values: str
    labels: Mapping[str, str] = field(default_factory=dict)
    after: str = "30m"


TROUBLES = {
    "SecretivexStoreDown": Trouble(
        'secretivex_store_well{store="file"}', "1x10 0x50", {"store": "file"}
    ),
    "SecretivexSignFailures": Trouble(
        'secretivex_requests_total{request="sign",outcome="sign_timeout"}', "0+10x60"
    ),
    "SecretivexQueueWait": Trouble('secretivex_queue_wait_seconds_bucket{le="+Inf"}', "0+10x60"),
    "SecretivexTimeouts": Trouble(
        'secretivex_requests_total{request="sign",outcome="sign_timeout"}',
        "0x27 1x30",
        {"request": "sign", "outcome": "sign_timeout"},
    ),
    "SecretivexConnectionsRejected": Trouble(
        'secretivex_connections_rejected_total{reason="max_connections"}',
        "0x27 1x30",
        {"reason": "max_connections"},
    ),
    "SecretivexWorkersLost": Trouble("secretivex_workers_lost_total", "0+1x60"),
    "SecretivexReloadRejected": Trouble(
        'secretivex_reloads_total{outcome="rejected"}', "0x20 1x40", {"outcome": "rejected"}
    ),
    "SecretivexMemoryRises": Trouble(
        'secretivex_process_resident_bytes{process="supervisor"}',
        "0+100000x800",
        {"process": "supervisor"},
        after="13h",
    ),
    "SecretivexAuditStuck": Trouble("secretivex_audit_stuck", "0x10 1x50"),
    "SecretivexAuditDropped": Trouble("secretivex_audit_dropped_total", "0x20 1x40"),
}


def series_of(text: str) -> dict[str, str]:
    """Every series that an agent served, as PromQL writes it, with values that do not change."""
    return {
        name_of(sample.name, sample.labels): f"{sample.value:g}x60"
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def name_of(name: str, labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name


def case_of(series: Mapping[str, str], alert: str, trouble: Trouble | None) -> dict[str, Any]:
    """One test of promtool's: the alert fires with its labels and words, or, without trouble, not."""
    expected = []
    values = dict(series)
    if trouble is not None:
        assert trouble.series in values, f"the agent does not tell {trouble.series}"
        values[trouble.series] = trouble.values
        rule = rules()[alert]
        summary = rule["annotations"]["summary"]
        for name, value in trouble.labels.items():
            summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
        labels = {**rule["labels"], **trouble.labels}
        expected = [{"exp_labels": labels, "exp_annotations": {"summary": summary}}]
    after = "30m" if trouble is None else trouble.after
    return {
        "interval": "1m",
        "input_series": [{"series": one, "values": how} for one, how in values.items()],
        "alert_rule_test": [{"eval_time": after, "alertname": alert, "exp_alerts": expected}],
    }


def test_each_alert_fires_for_its_trouble_and_for_nothing_that_an_agent_at_rest_tells(
    scene: Scene, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    assert set(TROUBLES) == set(rules())
    series = series_of(told(scene.service, "openmetrics")["openmetrics"])
    cases = [case_of(series, alert, trouble) for alert, trouble in TROUBLES.items()]
    cases += [case_of(series, alert, None) for alert in TROUBLES]
    document = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "tests.yml").write_text(json.dumps(document))
    promtool = require_program("promtool")
    for arguments in (["check", "rules", str(ALERTS)], ["test", "rules", "tests.yml"]):
        result = subprocess.run(
            [promtool, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
