"""The three ways to name devices on a command line: --device, --tag, --where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fleetmdm.errors import FleetError
from fleetmdm.governance.scope import Scope, ScopeKind, parse_tag
from fleetmdm.policy_yaml import parse_selector


def scope_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --device, --tag and --where."""
    click.option(
        "--where",
        metavar="CHECK",
        help="Devices that meet a check as in targets.where: '{key: os, op: eq, value: linux}'.",
    )(function)
    click.option("--tag", metavar="TAG", help="Devices with this tag.")(function)
    click.option("--device", "device_id", metavar="ID", help="One device.")(function)
    return function


def parse_scope(device_id: str | None, tag: str | None, where: str | None) -> Scope:
    """The one scope that was named. Raises `usage`, and `policy_invalid` for a bad selector."""
    given = [one for one in (device_id, tag, where) if one is not None]
    if len(given) != 1:
        raise FleetError("usage", "name devices by one of --device, --tag and --where")
    if not given[0].strip():
        raise FleetError("usage", "--device, --tag and --where take a text that is not empty")
    if device_id is not None:
        return Scope(ScopeKind.DEVICE, device_id)
    if tag is not None:
        return Scope(ScopeKind.TAG, parse_tag(tag))
    return Scope(ScopeKind.SELECTOR, parse_selector(given[0], name="--where")[1])
