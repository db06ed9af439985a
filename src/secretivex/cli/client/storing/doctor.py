"""`secretive-client doctor`: the usual troubles of an agent and its stores, with their remedies.

Rule for editors: it only looks. No PIN is read, let alone tried, and no module is loaded.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from shutil import which

import click

from clikit.command import Call, standard_options
from secretivex.cli.client.fanout.findings import Finding, tell
from secretivex.cli.client.health import ask_own
from secretivex.cli.client.storing.chosen import load_config
from secretivex.config import (
    AgentConfig,
    FileStoreConfig,
    Pkcs11StoreConfig,
    StoreConfig,
    TpmStoreConfig,
)
from secretivex.config.store_kinds import SecretConfig
from secretivex.errors import SecretiveError
from secretivex.server.report.control_socket import control_path

ELF = b"\x7fELF"

ASK_S = 5.0
"""How long the agent may take to tell of itself."""


@click.command("doctor")
@standard_options(formats=("text", "json"))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The agent's configuration file, TOML or JSON.",
)
def command(call: Call, *, config: Path | None) -> None:
    """Look for what usually goes wrong; exit status 1 when something does.

    The configuration, the agent's socket, files of keys, PKCS#11 modules, where PINs come from, the
    TPM's device.
    """
    tell(call, list(_examine(call, config)), word="healthy", code="unhealthy")


def _examine(call: Call, named: Path | None) -> Iterator[Finding]:
    try:
        config = load_config(named, call.environ)
    except SecretiveError as error:
        yield from _problems(error)
        return
    yield Finding("configuration", "ok", config.file_name or "no file: the defaults hold", "")
    for warning in config.warnings:
        yield Finding("configuration", "warning", str(warning), "")
    yield from _examine_socket(config, call.environ.get("SSH_AUTH_SOCK", ""))
    yield from _examine_memory(config)
    for number, store in enumerate(config.stores, start=1):
        for one in _examine_store(store, call.environ):
            yield replace(one, check=f"store {number} ({store.kind}): {one.check}")


def _problems(error: SecretiveError) -> Iterator[Finding]:
    """A row for each thing that is wrong with the configuration."""
    problems = error.details.get("problems", ())
    for one in problems:
        found = f"{one['where']}: {one['key']}: {one['reason']}".removeprefix(": ")
        yield Finding("configuration", "failed", found, one["hint"])
    if not problems:
        yield Finding("configuration", "failed", error.message, error.hint or "")


def _examine_socket(config: AgentConfig, used: str) -> Iterator[Finding]:
    path = str(config.socket_path)
    if not _answers(path):
        remedy = "start it: secretive-agent run, or secretive-agent install"
        yield Finding("agent", "warning", f"nothing listens at {path}", remedy)
    else:
        yield Finding("agent", "ok", path, "")
    if not used:
        found = "SSH_AUTH_SOCK is not set: OpenSSH will not ask the agent"
        yield Finding("SSH_AUTH_SOCK", "warning", found, f"export SSH_AUTH_SOCK={path}")
    elif os.path.realpath(used) != os.path.realpath(path):
        found = f"names another agent: {used}"
        yield Finding("SSH_AUTH_SOCK", "warning", found, f"export SSH_AUTH_SOCK={path}")
    else:
        yield Finding("SSH_AUTH_SOCK", "ok", used, "")


def _examine_memory(config: AgentConfig) -> Iterator[Finding]:
    """As the running agent tells; its limits are its own, not those of this shell."""
    own = ask_own(control_path(config.socket_path), timeout_s=ASK_S)
    memory = (own or {}).get("memory")
    if memory is None:
        yield Finding("memory", "unknown", "no agent tells whether its memory may be swapped")
    elif memory["locked"]:
        yield Finding("memory", "ok", "the agent's memory is kept out of swap")
    else:
        found = f"the agent's memory may be swapped: {memory['reason']}"
        yield Finding("memory", "warning", found, memory["remedy"])


def _answers(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        probe.connect(path)
        return True
    return False


def _examine_store(store: StoreConfig, environ: Mapping[str, str]) -> Iterator[Finding]:
    if isinstance(store, FileStoreConfig):
        yield from _examine_paths(store.paths)
    elif isinstance(store, Pkcs11StoreConfig):
        yield from _examine_module(store)
        yield from _examine_pin(store.pin, environ, needs_one=True)
    elif isinstance(store, TpmStoreConfig):
        yield from _examine_paths(store.paths)
        yield from _examine_tpm(store.device)
        yield from _examine_pin(store.pin, environ, needs_one=False)


def _examine_paths(paths: tuple[Path, ...]) -> Iterator[Finding]:
    for path in paths:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield Finding("path", "failed", f"{path}: {error.strerror}", "correct paths")
            continue
        if not os.access(path, os.R_OK):
            yield Finding("path", "failed", f"{path} cannot be read", f"chown or chmod {path}")
        elif stat.S_ISREG(mode) and mode & 0o077:
            found = f"{path} can be reached by others, so its key is left out"
            yield Finding("path", "failed", found, f"chmod 600 {path}")
        else:
            yield Finding("path", "ok", str(path), "")


def _examine_module(store: Pkcs11StoreConfig) -> Iterator[Finding]:
    path = store.module_path
    if find_spec("PyKCS11") is None:
        yield Finding("library", "failed", "PyKCS11 is missing", "install the extra [pkcs11]")
    try:
        with path.open("rb") as file:
            head = file.read(len(ELF))
    except OSError as error:
        remedy = "install the token's middleware, or correct module_path"
        yield Finding("module_path", "failed", f"{path}: {error.strerror}", remedy)
        return
    if os.uname().sysname == "Linux" and head != ELF:
        remedy = "name the .so file itself, not a text file of p11-kit"
        yield Finding("module_path", "failed", f"{path} is no library", remedy)
        return
    yield Finding("module_path", "ok", str(path), "")
    if "opensc" in path.name and not Path("/run/pcscd/pcscd.comm").exists():
        remedy = "systemctl enable --now pcscd.socket"
        yield Finding("smart cards", "warning", "pcscd does not run: no card can be seen", remedy)
    tokens = Path("/var/lib/softhsm/tokens")
    if "softhsm" in path.name and tokens.exists() and not os.access(tokens, os.R_OK | os.X_OK):
        remedy = "add the user to the group softhsm, or set SOFTHSM2_CONF"
        yield Finding("tokens", "warning", f"{tokens} cannot be read", remedy)


def _examine_pin(
    pin: SecretConfig, environ: Mapping[str, str], *, needs_one: bool
) -> Iterator[Finding]:
    if pin.file is not None:
        try:
            mode = pin.file.stat().st_mode
        except OSError as error:
            yield Finding("PIN", "failed", f"{pin.file}: {error.strerror}", "correct pin_file")
            return
        if mode & 0o077:
            found = f"{pin.file} can be reached by others, so it is refused"
            yield Finding("PIN", "failed", found, f"chmod 600 {pin.file}")
            return
    if pin.command and which(pin.command[0]) is None:
        found = f"{pin.command[0]} is not there or cannot be run"
        yield Finding("PIN", "failed", found, "correct pin_command")
        return
    if pin.env is not None and not environ.get(pin.env):
        found = f"the variable {pin.env} is not set here"
        yield Finding("PIN", "warning", found, "set it where the agent starts")
        return
    if needs_one and not (pin.env or pin.file or pin.command or pin.askpass):
        remedy = "set pin_env, pin_file, pin_command or askpass"
        yield Finding("PIN", "warning", "no source is configured: most tokens want one", remedy)
        return
    yield Finding("PIN", "ok", "its source is there; it is not tried here", "")


def _examine_tpm(device: str) -> Iterator[Finding]:
    kind, _, rest = device.partition(":")
    path = Path(rest if kind == "device" else rest.removeprefix("path="))
    if not path.exists():
        remedy = "switch the TPM on in the firmware, or correct device"
        yield Finding("device", "failed", f"{path} does not exist", remedy)
    elif not os.access(path, os.R_OK | os.W_OK):
        remedy = "add the user to the group tss (udev gives it the device), then log in again"
        yield Finding("device", "failed", f"{path} cannot be opened by this user", remedy)
    elif path == Path("/dev/tpm0"):
        remedy = "device:/dev/tpmrm0 shares the TPM with other programs"
        yield Finding("device", "warning", f"{path} can be held by one program at a time", remedy)
    else:
        yield Finding("device", "ok", str(path), "")
