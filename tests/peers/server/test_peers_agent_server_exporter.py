"""The textfile of a running agent, through Prometheus's node_exporter."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from listening import is_listening
from prometheus_client.parser import text_string_to_metric_families

from agentclient.client import AgentClient
from secretivex.server.report.control_socket import control_path

UMASK = ("/bin/sh", "-c", 'umask 077 && exec "$@"', "sh")
"""As the packaged units have it: the textfile is for another user's program all the same."""

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def figures(text: str) -> Figures:
    return {
        (sample.name, tuple(sorted(labels_of(sample.labels)))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels_of(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A bound is a number, which node_exporter writes in its own way."""
    for name, value in labels.items():
        yield name, str(float(value)) if name == "le" else value


@contextmanager
def exporter(program: str, folder: Path) -> Iterator[str]:
    """The address of a node_exporter that knows nothing but textfiles."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [program, "--collector.disable-defaults", "--collector.textfile"]
    command += [f"--collector.textfile.directory={folder}", f"--web.listen-address={address}"]
    with (folder.parent / "exporter.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.kill()
        process.wait()


def scrape(address: str) -> Figures:
    """What is served; {} while nothing is."""
    with suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as page:
        return figures(page.read().decode())
    return {}


def test_node_exporter_serves_what_the_agent_wrote(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    require_program: Callable[[str], str],
) -> None:
    program = require_program("prometheus-node-exporter")
    folder = tmp_path / "textfiles"
    folder.mkdir()
    text = folder / "agent.prom"
    service = start_service("--key", key_files["ed25519"], "--metrics-output", text, before=UMASK)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    with AgentClient(str(service.address), timeout_s=60) as agent:
        blob = agent.identities()[0].blob
        for _ in range(7):
            agent.sign(blob, b"data")
    service.process.send_signal(signal.SIGUSR2)
    wait(text.exists, "no textfile")
    assert text.stat().st_mode & 0o777 == 0o644
    with exporter(program, folder) as address:
        wait(lambda: bool(scrape(address)), "node_exporter does not answer")
        # While the file is replaced, it is there and whole.
        for _ in range(20):
            service.process.send_signal(signal.SIGUSR2)
            found = scrape(address)
            assert found["node_textfile_scrape_error", ()] == 0
            assert found["secretivex_signatures_total", (("store", "file"),)] == 7
        assert service.stop() == 0
        served = scrape(address)
    wrote = figures(text.read_text())
    assert len(wrote) > 100
    assert {key: served.get(key) for key in wrote} == wrote
    assert [path.name for path in folder.iterdir()] == [text.name]
