"""One call that makes everything the agent runs with: its settings, its stores and its policy.

Rule for editors: the result is all or nothing; every problem of every part is in one failure, so a
reload can be refused as a whole and the old set-up stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clikit.config import ConfigFile, Problem
from secretivex.config import AgentConfig, ConfigInput, resolve_config
from secretivex.config.problems import Problems
from secretivex.config.source import find_config, load_file

if TYPE_CHECKING:
    from secretivex.policy import SigningPolicy

DEFAULT_STORES: tuple[Mapping[str, Any], ...] = ({"type": "file"},)
"""What the service offers when nothing says otherwise: the keys in ~/.ssh."""


@dataclass(frozen=True)
class AgentSetup:
    """What the agent runs with."""

    config: AgentConfig

    @cached_property
    def policy(self) -> SigningPolicy:
        """The rules, which were found to be without problems; made when first asked for."""
        # Only here: what decides is imported in a fifth of the time to the first answer.
        from secretivex.rule_tables import parse_policy

        return parse_policy(self.config.rule_lists)[0]


def load_setup(
    named: Path | None,
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    cores: int,
    base: Path,
    default_stores: tuple[Mapping[str, Any], ...] = DEFAULT_STORES,
    load: Callable[[Path], ConfigFile] = load_file,
) -> AgentSetup:
    """Find, read and check the configuration; raises `SecretiveError` with every problem.

    `load` reads the file, for another user or for a reload where it is told so.
    """
    path = find_config(named, environ)
    file = load(path) if path is not None else None
    return make_setup(ConfigInput(flags, environ, file, cores, base, default_stores))


def make_setup(given: ConfigInput) -> AgentSetup:
    """The set-up from a file already read; raises `SecretiveError` with every problem."""
    problems = Problems()
    config = resolve_config(given, problems)
    if config.rule_lists:
        _check_policy(config, given, problems)
        problems.raise_any()
        config = replace(config, warnings=(*config.warnings, *_name_links(config, given)))
    problems.raise_any()
    return AgentSetup(config)


def _check_policy(config: AgentConfig, given: ConfigInput, problems: Problems) -> None:
    from secretivex.rule_tables import parse_policy

    for problem in parse_policy(config.rule_lists)[1]:
        index = () if problem.index is None else (problem.index, *problem.inside)
        place = _place_of(given, problem.key, *index)
        problems.add(Problem(*place, problem.reason, problem.hint), "policy_invalid")


def _place_of(given: ConfigInput, *path: str | int) -> tuple[str, str]:
    """File and line, and the name, of what stands in the policy."""
    where = given.file.where("policy", *path) if given.file else "command line"
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return where, "policy" + "".join(parts)


def _name_links(config: AgentConfig, given: ConfigInput) -> Iterator[Problem]:
    """Programs in rules that callers are known as by another path."""
    for number, table in enumerate(config.rule_lists.get("rules", ())):
        for key in ("executables", "ancestors"):
            for index, program in enumerate(table.get(key, ())):
                real = os.path.realpath(program)
                if real != program and os.path.exists(program):  # noqa: PTH110 - a text of a rule
                    place = _place_of(given, "rules", number, key, index)
                    reason = f"no caller is known as {program!r}: it is a link to {real!r}"
                    yield Problem(*place, reason, f"write {real!r}")
