"""`GovernanceStore` over SQLite: one method, one function of the modules beside this one.

Rule for editors: no SQL here; every method translates errors, iterators included.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from fleetmdm.governance.assign import Assignment
from fleetmdm.governance.scope import Scope
from fleetmdm.governance.statements import Attestation, Revocation, Waiver
from fleetmdm.store.failures import translated
from fleetmdm.store.governance_port import Pruned, S
from fleetmdm.store.sqlite.governance import assignments, prune, statements
from fleetmdm.store.sqlite.revisions import latest_revision
from fleetmdm.store.sqlite.runs import revision_of


class SqliteGovernance:
    """The base of the store that keeps what people decide."""

    _connection: sqlite3.Connection
    _path: Path

    def assign_policy(self, policy_id: str, scope: Scope, *, now: datetime) -> bool:
        """Assign a current policy."""
        with translated(self._path):
            return assignments.assign_policy(self._connection, policy_id, scope, now=now)

    def unassign_policy(self, policy_id: str, scope: Scope, *, now: datetime) -> bool:
        """End an assignment."""
        with translated(self._path):
            return assignments.unassign_policy(self._connection, policy_id, scope, now=now)

    def assignments(self) -> Iterator[Assignment]:
        """Those in force."""
        with translated(self._path):
            revision = latest_revision(self._connection)
            yield from assignments.read_assignments(self._connection, revision)

    def run_assignments(self, run_id: int) -> Iterator[Assignment]:
        """Those that a run judged by."""
        with translated(self._path):
            revision = revision_of(self._connection, run_id)
            yield from assignments.read_assignments(self._connection, revision)

    def put_statement(self, statement: S, *, leaf: Callable[[S], bytes]) -> S:
        """Keep a waiver or an attestation."""
        with translated(self._path):
            return statements.put_statement(self._connection, statement, leaf=leaf)

    def revoke_statement(
        self,
        kind: type[S],
        statement_id: str,
        revocation: Revocation,
        *,
        leaf: Callable[[S], bytes],
    ) -> S:
        """Take a statement back."""
        with translated(self._path):
            return statements.revoke_statement(
                self._connection, kind, statement_id, revocation, leaf=leaf
            )

    def waivers(self, *, revoked: bool = False) -> Iterator[Waiver]:
        """Accepted risks."""
        with translated(self._path):
            revision = None if revoked else latest_revision(self._connection)
            yield from statements.read_statements(self._connection, Waiver, revision)

    def run_waivers(self, run_id: int) -> Iterator[Waiver]:
        """Those that a run knew."""
        with translated(self._path):
            revision = revision_of(self._connection, run_id)
            yield from statements.read_statements(self._connection, Waiver, revision)

    def attestations(self, *, revoked: bool = False) -> Iterator[Attestation]:
        """What people vouch for."""
        with translated(self._path):
            revision = None if revoked else latest_revision(self._connection)
            yield from statements.read_statements(self._connection, Attestation, revision)

    def run_attestations(self, run_id: int) -> Iterator[Attestation]:
        """Those that a run knew."""
        with translated(self._path):
            revision = revision_of(self._connection, run_id)
            yield from statements.read_statements(self._connection, Attestation, revision)

    def prune_runs(
        self, run_ids: Sequence[int], *, now: datetime, leaf: Callable[[Mapping[str, int]], bytes]
    ) -> Pruned:
        """Forget runs and what only they needed."""
        with translated(self._path):
            return prune.prune_runs(self._connection, run_ids, now=now, leaf=leaf)
