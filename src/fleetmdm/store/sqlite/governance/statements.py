"""Waivers and attestations: documents that are never changed, and when they were taken back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from itertools import count
from typing import Any, cast

from clikit.canonical import encode_canonical
from fleetmdm.errors import FleetError
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Revocation, Statement, Waiver
from fleetmdm.rfc3339 import parse_time
from fleetmdm.store.governance_port import S
from fleetmdm.store.sqlite.connection import writing
from fleetmdm.store.sqlite.ledger import append_leaf
from fleetmdm.store.sqlite.policies import current_policy
from fleetmdm.store.sqlite.revisions import IN_FORCE, new_revision

_LETTERS = {"waiver": "W", "attestation": "A"}


def kind_of(kind: type[Statement]) -> str:
    """The word of the table for a class."""
    return "waiver" if kind is Waiver else "attestation"


def put_statement(connection: sqlite3.Connection, statement: S, *, leaf: Callable[[S], bytes]) -> S:
    """Keep a statement and append its leaf; answers it with its id."""
    kind = kind_of(type(statement))
    with writing(connection):
        policy = current_policy(connection, statement.policy_id)
        named = replace(statement, id=statement.id or _next_name(connection, kind))
        if _is_used(connection, kind, named.id):
            hint = "ids are never used again; give another"
            message = f"there is or was a {kind} {named.id}"
            raise FleetError("statement_exists", message, hint=hint)
        detail = {"made": named.id, "kind": kind}
        revision = new_revision(connection, kind, detail, now=named.begins_at)
        index = append_leaf(connection, leaf(named))
        connection.execute(
            "INSERT INTO statements (kind, name, policy, since_revision, document, leaf)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (kind, named.id, policy, revision, encode_canonical(named.as_json()), index),
        )
    return named


def _is_used(connection: sqlite3.Connection, kind: str, name: str) -> bool:
    sql = "SELECT 1 FROM statements WHERE kind = ? AND name = ?"
    return connection.execute(sql, (kind, name)).fetchone() is not None


def _next_name(connection: sqlite3.Connection, kind: str) -> str:
    """The first of W1, W2, ... that was never used."""
    names = (f"{_LETTERS[kind]}{number}" for number in count(1))
    return next(name for name in names if not _is_used(connection, kind, name))


def revoke_statement(
    connection: sqlite3.Connection,
    kind: type[S],
    statement_id: str,
    revocation: Revocation,
    *,
    leaf: Callable[[S], bytes],
) -> S:
    """Take a statement back and append the leaf of that. Raises `statement_not_found`."""
    word = kind_of(kind)
    with writing(connection):
        row = connection.execute(
            "SELECT statement, document FROM statements"
            " WHERE kind = ? AND name = ? AND until_revision IS NULL",
            (word, statement_id),
        ).fetchone()
        if row is None:
            message = f"no {word} {statement_id} is in force"
            hint = f"see `fleetmdm {'waiver' if word == 'waiver' else 'attest'} list`"
            raise FleetError("statement_not_found", message, hint=hint)
        revoked = cast("S", replace(_parse(word, row[1]), revocation=revocation))
        detail = {"revoked": statement_id, "kind": word}
        revision = new_revision(connection, word, detail, now=revocation.revoked_at)
        append_leaf(connection, leaf(revoked))
        connection.execute(
            "UPDATE statements SET until_revision = ?, revocation = ? WHERE statement = ?",
            (revision, encode_canonical(revocation.as_json()), row[0]),
        )
    return revoked


_STATEMENTS = f"""
SELECT document, revocation FROM statements
WHERE kind = :kind AND {IN_FORCE.format("statements")}
ORDER BY name
"""  # noqa: S608 - constants of this package, no value from outside

_EVERY = "SELECT document, revocation FROM statements WHERE kind = :kind ORDER BY name"


def read_statements(
    connection: sqlite3.Connection, kind: type[S], revision: int | None
) -> Iterator[S]:
    """Statements that were not revoked at a revision, by id; None is every one."""
    word = kind_of(kind)
    sql = _EVERY if revision is None else _STATEMENTS
    for document, revocation in connection.execute(sql, {"kind": word, "revision": revision}):
        # At an earlier revision it was not known that it would be taken back.
        known = None if revision is not None else _parse_revocation(revocation)
        yield cast("S", replace(_parse(word, document), revocation=known))


def _parse(kind: str, document: bytes) -> Statement:
    value: dict[str, Any] = json.loads(document)
    ((scope_kind, given),) = value["scope"].items()
    if scope_kind == ScopeKind.SELECTOR:
        given = encode_canonical(given).decode()
    scope = Scope(ScopeKind(scope_kind), given)
    policy_id, devices = value["policy_id"], frozenset(value["device_ids"])
    if kind == "attestation":
        return Attestation(
            id=value["attestation_id"],
            policy_id=policy_id,
            scope=scope,
            device_ids=devices,
            answer=Answer(value["answer"]),
            statement=value["statement"],
            attested_by=value["attested_by"],
            attested_at=parse_time(value["attested_at"]),
            stale_at=parse_time(value["stale_at"]),
        )
    return Waiver(
        id=value["waiver_id"],
        policy_id=policy_id,
        scope=scope,
        device_ids=devices,
        reason=value["reason"],
        risk_owner=value["risk_owner"],
        approver=value["approver"],
        approved_at=parse_time(value["approved_at"]),
        expires=date.fromisoformat(value["expires"]),
        zone=value["zone"],
        expires_at=parse_time(value["expires_at"]),
        compensating_control=value["compensating_control"],
    )


def _parse_revocation(data: bytes | None) -> Revocation | None:
    if data is None:
        return None
    value = json.loads(data)
    return Revocation(parse_time(value["revoked_at"]), value["revoked_by"], value["reason"])
