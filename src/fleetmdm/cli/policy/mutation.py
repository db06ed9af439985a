"""`fleetmdm policy test --mutate`: which checks could be wrong without a test that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clikit.progress import Progress
from clikit.table import show_text
from fleetmdm.errors import FleetError
from fleetmdm.evaluate.mutations import is_noticed, mutants
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import Problem


@dataclass(frozen=True, slots=True)
class Mutation:
    """What came of all mutants: how many were made, and those that no test noticed."""

    made: int
    noticed: int
    findings: tuple[Problem, ...]

    def as_json(self) -> dict[str, Any]:
        """The shape of `data.mutation`."""
        return {
            "made": self.made,
            "noticed": self.noticed,
            "findings": [finding.as_json() for finding in self.findings],
        }

    def text(self) -> Iterator[str]:
        """The findings and the count, for people."""
        for finding in self.findings:
            yield f"{show_text(finding)}\n"
        yield f"{self.noticed} of {self.made} mutations noticed\n"

    def failure(self) -> FleetError | None:
        """What to exit with."""
        if not self.findings:
            return None
        return FleetError(
            "mutations_unnoticed",
            f"findings: {len(self.findings)}, of {self.made} mutations",
            hint="add a test of a device that the wrong check would judge otherwise",
        )


def mutate_policies(
    policies: Iterable[tuple[CompliancePolicy, str]], progress: Progress
) -> Mutation:
    """Mutate every policy that is enabled; each comes with the name of what it stands in."""
    made, found = 0, list[Problem]()
    for policy, name in policies:
        if policy.enabled and not policy.tests:
            where = policy.position
            message = f"policy {policy.id} has no tests"
            found.append(Problem(name, where.line, where.column, "no_tests", message))
        elif policy.enabled:
            each, unnoticed = _mutate(policy, name)
            made += each
            found += unnoticed
        progress.advance()
    missed = sum(finding.code != "no_tests" for finding in found)
    return Mutation(made, made - missed, tuple(sorted(found)))


def _mutate(policy: CompliancePolicy, name: str) -> tuple[int, list[Problem]]:
    made, found = 0, list[Problem]()
    for mutant in mutants(policy):
        made += 1
        if not is_noticed(mutant):
            leaf, where = mutant.leaf, mutant.leaf.position
            message = f"no test of {policy.id} notices {leaf.key} {leaf.op} with {mutant.change}"
            found.append(Problem(name, where.line, where.column, mutant.code, message))
    return made, found
