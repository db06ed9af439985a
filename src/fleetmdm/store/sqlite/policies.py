"""Policies: their exact source, as intervals over revisions, and beside it the form to read it by.

A form is derived from a source and made again where it is missing or of another version.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

from fleetmdm.errors import FleetError
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml.form import FORM_VERSION, decode_form, encode_form
from fleetmdm.store.sqlite.connection import writing
from fleetmdm.store.sqlite.revisions import IN_FORCE, new_revision

_IN_FORCE = IN_FORCE.format("policies")

_CURRENT = (
    "SELECT policy, sha256 FROM policies JOIN policy_names USING (policy)"
    " WHERE name = ? AND until_revision IS NULL"
)

_CLOSE = "UPDATE policies SET until_revision = ? WHERE policy = ? AND until_revision IS NULL"

# A policy that comes back under the same id is not assigned unseen.
_UNASSIGN = "UPDATE assignments SET until_revision = ? WHERE policy = ? AND until_revision IS NULL"


def put_policies(
    connection: sqlite3.Connection, policies: Sequence[CompliancePolicy], *, now: datetime
) -> None:
    """Add or replace; a source that is kept already is left alone."""
    with writing(connection):
        changed = {one.id: one for one in policies if _differs(connection, one)}
        if not changed:
            return
        revision = new_revision(connection, "policies", {"put": sorted(changed)}, now=now)
        for policy in changed.values():
            number = _number(connection, policy.id)
            connection.execute(_CLOSE, (revision, number))
            connection.execute(
                "INSERT INTO policies (policy, since_revision, sha256, source) VALUES (?, ?, ?, ?)",
                (number, revision, _digest(policy), policy.source),
            )


def _differs(connection: sqlite3.Connection, policy: CompliancePolicy) -> bool:
    row = connection.execute(_CURRENT, (policy.id,)).fetchone()
    return row is None or row[1] != _digest(policy)


def _digest(policy: CompliancePolicy) -> bytes:
    return hashlib.sha256(policy.source).digest()


def _number(connection: sqlite3.Connection, policy_id: str) -> int:
    connection.execute("INSERT OR IGNORE INTO policy_names (name) VALUES (?)", (policy_id,))
    row = connection.execute("SELECT policy FROM policy_names WHERE name = ?", (policy_id,))
    number: int = row.fetchone()[0]
    return number


def remove_policy(connection: sqlite3.Connection, policy_id: str, *, now: datetime) -> None:
    """End a policy's interval. Raises `policy_not_found`."""
    with writing(connection):
        number = current_policy(connection, policy_id)
        revision = new_revision(connection, "policies", {"removed": [policy_id]}, now=now)
        for statement in (_CLOSE, _UNASSIGN):
            connection.execute(statement, (revision, number))


def read_policies(connection: sqlite3.Connection, revision: int) -> Iterator[tuple[str, bytes]]:
    """(id, source) of the policies in force at a revision, in the order of their ids."""
    yield from connection.execute(
        f"SELECT name, source FROM policies JOIN policy_names USING (policy)"  # noqa: S608 - constants of this package
        f" WHERE {_IN_FORCE} ORDER BY name",
        {"revision": revision},
    )


_FORMS = f"""
SELECT name, source, form FROM policies JOIN policy_names USING (policy)
LEFT JOIN policy_forms AS kept ON kept.sha256 = policies.sha256 AND kept.version = :version
WHERE {_IN_FORCE} AND (:chosen IS NULL OR name IN (SELECT value FROM json_each(:chosen)))
ORDER BY name
"""  # noqa: S608 - constants of this package


def load_policies(
    connection: sqlite3.Connection, revision: int, chosen: Collection[str] | None = None
) -> tuple[CompliancePolicy, ...]:
    """The policies in force at a revision, in the order of their ids; `chosen` are ids, None is all.

    Raises `policy_invalid` where the language has moved on.
    """
    only = None if chosen is None else json.dumps(sorted(chosen))
    wanted = {"revision": revision, "version": FORM_VERSION, "chosen": only}
    return tuple(
        _parse(name, source) if form is None else decode_form(form, source)
        for name, source, form in connection.execute(_FORMS, wanted)
    )


def _parse(name: str, source: bytes) -> CompliancePolicy:
    from fleetmdm.policy_yaml import parse_policy

    return parse_policy(source, name=f"policy {name}")


def keep_forms(connection: sqlite3.Connection, policies: Iterable[CompliancePolicy]) -> None:
    """Keep the forms of policies as `load_policies` gave them, inside the caller's transaction."""
    known = dict(connection.execute("SELECT sha256, version FROM policy_forms").fetchall())
    new = [one for one in policies if known.get(_digest(one)) != FORM_VERSION]
    connection.executemany(
        "INSERT OR REPLACE INTO policy_forms (sha256, version, form) VALUES (?, ?, ?)",
        ((_digest(one), FORM_VERSION, encode_form(one)) for one in new),
    )


def find_odd_forms(connection: sqlite3.Connection) -> Iterator[str]:
    """Sentences about forms of this version that say otherwise than their sources."""
    rows = connection.execute(
        "SELECT DISTINCT name, source, form FROM policy_forms JOIN policies USING (sha256)"
        " JOIN policy_names USING (policy) WHERE version = ? ORDER BY name",
        (FORM_VERSION,),
    )
    for name, source, form in rows:
        if encode_form(_parse(name, source)) != form:
            yield f"policy {name} is kept as read otherwise than its source says"


def current_policy(connection: sqlite3.Connection, policy_id: str) -> int:
    """The number of a policy in force. Raises `policy_not_found`."""
    row = connection.execute(_CURRENT, (policy_id,)).fetchone()
    if row is None:
        hint = "see `fleetmdm policy list`"
        raise FleetError(
            "policy_not_found",
            f"no policy has the id '{policy_id}'",
            hint=hint,
            details={"policy_id": policy_id},
        )
    return int(row[0])


def policy_numbers(connection: sqlite3.Connection, revision: int) -> dict[str, int]:
    """The number of each policy in force at a revision, by id."""
    rows = connection.execute(
        f"SELECT name, policy FROM policies JOIN policy_names USING (policy) WHERE {_IN_FORCE}",  # noqa: S608 - constants of this package
        {"revision": revision},
    )
    return dict(rows.fetchall())
