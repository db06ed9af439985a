"""The options by which commands of this group take signing keys, and the keys themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for its name alone: `--help` needs neither keys nor an agent.
    from sshwire.sshsig import Signer

MAX_KEY_FILE_BYTES = 1024 * 1024
"""Longest key file: OpenSSH's MAX_KEY_FILE_SIZE."""

_PATH = click.Path(path_type=Path)


_OPTIONS = (
    click.option(
        "--keyring-dir",
        type=_PATH,
        metavar="DIR",
        help="Refuse keys that this keyring knows to be revoked or expired.",
    ),
    click.option(
        "--key",
        "ring_keys",
        multiple=True,
        metavar="NAME",
        help="Sign with this key of the keyring; may be repeated.",
    ),
    click.option(
        "--certificate",
        "certificates",
        type=_PATH,
        multiple=True,
        metavar="FILE",
        help="Sign under this certificate of the key; may be repeated.",
    ),
    click.option(
        "--signing-key-file",
        "key_files",
        type=_PATH,
        multiple=True,
        metavar="FILE",
        help="Sign with this private key, which has no passphrase; may be repeated.",
    ),
    click.option("--agent", metavar="SOCKET", help="The SSH agent [SSH_AUTH_SOCK]."),
    click.option(
        "--agent-key",
        "agent_keys",
        multiple=True,
        metavar="FINGERPRINT",
        help="Sign with this key of the SSH agent; may be repeated.",
    ),
)


def signer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --agent-key, --agent, --signing-key-file, --key, --keyring-dir and --certificate."""
    for option in _OPTIONS:
        function = option(function)
    return function


@contextmanager
def open_signers(
    call: FleetCall,
    *,
    agent_keys: Sequence[str],
    agent: str | None,
    key_files: Sequence[Path],
    ring_keys: Sequence[str],
    keyring_dir: Path | None,
    certificates: Sequence[Path],
) -> Iterator[list[Signer]]:
    """The signers that were asked for, in order; each key once."""
    if agent is not None and not agent_keys:
        raise click.UsageError("--agent needs --agent-key FINGERPRINT, as `ssh-add -l` prints it")
    with ExitStack() as stack:
        signers: list[Signer] = []
        if agent_keys:
            from agentclient.address import resolve
            from agentclient.client import AgentClient

            client = stack.enter_context(AgentClient(resolve(agent, call.environ)))
            signers.extend(_agent_signer(client, wanted) for wanted in agent_keys)
        signers.extend(file_signer(path) for path in key_files)
        if ring_keys or keyring_dir is not None:
            signers.extend(_ring_signers(call, ring_keys, keyring_dir, signers))
        yield _under(signers, certificates)


def _ring_signers(
    call: FleetCall, names: Sequence[str], given: Path | None, others: Sequence[Signer]
) -> list[Signer]:
    """The keys of the keyring with these names; raises `key_unusable`, for the others too."""
    from fleetmdm.cli.evidence.key.ring import keyring_folder
    from fleetmdm.evidence.keyring.folder import key_path, load_keyring
    from sshwire.pubkey import fingerprint

    folder, now = keyring_folder(call, given), call.now()
    keyring = load_keyring(folder)
    named = [keyring.find(name) for name in names]
    marks = {fingerprint(signer.public_key.blob) for signer in others}
    for entry in (*named, *(each for each in keyring.entries if each.fingerprint in marks)):
        if entry.state(now) != "active":
            raise FleetError(
                "key_unusable",
                f"{entry.name} is {entry.state(now).replace('_', ' ')} and cannot sign",
                hint="see fleetmdm evidence key list",
            )
    return [file_signer(key_path(folder, entry.name)) for entry in named]


def _under(signers: Sequence[Signer], certificates: Sequence[Path]) -> list[Signer]:
    """The signers, each under its certificate if one is given; no key twice."""
    from sshwire.pubkey import fingerprint

    by_mark = {fingerprint(signer.public_key.blob): signer for signer in signers}
    if len(by_mark) != len(signers):
        raise click.UsageError("the same key is named twice")
    for path in certificates:
        certificate = _load_certificate(path)
        mark = fingerprint(certificate.blob)
        if mark not in by_mark:
            raise FleetError(
                "key_not_found",
                f"{path} certifies {mark}, which is not among the signing keys",
                hint="name its key with --agent-key or --signing-key-file",
            )
        by_mark[mark] = _Certified(by_mark[mark], certificate)
    return list(by_mark.values())


class _Certified:
    """A signer that shows a certificate in the place of its plain key."""

    def __init__(self, signer: Signer, certificate: Any) -> None:
        self._signer = signer
        self.public_key = certificate

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """As the signer underneath does."""
        return self._signer.sign(data, flags)


def _load_certificate(path: Path) -> Any:
    from sshwire.algorithms import find_algorithm
    from sshwire.errors import WireError
    from sshwire.pubkey import parse_public_line

    try:
        key, _comment = parse_public_line(read_key_file(path).decode())
        if find_algorithm(key.algorithm).is_certificate:
            return key
    except (WireError, UnicodeDecodeError) as error:
        raise FleetError("input_unreadable", f"{path}: {error}") from error
    raise FleetError("input_unreadable", f"{path} is no certificate", hint="KEY-cert.pub")


def read_key_file(path: Path) -> bytes:
    """A key file's bytes; raises `input_not_found` and `input_unreadable`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise FleetError("input_not_found", f"no such key file: {path}") from error
    except OSError as error:
        raise FleetError("input_unreadable", f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise FleetError("input_unreadable", f"{path} is too long for a key")
    return data


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
                continue  # its plain key stands beside it; --certificate shows the certificate
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


def file_signer(path: Path) -> Signer:
    """The key in a private key file without a passphrase."""
    from sshwire.errors import PassphraseError, WireError
    from sshwire.privkey import parse_private_keys

    try:
        (key,) = parse_private_keys(read_key_file(path))
    except PassphraseError as error:
        raise FleetError(
            "input_unreadable",
            f"{path} is encrypted",
            hint="load it into an agent with `ssh-add` and use --agent-key",
        ) from error
    except WireError as error:
        raise FleetError("input_unreadable", f"{path}: {error}") from error
    return key
