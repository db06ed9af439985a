"""The options that make a scenario, shared by every command of `secretive-bench`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from agentclient.client import AgentClient
from clikit.command import standard_options
from secretivex.bench.run import Outcome, run_scenario
from secretivex.bench.scenario import Scenario
from secretivex.cli.client.keys import find_by_fingerprint, listed_key, the_one
from secretivex.cli.client.session import ClientCall, find_socket
from secretivex.errors import SecretiveError

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_FLAGS: Final = {"none": 0, "rsa-sha2-256": 2, "rsa-sha2-512": 4}
MAX_CLIENTS: Final = 100_000
MAX_PROCESSES: Final = 64
MAX_PAYLOAD_BYTES: Final = 200_000
"""Fits, with its key, into the 256 KiB that a message to an agent may have."""


class Duration(click.ParamType[float]):
    """`250ms`, `10s`, `5m`, `6h`; a bare number is seconds. Becomes seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """As click wants it."""
        if isinstance(value, float | int):
            return float(value)
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a duration such as 250ms, 10s, 5m or 6h", param, ctx)
        return float(match[1]) * _UNITS_S[match[2]]


@dataclass(slots=True)
class BenchCall(ClientCall):
    """One command being run."""

    def key_of(self, address: str, scenario: Scenario, fingerprint: str | None) -> bytes:
        """The key to sign with on an agent: the one named, else its first; empty for lists."""
        if scenario.mode == "list":
            return b""
        with AgentClient(address, timeout_s=scenario.response_timeout_s) as agent:
            keys = [listed_key(identity) for identity in agent.identities()]
        if fingerprint:
            found = find_by_fingerprint(keys, fingerprint)
            return the_one(found, wanted=f"fingerprint {fingerprint}").blob
        if not keys:
            message = f"the agent at {address} has no keys to sign with"
            raise SecretiveError("key_not_found", message, hint="add one, or measure --mode list")
        return keys[0].blob

    def run(self, scenario: Scenario) -> Outcome:
        """A scenario with its progress on a terminal."""
        with self.progress(f"{scenario.clients} clients", scenario.count or None) as progress:
            return run_scenario(scenario, progress.advance)


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

TARGET_OPTION = click.option(
    "--socket",
    metavar="PATH",
    help="The agent's socket, instead of SECRETIVE_SOCK or SSH_AUTH_SOCK.",
)

_SHAPE = (
    click.option(
        "--mode",
        type=click.Choice(["sign", "list"]),
        default="sign",
        show_default=True,
        help="What is asked for.",
    ),
    click.option("--key", metavar="FINGERPRINT", help="The key to sign with; else the first."),
    click.option(
        "--processes",
        type=click.IntRange(1, MAX_PROCESSES),
        default=min(os.cpu_count() or 1, MAX_PROCESSES),
        help="Processes of this tool.  [default: one a core]",
    ),
    click.option(
        "--payload-bytes",
        type=click.IntRange(8, MAX_PAYLOAD_BYTES),
        default=64,
        show_default=True,
        help="Size of what is signed; no two requests sign the same.",
    ),
    click.option(
        "--flags",
        type=click.Choice(sorted(_FLAGS)),
        default="none",
        show_default=True,
        help="For RSA keys.",
    ),
    click.option(
        "--connect-timeout",
        type=Duration(),
        default=5.0,
        help="After which a connect failed.  [default: 5s]",
    ),
    click.option(
        "--response-timeout",
        type=Duration(),
        default=30.0,
        help="After which an answer failed to come.  [default: 30s]",
    ),
    click.option(
        "--verify",
        type=click.IntRange(min=0),
        default=100,
        show_default=True,
        help="Replies of each process that are verified, spread over the run.",
    ),
)

_LOAD = (
    click.option(
        "--clients",
        type=click.IntRange(1, MAX_CLIENTS),
        default=32,
        show_default=True,
        help="Connections at a time.",
    ),
    click.option("--reconnect", is_flag=True, help="A connection for each request."),
    click.option(
        "--rate",
        type=click.FloatRange(min=0, max=1_000_000),
        default=0.0,
        help="Requests a second, due at fixed moments whether or not clients are free (open loop); "
        "without it each client asks again when it has its answer (closed loop).",
    ),
    click.option("--ramp", type=Duration(), default=0.0, help="Over which the clients begin."),
    click.option("--warmup", type=Duration(), default=1.0, help="Not counted.  [default: 1s]"),
    click.option("--duration", type=Duration(), help="Of what is counted.  [default: 10s]"),
    click.option("--count", type=click.IntRange(min=1), help="End after so many requests instead."),
)


def shape_options(*, formats: Sequence[str], load: bool = True, socket: bool = True) -> Decorator:
    """The standard options and those of a scenario; the command gets `scenario` and `key`.

    With `load` the amount of load is the user's too; else a gate or the command knows it.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(call: BenchCall, **options: Any) -> Any:
            call.socket = options.pop("socket", None)
            key = options.pop("key")
            scenario = _scenario(options, load=load)
            if socket:
                address = find_socket(call)
                blob = call.key_of(address, scenario, key)
                scenario = replace(scenario, address=address, key_blob=blob)
                return function(call, scenario=scenario, **options)
            return function(call, scenario=scenario, key=key, **options)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
        every = [*((TARGET_OPTION,) if socket else ()), *(_LOAD if load else ()), *_SHAPE]
        for option in reversed(every):
            option(command)
        return standard_options(formats=formats, call_type=BenchCall)(command)

    return decorate


def _scenario(options: dict[str, Any], *, load: bool) -> Scenario:
    """Takes its own out of the options."""
    scenario = Scenario(
        "",
        mode=options.pop("mode"),
        processes=options.pop("processes"),
        payload_bytes=options.pop("payload_bytes"),
        flags=_FLAGS[options.pop("flags")],
        connect_timeout_s=options.pop("connect_timeout"),
        response_timeout_s=options.pop("response_timeout"),
        verify_samples=options.pop("verify"),
    )
    if not load:
        return scenario
    duration, count = options.pop("duration"), options.pop("count")
    if duration is not None and count is not None:
        raise SecretiveError("usage", "--duration and --count exclude each other")
    if duration == 0:
        raise SecretiveError("usage", "--duration must be longer than nothing")
    clients = options.pop("clients")
    return replace(
        scenario,
        clients=clients,
        processes=min(scenario.processes, clients),
        reconnect=options.pop("reconnect"),
        rate_per_s=options.pop("rate"),
        ramp_s=options.pop("ramp"),
        warmup_s=options.pop("warmup"),
        duration_s=0.0 if count else duration or 10.0,
        count=count or 0,
    )
