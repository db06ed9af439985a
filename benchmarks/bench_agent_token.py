"""Keys in a PKCS#11 token: beside a bare loop of C_Sign, and a token that hangs for five seconds.

The token is SoftHSM's. For the second row it stands behind a module that sleeps over each signature;
file keys are signed with meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent_rows import CORES, RSA_SHA256, failures, in_turn, latencies_ms, rates
from load import ROOT, Agent, Setup, Shape, load, load_beside, make_keys, start
from ratio import Measured, bound, finish, judge, not_measurable, read_options
from secretivex.config.rows.stores import STORE_TYPES

MODULES = ("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/softhsm/libsofthsm2.so")
SHIM = ROOT / "tests" / "peers" / "stores" / "shim.c"
LOOP = ROOT / "benchmarks" / "token_loop.c"
PIN = "1234"
BESIDE = "RSA-2048 in SoftHSM, 64 clients"
STUCK = "a token key stuck for 5 s: what file keys wait longer (p99.9)"


def obstacle() -> str:
    """Why nothing can be measured; empty if it can."""
    if not any(Path(path).exists() for path in MODULES):
        return "SoftHSM is not installed"
    if "pkcs11" not in STORE_TYPES or not STORE_TYPES["pkcs11"].settings or not SHIM.exists():
        return "this version has no store of type pkcs11"
    return ""


@contextmanager
def softhsm(folder: Path) -> Iterator[str]:
    """A token with one RSA key; its module."""
    module = next(path for path in MODULES if Path(path).exists())
    config = folder / "softhsm2.conf"
    (folder / "tokens").mkdir()
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    pins = ["--pin", PIN, "--so-pin", "12345678"]
    _quiet("softhsm2-util", "--init-token", "--free", "--label", "bench", *pins)
    make = ["pkcs11-tool", "--module", module, "--login", "--pin", PIN, "--keypairgen"]
    _quiet(*make, "--key-type", "rsa:2048", "--id", "01", "--label", "rsa")
    try:
        yield module
    finally:
        del os.environ["SOFTHSM2_CONF"]


def _quiet(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def compile_c(source: Path, target: Path, *options: str) -> Path:
    """A program or a module."""
    _quiet("gcc", "-O2", "-Wall", *options, "-o", str(target), str(source), "-ldl", "-pthread")
    return target


@contextmanager
def token_agent(folder: Path, module: str, keys: list[Path], **environ: str) -> Iterator[Agent]:
    """Our agent with the token and the key files."""
    store = f'module_path = {json.dumps(module)}\ntoken_label = "bench"\npin_env = "BENCH_PIN"\n'
    config = f'[[stores]]\ntype = "pkcs11"\n{store}'
    with start(
        f"ours:{CORES}", Setup(keys, config=config, environ={"BENCH_PIN": PIN, **environ})
    ) as agent:
        _write_public(agent, folder / "token.pub")
        yield agent


def _write_public(agent: Agent, path: Path) -> None:
    """The token's key as a .pub file beside a name, as key files have it."""
    lines = subprocess.run(
        ["ssh-add", "-L"],
        env={**os.environ, "SSH_AUTH_SOCK": agent.address},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.splitlines()
    path.write_text(next(line for line in lines if line.startswith("ssh-rsa")) + "\n")


def beside_the_module(rounds: int, folder: Path, module: str) -> list[Measured]:
    """The agent, and the better of two bare loops: a thread a core, a thread a client."""
    program = str(compile_c(LOOP, folder / "loop"))

    def bare() -> float:
        loops = (_quiet(program, module, PIN, str(n), "1.5") for n in (CORES, 64))
        return max(float(text) for text in loops)

    keys = make_keys(folder / "keys")
    shape = Shape(64, flags=RSA_SHA256)
    with token_agent(folder, module, keys) as agent:
        runs = in_turn({"ours": lambda: load(agent, shape, folder / "token"), "bare": bare}, rounds)
    return [
        judge(
            BESIDE,
            "bare loop of C_Sign",
            rates(runs["ours"]),
            runs["bare"],
            at_least=0.8,
            unit="/s",
        ),
        bound(f"{BESIDE}: failures", failures(runs["ours"]), at_most=0, worst=True, unit=""),
    ]


def while_stuck(rounds: int, folder: Path, module: str) -> list[Measured]:
    """A file key's latency alone, and while the token sleeps over a signature."""
    shim = compile_c(SHIM, folder / "shim.so", "-shared", "-fPIC")
    orders = folder / "orders"
    environ = {"PKCS11_SHIM_REAL": module, "PKCS11_SHIM_ORDERS": str(orders)}
    keys = make_keys(folder / "more")
    shape = Shape(8, rate=500, duration_s=2)
    stuck = Shape(4, flags=RSA_SHA256, duration_s=60, warmup_s=0, timeout_ms=20_000)
    alone: list[dict[str, Any]] = []
    amid: list[dict[str, Any]] = []
    with token_agent(folder, str(shim), keys, **environ) as agent:
        for _ in range(rounds):
            alone.append(load(agent, shape, keys[0]))
            orders.write_text("sleep 5\n")
            with load_beside(agent, stuck, folder / "token"):
                amid.append(load(agent, shape, keys[0]))
                orders.unlink()
    waits = zip(latencies_ms(amid, "p999"), latencies_ms(alone, "p999"), strict=True)
    return [
        bound(STUCK, [during - before for during, before in waits], at_most=50, unit="ms"),
        bound(f"{STUCK}: failures", failures(amid), at_most=0, worst=True, unit=""),
    ]


def main() -> None:
    """Measure both, or say why not."""
    options = read_options(rounds=5)
    why = obstacle()
    if why:
        finish([not_measurable(BESIDE, why), not_measurable(STUCK, why)], options)
    with tempfile.TemporaryDirectory(prefix="token-") as name, softhsm(Path(name)) as module:
        rows = beside_the_module(options.rounds, Path(name), module)
        rows += while_stuck(options.rounds, Path(name), module)
    finish(rows, options)


if __name__ == "__main__":
    main()
