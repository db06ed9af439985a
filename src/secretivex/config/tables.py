"""A table inside the configuration, checked row by row, and where each of its keys stands.

Rule for editors: every key of a table is known or a problem; a key that this version does not act
on is refused here, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clikit.config import ConfigFile, Problem, ValueProblem, check_value
from clikit.nearest import nearest
from secretivex.config.problems import Problems
from secretivex.config.rows.policy import POLICY_SETTINGS, RATE_SETTINGS, RULE_SETTINGS
from secretivex.config.settings import AgentSetting


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table stands: in which file (None for the command line), under which keys."""

    file: ConfigFile | None
    origin: str
    path: tuple[str | int, ...]
    base: Path

    def where(self, *keys: str | int) -> str:
        """`file:line` of a key below this table, or of the nearest thing above it."""
        return self.file.where(*self.path, *keys) if self.file else self.origin

    def name(self, *keys: str | int) -> str:
        """`stores[0].paths`, as messages call a key."""
        parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path + keys)
        return "".join(parts).lstrip(".")

    def below(self, key: str | int) -> Place:
        """The place of a table inside this one."""
        return Place(self.file, self.origin, (*self.path, key), self.base)

    def problem(self, *keys: str | int, reason: str, hint: str = "") -> Problem:
        """A problem with a key of this table."""
        return Problem(self.where(*keys), self.name(*keys), reason, hint)


def check_table(
    rows: Sequence[AgentSetting], table: Mapping[str, Any], place: Place, problems: Problems
) -> dict[str, Any]:
    """Values of every row, by key: the table's where it is valid, else the row's default."""
    known = {row.key: row for row in rows}
    for key in table:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near!r}?" if near else f"known keys: {', '.join(known)}"
            problems.add(place.problem(key, reason="unknown key", hint=hint))
    values: dict[str, Any] = {}
    for key, row in known.items():
        values[key] = row.default
        if key in table:
            try:
                values[key] = check_value(row, table[key])
            except ValueProblem as error:
                problems.add(place.problem(key, *error.item, reason=str(error), hint=error.hint))
                continue
            refuse_unenforced(row, values[key], place.where(key), place.name(key), problems)
    return values


def refuse_unenforced(
    row: AgentSetting, value: Any, where: str, key: str, problems: Problems
) -> None:
    """A value that this version does not act on is a problem or a warning, as its row says."""
    if row.state == "effective" or value == row.acts_as:
        return
    reason = f"not available in this version: {value!r} would have no effect"
    if row.state == "refused":
        problems.add(Problem(where, key, reason, "remove it"))
    else:
        problems.warn(where, key, reason, "it is read and ignored")


def check_policy(table: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    """The keys of the policy table that are present and well-typed; entries are not looked at."""
    values = check_table(POLICY_SETTINGS, table, place, problems)
    command = values["confirm_command"]
    if command is not None and not "".join(command[:1]).strip():
        hint = "name a program, or leave the key out"
        problems.add(place.problem("confirm_command", reason="names no program", hint=hint))
    values["rules"] = [
        _check_rule(rule, place.below("rules").below(index), problems)
        for index, rule in enumerate(values["rules"] or ())
    ]
    return {
        key: tuple(values[key]) if isinstance(values[key], list | tuple) else values[key]
        for key in table
        if values.get(key) is not None
    }


def _check_rule(rule: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, Any]:
    """The well-typed keys of one rule; what they mean is judged by `secretivex.rule_tables`."""
    values = check_table(RULE_SETTINGS, rule, place, problems)
    kept = {key: values[key] for key in rule if values.get(key) is not None}
    if "effect" in rule:
        kept.setdefault("effect", "deny")  # a bad one is reported, and once is enough
    if isinstance(kept.get("rate"), Mapping):
        before = problems.count
        check_table(RATE_SETTINGS, kept["rate"], place.below("rate"), problems)
        if problems.count > before:
            del kept["rate"]
    return kept
