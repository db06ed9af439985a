"""Stores behind the whole agent: OpenSSH's tools as clients, tokens and TPMs below."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentclient.client import AgentClient
from agentclient.errors import AgentError
from secretivex.server.report.control_socket import ask, control_path

ROOT = Path(__file__).resolve().parents[3]

Wait = Callable[[Callable[[], object], str], None]

FAR_FROM_STUCK_S = 0.5
"""Whoever is held up by a key that sleeps waits for seconds; a busy machine takes some of this."""


def pkcs11_table(token: Any, **more: Any) -> str:
    rows = {
        "module_path": token.loaded or token.module,
        "token_label": token.label,
        "pin_env": "TOKEN_PIN",
        **more,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in rows.items()]
    return "\n".join(['[[stores]]\ntype = "pkcs11"', *lines, ""])


def file_table(path: Path) -> str:
    return f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{path}"]\n'


def make_file_key(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "file", "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def delay_of_file_keys(agent: Any, slow: bytes, release: Callable[[], object]) -> list[float]:
    """What a client of a file key waits while eight others wait for a key that does not get on."""
    quick = agent.find("file")
    stuck = [threading.Thread(target=agent.sign, args=(slow,)) for _ in range(8)]
    for thread in stuck:
        thread.start()
    time.sleep(0.3)
    waits = []
    for turn in range(50):
        begun = time.perf_counter()
        agent.sign(quick, f"{turn}".encode())
        waits.append(time.perf_counter() - begun)
    assert any(thread.is_alive() for thread in stuck), "nothing was slow"
    release()
    for thread in stuck:
        thread.join(60)
        assert not thread.is_alive()
    return waits


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_key_that_sleeps_does_not_delay_file_keys(
    start_agent: Any, shimmed: Any, tmp_path: Path, workers: str, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "token", "01")
    key = make_file_key(tmp_path / "key")
    config = file_table(key) + pkcs11_table(shimmed)
    environ = {**shimmed.environ, "TOKEN_PIN": shimmed.pin}
    agent = start_agent(config, environ, "--workers", workers)
    wait(lambda: len(agent.identities()) == 2, "the token's key is not listed")
    orders = tmp_path / "orders"
    orders.write_text("sleep 25")
    waits = delay_of_file_keys(agent, agent.find("token"), orders.unlink)
    assert sorted(waits)[len(waits) // 2] < FAR_FROM_STUCK_S, waits


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.long), "2"])
def test_a_tpm_that_takes_long_does_not_delay_file_keys(
    start_agent: Any, simulator: Any, tmp_path: Path, workers: str, wait: Wait
) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o700)
    key = make_file_key(tmp_path / "key")
    table = f'[[stores]]\ntype = "tpm"\npaths = ["{folder}"]\ndevice = "{simulator.address}"\n'
    agent = start_agent(file_table(key) + table, {}, "--workers", workers)
    named = ("--config", str(agent.config), "--store", "tpm", "--label", "sealed")
    assert agent.client("keys", "create", *named).returncode == 0
    agent.process.send_signal(signal.SIGHUP)
    wait(lambda: len(agent.identities()) == 2, "the sealed key is not listed")
    simulator.process.send_signal(signal.SIGSTOP)

    def release() -> None:
        simulator.process.send_signal(signal.SIGCONT)

    try:
        waits = delay_of_file_keys(agent, agent.find("sealed"), release)
    finally:
        release()
    assert sorted(waits)[len(waits) // 2] < FAR_FROM_STUCK_S, waits


def test_each_store_has_figures_of_its_own(
    start_agent: Any, shimmed: Any, tmp_path: Path, wait: Wait
) -> None:
    """Requests, failures by reason, latency and state, for each store by its name."""
    shimmed.make("EC:prime256v1", "token", "01")
    key = make_file_key(tmp_path / "key")
    config = file_table(key) + pkcs11_table(shimmed, module_timeout_ms=3000, max_sessions=1)
    environ = {**shimmed.environ, "TOKEN_PIN": shimmed.pin}
    agent = start_agent(config, environ, "--workers", "2")
    wait(lambda: len(agent.identities()) == 2, "the token's key is not listed")
    for _ in range(3):
        agent.sign(agent.find("file"))
    agent.sign(agent.find("token"))
    (tmp_path / "orders").write_text("sleep 60")
    with pytest.raises(AgentError):
        agent.sign(agent.find("token"))
    (tmp_path / "orders").unlink()
    agent.sign(agent.find("token"))
    shown = agent.client("metrics", "--socket", agent.address, "--format", "json")
    stores = json.loads(shown.stdout)["data"]["stores"]
    assert stores["file"]["outcomes"] == {"ok": 3}
    outcomes = stores["pkcs11"]["outcomes"]
    assert outcomes.pop("ok") == 2
    assert sum(outcomes.values()) == 1, outcomes
    for store in stores.values():
        assert 0 < store["percentiles_ns"]["p50"] <= store["percentiles_ns"]["p99"]
        assert store["avg_ns"] > 0
    text = ask(control_path(Path(agent.address)), "openmetrics", timeout_s=30)["openmetrics"]
    for line in (
        'secretivex_store_requests_total{store="file",outcome="ok"} 3',
        'secretivex_store_sign_seconds_count{store="file"} 3',
        'secretivex_store_sign_seconds_count{store="pkcs11"} 2',
        'secretivex_store_well{store="file"} 1',
        'secretivex_store_keys{store="pkcs11"} 1',
    ):
        assert line in text, text


def test_health_names_the_cause_and_the_remedy_of_a_store(
    start_agent: Any, make_token: Any, tmp_path: Path, wait: Wait
) -> None:
    token = make_token()
    key = make_file_key(tmp_path / "key")
    config = file_table(key) + pkcs11_table(token, token_label="elsewhere")
    agent = start_agent(config, {**token.environ, "TOKEN_PIN": token.pin}, "--workers", "2")

    def health() -> str:
        return str(agent.client("health", "--socket", agent.address).stdout)

    wait(lambda: "token_absent" in health(), "the cause is not named")
    said = health()
    assert "no token with" in said
    assert "insert it, or correct uri or token_label" in said
    assert agent.client("health", "--socket", agent.address).returncode == 1
    assert "store file: well, 1 keys" in said


def test_a_reload_takes_stores_in_and_out_without_dropping_connections(
    start_agent: Any, make_token: Any, tmp_path: Path, wait: Wait
) -> None:
    token = make_token()
    token.make("EC:prime256v1", "token", "01")
    key = make_file_key(tmp_path / "key")
    environ = {**token.environ, "TOKEN_PIN": token.pin}
    agent = start_agent(file_table(key), environ)
    with AgentClient(agent.address, timeout_s=60) as client:

        def offered() -> list[str]:
            """By one connection throughout: each worker learns of a reload at its own moment."""
            return [one.comment for one in client.identities()]

        assert offered() == ["file"]
        agent.config.write_text(file_table(key) + pkcs11_table(token))
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: offered() == ["file", "token"], "the new store is not served")
        agent.config.write_text(pkcs11_table(token))
        agent.process.send_signal(signal.SIGHUP)
        wait(lambda: offered() == ["token"], "the old store is still served")
    agent.sign(agent.find("token"))


def test_keys_are_made_taken_over_shown_and_removed(
    start_agent: Any, simulator: Any, tmp_path: Path, wait: Wait
) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o700)
    key = make_file_key(tmp_path / "key")
    table = f'[[stores]]\ntype = "tpm"\npaths = ["{folder}"]\ndevice = "{simulator.address}"\n'
    agent = start_agent(file_table(key) + table, {})
    config = ("--config", str(agent.config), "--store", "tpm")
    made = agent.client("keys", "create", *config, "--label", "made")
    assert made.returncode == 0, made.stderr
    source = tmp_path / "source"
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-C", "x", "-f", str(source)]
    subprocess.run(command, check=True, timeout=60)
    taken = agent.client("keys", "import", *config, "--label", "taken", str(source))
    assert taken.returncode == 0, taken.stderr
    wait(lambda: len(agent.identities()) == 3, "the new keys are not served")
    for name in ("made", "taken"):
        agent.sign(agent.find(name))
    shown = agent.client("keys", "export-public", *config)
    assert shown.stdout == made.stdout + taken.stdout
    assert source.with_suffix(".pub").read_text().split()[1] == taken.stdout.split()[1]
    assert agent.client("keys", "delete", *config, "--label", "made").returncode == 2
    assert agent.client("keys", "delete", *config, "--label", "made", "--yes").returncode == 0
    wait(lambda: len(agent.identities()) == 2, "a key that was removed is still served")
    for arguments, status in (
        (("create", *config[:2], "--store", "file", "--label", "x"), 3),
        (("create", *config[:2], "--store", "tpm-7", "--label", "x"), 4),
        (("create", *config, "--label", "../x"), 2),
    ):
        assert agent.client("keys", *arguments).returncode == status, arguments


def test_doctor_names_what_is_wrong_and_the_remedy(
    start_agent: Any, make_token: Any, tmp_path: Path
) -> None:
    token = make_token()
    key = make_file_key(tmp_path / "key")
    agent = start_agent(file_table(key), token.environ)
    good = agent.client("doctor", "--config", str(agent.config))
    assert good.returncode == 0, good.stdout
    pin = tmp_path / "pin"
    pin.write_text("1234")
    pin.chmod(0o644)
    bad = pkcs11_table(token, module_path="/nowhere/x.so")
    loose = pkcs11_table(token).replace('pin_env = "TOKEN_PIN"', f'pin_file = "{pin}"')
    tpm = f'[[stores]]\ntype = "tpm"\npaths = ["{tmp_path}"]\ndevice = "device:/nowhere/tpm"\n'
    (tmp_path / "bad.toml").write_text(bad + loose + tpm)
    found = agent.client("doctor", "--config", str(tmp_path / "bad.toml"), "--format", "json")
    assert found.returncode == 1, found.stderr
    failed = {
        one["check"].rpartition(": ")[2]: one["remedy"]
        for one in json.loads(found.stdout)["data"]["checks"]
        if one["state"] == "failed"
    }
    assert failed.keys() == {"module_path", "PIN", "device"}
    assert f"chmod 600 {pin}" in failed["PIN"]


def checks_of(agent: Any, config: Path, **environ: str) -> dict[str, tuple[str, str, str]]:
    agent.environ.update(environ)
    done = agent.client("doctor", "--config", str(config), "--format", "json")
    return {
        one["check"]: (one["state"], one["found"], one["remedy"])
        for one in json.loads(done.stdout)["data"]["checks"]
    }


def test_doctor_finds_the_usual_troubles(start_agent: Any, make_token: Any, tmp_path: Path) -> None:
    token = make_token()
    agent = start_agent(file_table(make_file_key(tmp_path / "key")), token.environ)
    socket_line = f'socket_path = "{agent.address}"\n'
    config = tmp_path / "doctor.toml"
    config.write_text(socket_line + pkcs11_table(token))
    found = checks_of(agent, config, SSH_AUTH_SOCK=agent.address, TOKEN_PIN="x")
    states = {check: state for check, (state, _, _) in found.items()}
    assert states.pop("memory") in ("ok", "warning")
    assert set(states.values()) == {"ok"}, found
    text = tmp_path / "opensc-pkcs11.module"
    text.write_text("module: opensc-pkcs11.so\n")
    library = tmp_path / "opensc-pkcs11.so"
    library.write_bytes(Path(token.module).read_bytes())
    loose = make_file_key(tmp_path / "loose")
    loose.chmod(0o644)
    config.write_text(
        socket_line
        + pkcs11_table(token, module_path=str(text))
        + pkcs11_table(token, module_path=str(library), pin_env="OTHER_PIN")
        + file_table(loose)
    )
    found = checks_of(agent, config, SSH_AUTH_SOCK="/nowhere/other.sock")
    remedies = {check: remedy for check, (state, _, remedy) in found.items() if state != "ok"}
    for check in ("memory", "configuration"):  # the latter warns of the same
        remedies.pop(check, None)
    if Path("/run/pcscd/pcscd.comm").exists():
        remedies["store 2 (pkcs11): smart cards"] = "systemctl enable --now pcscd.socket"
    assert remedies == {
        "SSH_AUTH_SOCK": f"export SSH_AUTH_SOCK={agent.address}",
        "store 1 (pkcs11): module_path": "name the .so file itself, not a text file of p11-kit",
        "store 2 (pkcs11): smart cards": "systemctl enable --now pcscd.socket",
        "store 2 (pkcs11): PIN": "set it where the agent starts",
        "store 3 (file): path": f"chmod 600 {loose}",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_doctor_tells_whoever_may_not_use_the_tpm_which_group_may(
    tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in ROOT.parents):
        pytest.skip("the sources lie where nobody else may look")
    device, home = tmp_path / "tpmrm0", tmp_path / "home"
    device.write_bytes(b"")
    device.chmod(0o660)
    home.mkdir()
    config = home / "agent.toml"
    config.write_text(f'[[stores]]\ntype = "tpm"\npaths = ["/"]\ndevice = "device:{device}"\n')
    for folder in (tmp_path, *tmp_path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    as_nobody = (require_program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups")
    command = (sys.executable, "-m", "secretivex.cli.client", "doctor", "--config", str(config))
    done = subprocess.run(
        [*as_nobody, *command],
        env={"PYTHONPATH": str(ROOT / "src"), "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be opened by this user" in done.stdout
    assert "group tss" in done.stdout
