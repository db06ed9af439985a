"""Assignments as intervals over revisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime

from fleetmdm.governance.assign import Assignment
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.store.codec import parse_stamp
from fleetmdm.store.sqlite.connection import writing
from fleetmdm.store.sqlite.policies import current_policy
from fleetmdm.store.sqlite.revisions import IN_FORCE, new_revision

_OPEN = """
SELECT 1 FROM assignments WHERE policy = ? AND kind = ? AND value = ? AND until_revision IS NULL
"""

_CLOSE = """
UPDATE assignments SET until_revision = ?
WHERE policy = ? AND kind = ? AND value = ? AND until_revision IS NULL
"""


def assign_policy(
    connection: sqlite3.Connection, policy_id: str, scope: Scope, *, now: datetime
) -> bool:
    """Open an interval; False where one is open. Raises `policy_not_found`."""
    with writing(connection):
        key = (current_policy(connection, policy_id), scope.kind.value, scope.value)
        if connection.execute(_OPEN, key).fetchone():
            return False
        detail = {"assigned": policy_id, "scope": scope.as_json()}
        revision = new_revision(connection, "assignments", detail, now=now)
        connection.execute(
            "INSERT INTO assignments (policy, kind, value, since_revision) VALUES (?, ?, ?, ?)",
            (*key, revision),
        )
    return True


def unassign_policy(
    connection: sqlite3.Connection, policy_id: str, scope: Scope, *, now: datetime
) -> bool:
    """Close an interval; False where none is open. Raises `policy_not_found`."""
    with writing(connection):
        key = (current_policy(connection, policy_id), scope.kind.value, scope.value)
        if not connection.execute(_OPEN, key).fetchone():
            return False
        detail = {"unassigned": policy_id, "scope": scope.as_json()}
        revision = new_revision(connection, "assignments", detail, now=now)
        connection.execute(_CLOSE, (revision, *key))
    return True


_ASSIGNMENTS = f"""
SELECT names.name, assigned.kind, assigned.value, revisions.at
FROM assignments AS assigned JOIN policy_names AS names USING (policy)
JOIN revisions ON revisions.revision = assigned.since_revision
WHERE {IN_FORCE.format("assigned")}
ORDER BY names.name, assigned.kind, assigned.value
"""  # noqa: S608 - constants of this package, no value from outside


def read_assignments(connection: sqlite3.Connection, revision: int) -> Iterator[Assignment]:
    """Assignments in force at a revision."""
    for policy, kind, value, at in connection.execute(_ASSIGNMENTS, {"revision": revision}):
        yield Assignment(policy, Scope(ScopeKind(kind), value), parse_stamp(at))
