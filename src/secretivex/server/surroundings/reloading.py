"""Reading the configuration again while the agent runs: all of the new one, or none of it.

Rule for editors: what cannot change without a restart keeps its old value and is named; a file that
has any problem changes nothing, and why is kept until a reload succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from secretivex.config import AgentConfig
from secretivex.config.problems import list_problems
from secretivex.config.settings import SETTINGS
from secretivex.errors import SecretiveError

LOG = logging.getLogger("secretivex.server")

Apply = Callable[[AgentConfig], None]
"""Puts a configuration in force, or raises OSError and changes nothing."""

MAX_PROBLEMS = 100
"""Of a rejected configuration, told one by one; `check-config` shows all of them."""

MAX_REASON = 16_384
"""Characters of all of them as one text."""

Read = Callable[[], AgentConfig]


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of reading it; `config` is what is now in force.

    `rejected` says why the new one is not, `problems` each reason by itself, as `check-config` does.
    """

    config: AgentConfig
    rejected: str = ""
    needs_restart: tuple[str, ...] = ()
    problems: tuple[dict[str, str], ...] = ()


class Reloader:
    """Keeps the configuration in force. Without `read` there is nothing but keys to read again."""

    def __init__(self, config: AgentConfig, read: Read | None) -> None:
        self.last = Reload(config)
        self._read = read

    def reload(self, apply: Apply) -> Reload:
        """Read it and have it applied; raises nothing."""
        before = self.last.config
        if self._read is None:
            return self.last
        try:
            self.last = _applied(merge(before, self._read()), apply)
        except SecretiveError as error:
            LOG.error("configuration rejected", extra={"fields": {"reason": error.message}})  # noqa: TRY400 - the reason is all
            told = error.message[:MAX_REASON]
            self.last = Reload(before, told, problems=list_problems(error, MAX_PROBLEMS))
        if self.last.needs_restart:
            fields = {"settings": ", ".join(self.last.needs_restart)}
            LOG.warning("settings that take effect at the next start", extra={"fields": fields})
        return self.last


def _applied(read: Reload, apply: Apply) -> Reload:
    """What was read, once it is in force."""
    try:
        apply(read.config)
    except OSError as error:
        message = f"the system gives too little for the new stores: {error.strerror or error}"
        raise SecretiveError("limit_too_low", message, hint="raise LimitNOFILE=") from error
    return read


def merge(before: AgentConfig, read: AgentConfig) -> Reload:
    """The configuration to go on with: what was read, less what needs a restart."""
    fixed = [row.key for row in SETTINGS if row.needs_restart and row.key != "profile"]
    kept = {key: getattr(before, key) for key in fixed}
    changed = tuple(key for key in fixed if getattr(read, key) != kept[key])
    return Reload(replace(read, **kept), needs_restart=changed)
