"""Which devices a decision of a person is about: one device, a tag, or a selector. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ScopeKind(StrEnum):
    """How a scope names its devices."""

    DEVICE = "device"
    TAG = "tag"
    SELECTOR = "where"


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """A scope as it was given. `value` is a device id, a tag in lower case, or a selector.

    A selector is a check as in `targets.where`, in canonical JSON, so that equal ones are equal.
    """

    kind: ScopeKind
    value: str

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"

    def as_json(self) -> dict[str, Any]:
        """One member, named by the kind."""
        given = json.loads(self.value) if self.kind is ScopeKind.SELECTOR else self.value
        return {self.kind.value: given}


def parse_tag(text: str) -> str:
    """A tag as devices bear it: trimmed, in lower case."""
    return text.strip().lower()
