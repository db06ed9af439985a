"""`fleetmdm evidence export`: one run as a folder of evidence, signed by a key of any agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone: `--help` needs neither keys nor an agent.
    from fleetmdm.evidence.pack.export import Exported
    from sshwire.sshsig import Signer

MAX_KEY_FILE_BYTES = 1024 * 1024
"""Longest key file: OpenSSH's MAX_KEY_FILE_SIZE."""


@click.command()
@click.option("--run", "run_id", type=click.IntRange(min=1), metavar="N", help="Run [the newest].")
@click.option(
    "--redact-profile",
    type=click.Choice(("none", "minimal", "strict")),
    help="What the pack shows [strict].",
)
@click.option("--agent-key", metavar="FINGERPRINT", help="Sign with this key of the SSH agent.")
@click.option("--agent", metavar="SOCKET", help="The SSH agent [SSH_AUTH_SOCK].")
@click.option(
    "--signing-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign with this private key, which has no passphrase.",
)
@fleet_options(output=("DIR", "The folder to write, complete or not at all."))
def command(
    call: FleetCall,
    run_id: int | None,
    redact_profile: str | None,
    agent_key: str | None,
    agent: str | None,
    signing_key_file: Path | None,
) -> None:
    """Write a run as an evidence pack: a new folder at --output, complete or not there at all.

    Without --agent-key or --signing-key-file the pack is unsigned and does not verify.
    """
    from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
    from fleetmdm.evidence.redact import Profile

    output, call.output = call.output, None
    if output is None:
        raise click.UsageError("--output DIR is needed: the folder to write")
    if agent_key is not None and signing_key_file is not None:
        raise click.UsageError("--agent-key and --signing-key-file exclude each other")
    profile = call.setting("evidence_export.redaction_profile", redact_profile)
    with _signers(call, agent_key, agent, signing_key_file) as signers, call.open_store() as store:
        options = ExportOptions(
            output=output,
            profile=Profile(profile),
            signers=signers,
            tool_version=version("secretivex-fleetmdm"),
            now=call.now(),
        )
        run = newest_run(store) if run_id is None else store.run(run_id)
        with call.progress("exporting devices", run.devices) as progress:
            exported = export_pack(store, run, options, progress.advance)
    if not signers:
        call.note("the pack is unsigned: nobody vouches for it (--agent-key signs)")
    call.emit(_describe(exported), lambda: _tell(exported))


@contextmanager
def _signers(
    call: FleetCall, agent_key: str | None, agent: str | None, key_file: Path | None
) -> Iterator[list[Signer]]:
    if agent_key is not None:
        from agentclient.address import resolve
        from agentclient.client import AgentClient

        with AgentClient(resolve(agent, call.environ)) as client:
            yield [_agent_signer(client, agent_key)]
    elif key_file is not None:
        yield [_file_signer(key_file)]
    elif agent is not None:
        raise click.UsageError("--agent needs --agent-key FINGERPRINT, as `ssh-add -l` prints it")
    else:
        yield []


def _agent_signer(client: Any, wanted: str) -> Signer:
    from agentclient.client import AgentSigner
    from sshwire.algorithms import find_algorithm
    from sshwire.errors import WireError
    from sshwire.pubkey import fingerprint, parse_public_key

    offered: list[str] = []
    for identity in client.identities():
        try:
            key = parse_public_key(identity.blob)
            if find_algorithm(key.algorithm).is_certificate:
                continue  # its plain key stands beside it, and that is what auditors list
            offered.append(fingerprint(identity.blob))
            if wanted in (offered[-1], offered[-1].removeprefix("SHA256:")):
                return AgentSigner(client, key)
        except WireError:
            continue  # a kind of key that we do not know, and cannot verify
    raise FleetError(
        "key_not_found",
        f"the agent has no key {wanted}",
        hint="it has: " + ", ".join(offered) if offered else "it has no key; see `ssh-add`",
        details={"offered": offered},
    )


def _file_signer(path: Path) -> Signer:
    from sshwire.errors import PassphraseError, WireError
    from sshwire.privkey import parse_private_keys

    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
        if len(data) > MAX_KEY_FILE_BYTES:
            raise FleetError("input_unreadable", f"{path} is too long for a private key")
        (key,) = parse_private_keys(data)
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such key file: {path}") from error
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error
    except PassphraseError as error:
        raise FleetError(
            "input_unreadable",
            f"{path} is encrypted",
            hint="load it into an agent with `ssh-add` and use --agent-key",
        ) from error
    except WireError as error:
        raise FleetError("input_unreadable", f"{path}: {error}") from error
    return key


def _describe(exported: Exported) -> dict[str, Any]:
    return {
        "pack": str(exported.output),
        "run_id": exported.run_id,
        "redaction_profile": exported.profile.value,
        "manifest_sha256": exported.manifest_sha256,
        "signers": list(exported.signers),
        "devices": exported.devices,
        "policies": exported.policies,
        "results": exported.results,
        "ledger_index": exported.ledger_index,
    }


def _tell(exported: Exported) -> Iterator[str]:
    yield f"run {exported.run_id} exported to {exported.output}\n"
    yield (
        f"  {exported.devices} devices, {exported.policies} policies, {exported.results} results, "
        f"redaction profile {exported.profile}\n"
    )
    yield f"  manifest SHA-256 {exported.manifest_sha256}, ledger leaf {exported.ledger_index}\n"
    for fingerprint in exported.signers:
        yield f"  signed by {fingerprint}\n"
