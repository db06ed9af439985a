"""Policies from YAML, strictly: `read_policies` finds all that is wrong, `parse_policies` raises it.

Grammar and meaning: docs/policy-language.md. Rule for editors: nothing is guessed and nothing is
dropped; what the language does not have is a problem with its line and column. The grammar is
imported where a source is read, since most commands read a policy's form alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fleetmdm.errors import FleetError
from fleetmdm.policy import CompliancePolicy, Position
from fleetmdm.policy import Node as Check
from fleetmdm.policy_yaml.problems import Problem, Problems, refusal
from fleetmdm.policy_yaml.yaml_tree import decode_text, read_documents

if TYPE_CHECKING:
    from fleetmdm.policy_yaml.document import ReadPolicy

__all__ = [
    "PolicyFile",
    "Problem",
    "parse_policies",
    "parse_policy",
    "parse_selector",
    "policy_invalid",
    "read_policies",
]

MAX_POLICIES: Final = 1000
"""Policies of one file."""
MAX_PROBLEMS: Final = 200
"""Problems of one file that are kept; a file with more has one cause."""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What one file holds. `policies` is complete only where `problems` is empty."""

    name: str
    policies: tuple[CompliancePolicy, ...]
    problems: tuple[Problem, ...]
    unused_parameters: tuple[tuple[CompliancePolicy, str], ...] = ()


def read_policies(data: bytes, *, name: str) -> PolicyFile:
    """Read a file of policies; never raises for what the file holds."""
    problems = Problems(name)
    read = _read(data, problems)
    problems.found.sort()
    return PolicyFile(
        name=name,
        policies=tuple(each.policy for each in read),
        problems=tuple(problems.found[:MAX_PROBLEMS]),
        unused_parameters=tuple(
            (each.policy, unused) for each in read for unused in each.unused_parameters
        ),
    )


def parse_policies(data: bytes, *, name: str) -> tuple[CompliancePolicy, ...]:
    """The policies of a file; raises `policy_invalid` with every problem."""
    file = read_policies(data, name=name)
    if file.problems:
        raise policy_invalid(file.problems)
    return file.policies


def parse_policy(source: bytes, *, name: str) -> CompliancePolicy:
    """The one policy of a stored source; raises `policy_invalid`."""
    policies = parse_policies(source, name=name)
    if len(policies) != 1:
        message = f"{len(policies)} policies where one is stored"
        raise policy_invalid((Problem(name, 1, 1, "yaml_syntax", message),))
    return policies[0]


def parse_selector(text: str, *, name: str) -> tuple[Check, str]:
    """A check or composition as in `targets.where`, and its canonical JSON; raises `policy_invalid`.

    JSON is YAML, so that what is kept can be read again.
    """
    from clikit.canonical import encode_canonical
    from fleetmdm.policy_yaml.checks import CheckReader
    from fleetmdm.policy_yaml.parameters import Substitution
    from fleetmdm.policy_yaml.strict import Strict

    problems = Problems(name)
    documents = read_documents(decode_text(text.encode(), problems), problems)
    if len(documents) != 1 and not problems.found:
        problems.add(
            Position(1, 1), "wrong_type", "a selector is one check, such as key, op, value"
        )
    strict = Strict(problems)
    reader = CheckReader(strict, Substitution(strict, {}))
    node = reader.condition(documents[0].root, "where") if documents else None
    if problems.found or node is None:
        raise policy_invalid(tuple(sorted(problems.found)))
    return node, encode_canonical(documents[0].root.plain()).decode()


def policy_invalid(problems: tuple[Problem, ...]) -> FleetError:
    """The failure that carries these problems."""
    return refusal("policy_invalid", problems, hint="fleetmdm policy lint shows every problem")


def _read(data: bytes, problems: Problems) -> list[ReadPolicy]:
    from fleetmdm.policy_yaml.document import read_policy
    from fleetmdm.policy_yaml.strict import Strict

    text = decode_text(data, problems)
    documents = read_documents(text, problems)
    if len(documents) > MAX_POLICIES:
        problems.add(Position(1, 1), "too_large", f"more than {MAX_POLICIES} policies")
        documents = documents[:MAX_POLICIES]
    if not documents and not problems.found:
        problems.add(Position(1, 1), "missing_key", "no policy in this file")
    ends = [*(each.start for each in documents[1:]), len(text)][: len(documents)]
    strict = Strict(problems)
    read = [
        read_policy(strict, each.root, text[each.start : end].encode())
        for each, end in zip(documents, ends, strict=True)
    ]
    found = [each for each in read if each is not None]
    _refuse_duplicates(found, problems)
    return found


def _refuse_duplicates(read: list[ReadPolicy], problems: Problems) -> None:
    first: dict[str, Position] = {}
    for policy in (each.policy for each in read):
        if policy.id in first and policy.id:
            line = first[policy.id].line
            problems.add(
                policy.position, "duplicate_id", f"policy {policy.id!r} stands at line {line} too"
            )
        first.setdefault(policy.id, policy.position)
