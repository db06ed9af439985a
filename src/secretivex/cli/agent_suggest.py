"""`secretive-agent suggest`: limits for this machine, each with its reason."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from clikit.command import Call, standard_options
from secretivex.cli.agent_options import SetupOptions, setup_options, usable_cores
from secretivex.suggest.calibrate import calibrate
from secretivex.suggest.limits import Machine, suggest

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_DEFAULT_SOMAXCONN = 128
"""Where the system does not tell."""


@click.command("suggest")
@standard_options(formats=("text", "json"))
@setup_options
@click.option(
    "--calibrate-s",
    type=click.FloatRange(0.01, 60),
    default=2.0,
    show_default=True,
    help="How long to measure.",
)
def command(call: Call, options: SetupOptions, *, calibrate_s: float) -> None:
    """Suggest limits for this machine, from what it has and from two seconds of measuring.

    The stores and the profile are those of the configuration; without a profile the machine's
    cores, memory and descriptors choose one.
    """
    config = options.load(call.environ).config
    machine = Machine(
        usable_cores(),
        resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        _max_backlog(),
        tuple(sorted({_kind_of(store) for store in config.stores})),
    )
    result = suggest(machine, config.profile, calibrate(calibrate_s))
    call.emit(result, lambda: _lines(result))


def _kind_of(store: object) -> str:
    """`file` of a FileStoreConfig, `pkcs11` of a Pkcs11StoreConfig."""
    return type(store).__name__.removesuffix("StoreConfig").lower()


def _max_backlog() -> int:
    try:
        return int(_SOMAXCONN.read_text())
    except (OSError, ValueError):
        return _DEFAULT_SOMAXCONN


def _lines(result: dict[str, Any]) -> Iterator[str]:
    profile = result["profile"]
    yield f"suggested for {result['cpu_cores']} cores\n"
    yield f"  profile: {profile['label']}{' (inferred)' if profile['inferred'] else ''}\n"
    for key, value in result["settings"].items():
        yield f"  {key}: {value}\n"
    yield f"  queue wait: at most {result['tail_ns'] / 1e6:.1f} ms but for {result['tail_ratio']:.1%}\n"
    yield "export suggestions:\n"
    for name, value in result["env"].items():
        yield f"  export {name}={value}\n"
    yield "rationale:\n"
    for reason in result["reasons"]:
        yield f"  - {reason}\n"
