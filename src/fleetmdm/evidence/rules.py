"""Rules for facts: what a pack shows, or withholds, whatever its profile says. Pure.

A rule is a fact's path or that of a branch: `facts.a.b`, `*` for any one name, `[*]` for any index.
Rule for editors: views carry rules, so strangers write them: a `*` stands for a whole name, which
keeps matching linear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fleetmdm.evidence.records.flatten import pattern_of

MAX_RULES: Final = 1000
MAX_RULE_CHARACTERS: Final = 500

_RULE = re.compile(r'facts(?:\.(?:"(?:[^"\\]|\\.)+"|[\w/:@+-]+|\*)|\[(?:\d+|\*)\])+')


@dataclass(frozen=True, slots=True)
class Rules:
    """A denied fact never shows. An allowed one shows unless it is denied or an identifier.

    Identifiers are shown by profile `none` alone. Raises ValueError for a rule that is none.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.allow) + len(self.deny) > MAX_RULES:
            raise ValueError(f"there are at most {MAX_RULES} rules")
        for rule in (*self.allow, *self.deny):
            check_rule(rule)

    def __bool__(self) -> bool:
        return bool(self.allow or self.deny)


NO_RULES = Rules()


def check_rule(rule: str) -> None:
    """Raise ValueError for what names no fact."""
    if len(rule) > MAX_RULE_CHARACTERS or not rule.isprintable():
        raise ValueError(f"a rule is a line of at most {MAX_RULE_CHARACTERS} characters")
    if not _RULE.fullmatch(rule):
        raise ValueError(f"not the path of a fact: {rule!r} (write facts.NAME, * for any name)")


def covers(rule: str, pattern: str) -> bool:
    """Whether a rule speaks of the fact at a path in which indexes are `[*]`."""
    return _pattern(rule).fullmatch(pattern) is not None


@lru_cache(maxsize=4 * MAX_RULES)
def _pattern(rule: str) -> re.Pattern[str]:
    """What a rule names, and everything below it."""
    text = re.escape(pattern_of(rule)).replace(r"\[\*\]", "\0")
    text = text.replace(r"\*", r'(?:"(?:[^"\\]|\\.)*"|[^.\[\]"]+)').replace("\0", r"\[\*\]")
    return re.compile(text + r"(?:[.\[].*)?", re.DOTALL)
