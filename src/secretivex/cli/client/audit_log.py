"""`secretive-client tail-audit` and `verify-audit`: reading and checking an audit log.

Rule for editors: a log is hostile input, and what is shown of it passes `show_text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import click

from clikit.command import Call, standard_options
from clikit.table import show_text
from secretivex.audit.chain import ROOT_KEY_BYTES
from secretivex.audit.check import check_log
from secretivex.audit.line import parse_line
from secretivex.audit.record import encode_line
from secretivex.audit.report import Report
from secretivex.errors import SecretiveError
from secretivex.policy_keys import EntryError, parse_fingerprint
from secretivex.server.audit.follow import follow_lines, read_lines, read_newest

MAX_FINDINGS = 100
"""Findings that are shown; the rest is counted."""

_QUIET_EVENT = "seal"


def open_log(path: Path) -> BinaryIO:
    """A log to read; raises `SecretiveError`."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise SecretiveError("input_not_found", f"{path} does not exist") from error
    except OSError as error:
        raise SecretiveError("input_unreadable", f"{path}: {error.strerror}") from error


def _check_key(text: str) -> str:
    """A fingerprint as records have it; of another there would be no record, ever."""
    try:
        found = parse_fingerprint(text)
    except EntryError as error:
        raise SecretiveError("usage", f"--key: {error}", hint=error.hint) from error
    if not found.startswith("SHA256:"):
        hint = "ssh-keygen -lf KEY.pub prints that one"
        raise SecretiveError("usage", "--key: records have SHA256 fingerprints", hint=hint)
    return found


@click.command("tail-audit")
@standard_options(formats=("text", "json"))
@click.argument("log", type=click.Path(path_type=Path))
@click.option("--lines", "-n", type=click.IntRange(0), default=20, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on as the log grows, through its rotation.")
@click.option("--event", "events", multiple=True, help="Only this event; may be repeated.")
@click.option("--key", metavar="FINGERPRINT", help="Only records about this key.")
@click.option("--failed", is_flag=True, help="Only what did not end with ok.")
def tail_audit(
    call: Call,
    log: Path,
    *,
    lines: int,
    follow: bool,
    events: tuple[str, ...],
    key: str | None,
    failed: bool,
) -> None:
    """Show the newest records of an audit log, one a line.

    Seals are left out unless `--event seal` asks for them. With --format json the records come as
    they stand in the log, one a line, without an envelope.
    """
    wanted_key = _check_key(key) if key is not None else None

    def wanted(record: Mapping[str, Any]) -> bool:
        event = record.get("event")
        is_event = event in events if events else event != _QUIET_EVENT
        is_key = wanted_key is None or record.get("key") == wanted_key
        return is_event and is_key and not (failed and record.get("outcome") == "ok")

    def select(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        return filter(wanted, map(_parse, lines))

    def show(record: Mapping[str, Any]) -> str:
        return encode_line(record).decode() if call.format == "json" else describe(record) + "\n"

    with open_log(log) as file:
        newest = read_newest(file, lines, select)
        call.emit_chunks(map(show, newest), more=follow)
        if follow:
            # Each as it comes: a document is held back until it is whole, and this never is.
            for record in select(follow_lines(log, file)):
                call.stdout.write(show(record))
                call.stdout.flush()


def _parse(line: bytes) -> dict[str, Any]:
    return parse_line(line) or {"event": "not_a_record"}


def describe(record: Mapping[str, Any]) -> str:
    """A record as a person reads it: when, what, what came of it, and the rest by name."""
    first = ("time", "event", "outcome")
    head = [_said(record.get(name, "-")) for name in first]
    rest = [f"{_said(name)}={_said(value)}" for name, value in record.items() if name not in first]
    return show_text(" ".join(head + rest))


def _said(value: object) -> str:
    """A value that cannot be taken for more than one: quoted where it has what parts them."""
    if isinstance(value, list):
        return ",".join(map(_said, value))
    text = str(value)
    is_plain = not any(char.isspace() or char in '",=' for char in text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


@click.command("verify-audit")
@standard_options(formats=("text", "json"))
@click.argument("logs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--key-file",
    "key_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="The log's key file, kept elsewhere: check that every seal was made by the agent.",
)
@click.option("--head", metavar="HASH", default="", help="A hash noted earlier; must be there yet.")
@click.option(
    "--signer",
    "signers",
    metavar="FINGERPRINT",
    multiple=True,
    help="The signing key that a chain began with, noted earlier; every chain must have one.",
)
def verify_audit(
    call: Call,
    logs: tuple[Path, ...],
    *,
    key_files: tuple[Path, ...],
    head: str,
    signers: tuple[str, ...],
) -> None:
    """Check an audit log: nothing altered, cut or reordered. Name its files oldest first.

    Exit 1 with every finding. Without --key-file the seals show accidents and edits of somebody who
    did not make the hashes anew; with it, or with --head or --signer, anybody's.
    """
    keys = read_keys(key_files) if key_files else None
    report = check_log(_all_lines(logs), keys=keys, head=head, signers=signers)
    data = encode_report(report)
    found = None
    if report.findings:
        first = report.findings[0]
        message = f"{report.found} findings; the first, at line {first.line}: {first.message}"
        found = SecretiveError("audit_invalid", message)
    call.emit(data, lambda: _text(report), found=found)


def _all_lines(logs: Iterable[Path]) -> Iterator[bytes]:
    for path in logs:
        with open_log(path) as file:
            yield from read_lines(file)


def read_keys(paths: Iterable[Path]) -> dict[str, bytes]:
    """First keys of chains from `NAME HEX` lines; raises `SecretiveError`."""
    keys: dict[str, bytes] = {}
    for path in paths:
        with open_log(path) as file:
            for number, line in enumerate(read_lines(file), 1):
                name, _, text = line.decode("ascii", "replace").strip().partition(" ")
                key = _unhex(text)
                if len(key) != ROOT_KEY_BYTES or keys.setdefault(name, key) != key:
                    message = f"{path}:{number}: not a chain's name and its one key"
                    raise SecretiveError("config_invalid", message)
    return keys


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def encode_report(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "records": report.records,
        "seals": report.seals,
        "chains": report.chains,
        "begins_midway": report.begins_midway,
        "seals_without_key": report.unchecked_macs,
        "unsealed_records": report.unsealed,
        "unclosed_chains": report.unclosed,
        "signed_heads": report.signed_heads,
        "signers": report.signers,
        "head": report.head,
        "findings": [asdict(finding) for finding in report.findings[:MAX_FINDINGS]],
        "findings_in_all": report.found,
    }


def _text(report: Report) -> Iterator[str]:
    for finding in report.findings[:MAX_FINDINGS]:
        yield f"line {finding.line}: {finding.code}: {show_text(finding.message)}\n"
    counts = f"{report.seals} seals, {report.signed_heads} signed heads"
    yield f"{report.records} records, {counts}, {len(report.chains)} chains\n"
    for signer in report.signers:
        yield f"signer: {signer}\n"
    if report.begins_midway:
        yield "the first file continues an older one, which was not given\n"
    if report.unchecked_macs:
        yield f"{report.unchecked_macs} seals of chains whose key was not given: hashes checked only\n"
    if report.unsealed:
        yield f"{report.unsealed} records after the last seal of their chain\n"
    for chain in report.unclosed:
        yield f"chain {show_text(chain)} has no end: it is being written, was killed, or was cut\n"
    yield f"head: {report.head}\n"
