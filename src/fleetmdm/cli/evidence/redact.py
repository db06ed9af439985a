"""`fleetmdm evidence redact`: a further view of a pack, made without the signing key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.session import FleetCall, fleet_options, read_config

if TYPE_CHECKING:
    # Imported for its name alone: `--help` needs no pack.
    from fleetmdm.evidence.rules import Rules

redact_config_option = click.option(
    "--redact-config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rules for facts: lists `allow` and `deny` of paths such as facts.sshd.*.",
)


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option(
    "--profile",
    type=click.Choice(("none", "minimal", "strict")),
    default="strict",
    show_default=True,
    help="What the new view may show.",
)
@redact_config_option
@fleet_options(
    output=("PACK", "The folder, or the .tar.zst file, to write, complete or not at all.")
)
def command(call: FleetCall, pack: Path, profile: str, redact_config: Path | None) -> None:
    """Write a view of PACK that shows less, as a new folder at --output.

    The signatures over the manifest still hold and prove the view; none covers its SHA256SUMS.
    """
    from fleetmdm.evidence.pack.derive import derive_view
    from fleetmdm.evidence.redact import Profile

    output, call.output = call.output, None
    if output is None:
        raise click.UsageError("--output PACK is needed: the folder or .tar.zst file to write")
    derived = derive_view(pack, output, Profile(profile), load_rules(redact_config))
    opened = sum(shown.opened for shown in derived.shown.values())
    hidden = sum(shown.hidden for shown in derived.shown.values())
    data = {
        "pack": str(output),
        "redaction_profile": derived.profile.value,
        "manifest_sha256": derived.manifest_sha256,
        "fields": {"opened": opened, "hidden": hidden},
    }
    text = f"view with profile {derived.profile} written to {output}: {opened} fields shown, {hidden} withheld\n"
    call.emit(data, lambda: [text])


def describe_rules(rules: Rules) -> dict[str, Any]:
    """Rules as documents show them."""
    return {"allow": list(rules.allow), "deny": list(rules.deny)}


def load_rules(path: Path | None) -> Rules:
    """The rules of a file; raises `config_not_found`, and `config_invalid` with every problem."""
    from clikit.config import ConfigError, Problem, Setting, resolve
    from fleetmdm.evidence.redact import classify
    from fleetmdm.evidence.rules import Rules, check_rule

    if path is None:
        return Rules()
    file = read_config(path)
    table = [Setting(key, "list", (), f"facts to {key}") for key in ("allow", "deny")]
    found = resolve(table, flags={}, environ={}, env_prefix="", file=file)
    problems: list[Problem] = []
    for key in ("allow", "deny"):
        for rule in found.get_value(key):
            try:
                check_rule(rule)
                if key == "allow" and classify(rule).kind:
                    raise ValueError(f"{rule} names someone or something; profile none shows it")
            except ValueError as error:
                problems.append(Problem(file.where(key), key, str(error)))
    if problems:
        raise ConfigError(problems)
    try:
        return Rules(tuple(found.get_value("allow")), tuple(found.get_value("deny")))
    except ValueError as error:
        raise ConfigError([Problem(file.where("allow"), "", str(error))]) from error
