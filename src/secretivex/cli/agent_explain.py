"""`secretive-agent explain`: which rule of the policy decides on a signature, and why.

Rule for editors: it asks the same functions that the agent asks; what the command line does not say
is what the agent could not determine, and is shown as that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any

import click

from clikit.command import Call, standard_options
from clikit.table import show_text
from secretivex.cli.agent_options import SetupOptions
from secretivex.config import AgentConfig
from secretivex.context.purpose import Purpose, read_host
from secretivex.context.signed_data import DataKind
from secretivex.errors import SecretiveError
from secretivex.identity import Identity
from secretivex.key_table import format_of
from secretivex.peer import Caller
from secretivex.policy import SignQuery
from secretivex.policy.explain import Explanation, explain
from secretivex.policy_keys import EntryError, parse_fingerprint, parse_key_blob
from sshwire.algorithms import KEY_ALGORITHMS
from sshwire.errors import WireError
from sshwire.pubkey import fingerprint, parse_public_line


@click.command("explain")
@standard_options(formats=("text", "json"))
@click.option(
    "--config", type=click.Path(path_type=Path), metavar="FILE", help="Configuration file."
)
@click.option(
    "--key",
    "wanted",
    required=True,
    metavar="KEY",
    help="A .pub file or line, or the fingerprint or comment of a key in the configured stores.",
)
@click.option("--store", help="The store that holds it; known for a key of the configured stores.")
@click.option("--peer", metavar="PID|self", help="A running process as the caller. Linux.")
@click.option("--uid", type=click.IntRange(0), help="The caller's user.")
@click.option("--gid", type=click.IntRange(0), help="The caller's group.")
@click.option("--executable", metavar="PATH", help="The caller's program.")
@click.option(
    "--ancestor", "ancestors", multiple=True, metavar="PATH", help="Who started it; nearest first."
)
@click.option(
    "--destination",
    metavar="[USER@][HOSTKEY]",
    help="A login: as whom, to which host key; USER@ where the host is not known.",
)
@click.option("--host-ca", metavar="KEY", help="The authority that certified the host key.")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in DataKind]),
    help="What is signed; userauth with --destination.",
)
@click.option("--detail", help="Namespace of an SSHSIG, payload type of a DSSE envelope.")
@click.option("--forwarded/--not-forwarded", "is_forwarded", default=None, help="How it comes.")
@click.option(
    "--flags", type=click.Choice(["0", "2", "4", "6"]), default="0", help="Of the request."
)
@click.option("--at", "moment", metavar="TIME", help="When, as 2026-12-01T09:00:00Z; else now.")
def command(call: Call, *, config: Path | None, **given: Any) -> None:
    """Say which rule decides on a signature, and what every rule says.

    Exit status 6 means that it would be refused.
    """
    _refuse_idle(given)
    setup = SetupOptions(config, {}, Path.cwd()).load(call.environ)
    query = _query_of(setup.config, call.environ, given)
    found = _with_command(explain(setup.policy, query), setup.config)
    refused = None
    if not found.decision.allowed:
        refused = SecretiveError("sign_refused", f"refused: {_reason(found)}")
    call.emit(_document(found, query), lambda: _lines(found, query), found=refused)


_BESIDE_PEER = ("uid", "gid", "executable", "ancestors")
_DETAILED = (DataKind.SSHSIG, DataKind.DSSE)


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """An option that would say nothing beside the others is a mistake in the question."""
    if given["peer"] and any(given[name] not in (None, ()) for name in _BESIDE_PEER):
        raise click.UsageError("--peer says all of the caller: leave the others of it out")
    if given["detail"] is not None and given["kind"] not in _DETAILED:
        raise click.UsageError("--detail is of --kind sshsig or --kind dsse")
    if given["host_ca"] and (given["destination"] or "@").endswith("@"):
        raise click.UsageError("--host-ca is of the host of a --destination")


def _with_command(found: Explanation, config: AgentConfig) -> Explanation:
    """`confirm_command` asks before every signature that no rule refuses."""
    decision = found.decision
    if not (config.confirm_command and decision.allowed) or decision.confirm:
        return found
    return replace(found, decision=decision._replace(confirm="confirm_command"))


_NEVER_SHA1 = ("pkcs11", "tpm", "secure_enclave")
"""Stores whose keys are not ours to sign over SHA-1 with."""


def _query_of(
    config: AgentConfig, environ: Mapping[str, str], given: Mapping[str, Any]
) -> SignQuery:
    identity = _find_key(given["wanted"], given["store"], config, environ)
    uid, gid, caller = _caller_of(given)
    now_s = _moment_of(given["moment"])
    blob, flags = identity.key_blob, int(given["flags"])
    over_sha1 = config.allow_sha1 and not identity.store.startswith(_NEVER_SHA1)
    return SignQuery(
        key_blob=blob,
        fingerprint_sha256=fingerprint(blob),
        fingerprint_sha512=fingerprint(blob, "sha512"),
        comment=identity.comment,
        algorithm=identity.algorithm,
        store=identity.store or None,
        peer_uid=uid,
        peer_gid=gid,
        executable=caller.executable,
        ancestors=caller.ancestors,
        is_forwarded=given["is_forwarded"],
        purpose=_purpose_of(given, now_s),
        signature_format=format_of(identity.algorithm, flags, over_sha1=over_sha1),
        flags=flags,
        now_s=now_s,
    )


def _find_key(
    wanted: str, store: str | None, config: AgentConfig, environ: Mapping[str, str]
) -> Identity:
    """A key that is given whole, or the one of the configured stores that fits."""
    path = Path(wanted)
    try:
        text = path.read_text() if path.suffix == ".pub" and path.is_file() else wanted
        key, comment = parse_public_line(text.strip())
    except (OSError, UnicodeDecodeError, WireError):
        return _find_stored(wanted, config, environ)
    return Identity(key.blob, comment, key.algorithm, store or "")


def _find_stored(wanted: str, config: AgentConfig, environ: Mapping[str, str]) -> Identity:
    from secretivex.hardening import harden
    from secretivex.stores.opening import open_stores
    from secretivex.stores.registry import Registry

    harden()
    registry = Registry(open_stores(config, environ))
    registry.refresh()
    try:
        print_ = parse_fingerprint(wanted)
    except EntryError:
        print_ = ""
    found = [
        one
        for one in registry.identities()
        if one.comment == wanted or (print_ and print_ in _prints_of(one.key_blob))
    ]
    if not found:
        hint = "a .pub file that exists, or what `secretive-client list` shows of a stored key"
        message = f"no key of the configured stores is {wanted!r}"
        raise SecretiveError("key_not_found", message, hint=hint)
    if len(prints := sorted({fingerprint(one.key_blob) for one in found})) > 1:
        message = f"{wanted!r} fits more than one key: {', '.join(prints)}"
        raise SecretiveError("key_ambiguous", message, hint="name one by its fingerprint")
    # As for `sign`: what a key shares with its certificates means the key.
    return min(found, key=lambda one: KEY_ALGORITHMS[one.algorithm].is_certificate)


def _prints_of(blob: bytes) -> tuple[str, str]:
    return fingerprint(blob), fingerprint(blob, "sha512")


def _caller_of(given: Mapping[str, Any]) -> tuple[int | None, int | None, Caller]:
    """From a running process, or from what the options say of one."""
    if given["peer"] is not None:
        return _running(given["peer"])
    caller = Caller(given["executable"] or "", given["ancestors"] or None)
    return given["uid"], given["gid"], caller


def _running(text: str) -> tuple[int, int, Caller]:
    from secretivex.server.peercred import look_up

    pid = os.getpid() if text == "self" else int(text) if text.isdecimal() else 0
    try:
        status = os.stat(f"/proc/{pid}") if pid else None  # noqa: PTH116 - a number, no path of a user's
    except OSError:
        status = None
    if status is None:
        raise SecretiveError("input_not_found", f"no process {text!r} can be looked at here")
    return status.st_uid, status.st_gid, look_up(pid, status.st_uid)


def _purpose_of(given: Mapping[str, Any], now_s: float) -> Purpose | None:
    destination, kind, detail = given["destination"], given["kind"], given["detail"]
    if destination is None:
        told = detail is not None
        return Purpose(DataKind(kind), detail or "", is_told=told) if kind else None
    if kind not in (None, DataKind.USERAUTH):
        raise click.UsageError("--destination is of a login: --kind userauth")
    user, at, host = (
        destination.rpartition("@") if _has_user(destination) else ("", "", destination)
    )
    login = Purpose(DataKind.USERAUTH, user=user, is_told=bool(at))
    if not host:
        return login
    try:
        host_key, authority = read_host(_key_of(host), now_s)
    except WireError as error:
        raise click.UsageError(f"--destination: {error}") from error
    authority = _key_of(given["host_ca"]) if given["host_ca"] else authority
    return login._replace(host_key=host_key, authority=authority)


def _has_user(destination: str) -> bool:
    return "@" in destination.split(" ", 1)[0]


def _key_of(text: str) -> bytes:
    path = Path(text)
    try:
        return parse_key_blob(path.read_text() if path.is_file() else text)
    except EntryError as error:
        raise click.UsageError(f"{error} ({error.hint})") from error


def _moment_of(text: str | None) -> float:
    if text is None:
        return time()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--at {text!r} is no time") from error
    if moment.tzinfo is None:
        raise click.UsageError("--at needs a zone, for example 2026-12-01T09:00:00Z")
    return moment.timestamp()


def _reason(found: Explanation) -> str:
    decision = found.decision
    return f"{decision.reason}, by {decision.rule!r}" if decision.rule else decision.reason


def _lines(found: Explanation, query: SignQuery) -> Iterator[str]:
    decision = found.decision
    word = "allowed" if decision.allowed else "refused"
    if decision.allowed and decision.confirm:
        word = f"allowed once a person agrees, which {decision.confirm!r} wants"
    yield f"{word}: {_reason(found)}\n"
    yield f"  key      {query.fingerprint_sha256}, of store {query.store or '?'}\n"
    started = ", ".join(show_text(path or "?") for path in query.ancestors or ("?",))
    uid, gid = ("?" if one is None else one for one in (query.peer_uid, query.peer_gid))
    program = show_text(query.executable or "?")
    yield f"  caller   uid {uid}, gid {gid}, {program}, started by {started}\n"
    for rule in found.rules:
        conditions = ", ".join(f"{name} {match.value}" for name, match in rule.conditions)
        yield f"  {rule.match.value:7}  {rule.effect:7}  {rule.name}: {conditions or 'always'}\n"


def _document(found: Explanation, query: SignQuery) -> dict[str, Any]:
    decision = found.decision
    return {
        "allowed": decision.allowed,
        "confirm": decision.confirm or None,
        "rule": decision.rule or None,
        "reason": decision.reason,
        "key": query.fingerprint_sha256,
        "caller": {
            "uid": query.peer_uid,
            "gid": query.peer_gid,
            "executable": query.executable or None,
            "ancestors": query.ancestors,
        },
        "rules": [
            {
                "name": rule.name,
                "effect": rule.effect,
                "match": rule.match.value,
                "conditions": {name: match.value for name, match in rule.conditions},
            }
            for rule in found.rules
        ],
    }
