"""The part of the store's port that keeps what people decide, in domain words.

Rules for editors: those of `port`. Every change is a revision, which runs pin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from fleetmdm.governance.assign import Assignment
from fleetmdm.governance.scope import Scope
from fleetmdm.governance.statements import Attestation, Revocation, Waiver

S = TypeVar("S", Waiver, Attestation)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a pruning removed. `leaf` is the index of its own leaf in the ledger."""

    run_ids: tuple[int, ...]
    removed: Mapping[str, int]
    """Rows by what they were: results, documents, policies, assignments, ..."""
    leaf: int | None


class GovernanceStore(Protocol):
    """Assignments, waivers and attestations of one fleet, and letting go of old runs."""

    def assign_policy(self, policy_id: str, scope: Scope, *, now: datetime) -> bool:
        """Assign a current policy; False where it was so already. Raises `policy_not_found`."""
        ...

    def unassign_policy(self, policy_id: str, scope: Scope, *, now: datetime) -> bool:
        """End an assignment; False where there is none."""
        ...

    def assignments(self) -> Iterator[Assignment]:
        """Those in force, by policy, then scope."""
        ...

    def run_assignments(self, run_id: int) -> Iterator[Assignment]:
        """Those that a run judged by. Raises `run_not_found`."""
        ...

    def put_statement(self, statement: S, *, leaf: Callable[[S], bytes]) -> S:
        """Keep a waiver or an attestation and append its leaf; answers it with its id.

        An empty id is given by the store: W1, W2, ... and A1, A2, ... Raises `policy_not_found`,
        and `statement_exists` where the id was ever used.
        """
        ...

    def revoke_statement(
        self,
        kind: type[S],
        statement_id: str,
        revocation: Revocation,
        *,
        leaf: Callable[[S], bytes],
    ) -> S:
        """Take a statement back. Raises `statement_not_found`, also where it is revoked already."""
        ...

    def waivers(self, *, revoked: bool = False) -> Iterator[Waiver]:
        """Those that are not revoked, expired ones included, by id; or else all."""
        ...

    def run_waivers(self, run_id: int) -> Iterator[Waiver]:
        """Those that were not revoked when a run began, by id. Raises `run_not_found`."""
        ...

    def attestations(self, *, revoked: bool = False) -> Iterator[Attestation]:
        """Those that are not revoked, stale ones included, by id; or else all."""
        ...

    def run_attestations(self, run_id: int) -> Iterator[Attestation]:
        """Those that were not revoked when a run began, by id. Raises `run_not_found`."""
        ...

    def prune_runs(
        self, run_ids: Sequence[int], *, now: datetime, leaf: Callable[[Mapping[str, int]], bytes]
    ) -> Pruned:
        """Forget runs, and what no run that stays, nor the present, needs. The newest run stays.

        The ledger keeps every leaf. Raises `run_not_found`.
        """
        ...
