"""Rules that can match nothing, whatever is asked: two of their conditions exclude each other.

Such a deny forbids nothing and looks as if it did. Rule for editors: only what no request can ever be
is named here; a rule that matches rarely is its author's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from secretivex.context.signed_data import DataKind
from secretivex.policy.explain import name_of
from secretivex.policy.facets import Match, Matcher
from secretivex.policy.matchers import Details, Hosts, Kinds, Texts
from sshwire.algorithms import KEY_ALGORITHMS

_OF_DATA = (Details, Hosts, Kinds)


def exclusive_conditions(matchers: Iterable[Matcher]) -> tuple[str, ...]:
    """Names of the conditions that cannot hold together; none where there are no such."""
    found = tuple(matchers)
    of_data = [one for one in found if isinstance(one, _OF_DATA)]
    if of_data and not any(_all_may(of_data, kind) for kind in DataKind):
        return tuple(map(name_of, of_data))
    texts = {one.key: one for one in found if isinstance(one, Texts)}
    types, formats = texts.get("key_types"), texts.get("algorithms")
    if types and formats and not _any_signs(types, formats):
        return types.key, formats.key
    return ()


def _all_may(matchers: Sequence[Details | Hosts | Kinds], kind: DataKind) -> bool:
    return all(one.match_kind(kind) is not Match.NO for one in matchers)


def _any_signs(types: Texts, formats: Texts) -> bool:
    """Whether keys of one of the types make signatures of one of the formats."""
    return any(
        formats.globs.fit(name)
        for row in KEY_ALGORITHMS.values()
        if types.globs.fit(row.name)
        for name in row.signature_formats
    )
