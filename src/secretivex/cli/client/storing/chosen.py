"""The configured store that --store names, for commands that change what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clikit.command import Call
from secretivex.cli.agent_options import usable_cores
from secretivex.config import AgentConfig, StoreConfig
from secretivex.errors import SecretiveError
from secretivex.loading import DEFAULT_STORES, load_setup
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.opening import plan_stores
from secretivex.stores.token.errors import TokenError


@dataclass(frozen=True, slots=True)
class ChosenStore:
    """A store's name, its configuration and all that it is opened from."""

    config: StoreConfig
    setup: StoreSetup


def load_config(named: Path | None, environ: Mapping[str, str]) -> AgentConfig:
    """The agent's configuration as `secretive-agent run` would have it."""
    return load_setup(
        named,
        flags={},
        environ=environ,
        cores=usable_cores(),
        base=Path.cwd(),
        default_stores=DEFAULT_STORES,
    ).config


def choose_store(call: Call, named: Path | None, name: str) -> ChosenStore:
    """The store of this name; raises `store_not_found` with the names that there are."""
    config = load_config(named, call.environ)
    plans = plan_stores(config, call.environ)
    for plan, store in zip(plans, config.stores, strict=True):
        if plan.name == name:
            settings = {**plan.settings, "watch": False}
            setup = StoreSetup(plan.kind, plan.name, settings, plan.environ, plan.secrets)
            return ChosenStore(store, setup)
    known = ", ".join(plan.name for plan in plans) or "none"
    raise SecretiveError("store_not_found", f"no store is called {name!r}", hint=f"stores: {known}")


def as_failure(error: TokenError) -> SecretiveError:
    """A store's refusal as the command's."""
    return SecretiveError("store_unavailable", f"{error.reason}: {error}", hint=error.remedy)


def store_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --store and --config."""
    store = click.option("--store", required=True, metavar="NAME", help="Which configured store.")
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The agent's configuration file, TOML or JSON.",
    )
    return store(config(function))
