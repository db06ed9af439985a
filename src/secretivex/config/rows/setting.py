"""What a row of the table of settings says of its key.

Rule for editors: a key that is known but does nothing yet has a `state` that says so. A key whose
absence would make the agent less safe than it was told to be is `refused`, never `ignored`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from clikit.config import Setting
from secretivex.profiles import at_cores

ENV_PREFIX = "SECRETIVE_"

MAX_MS = 24 * 60 * 60 * 1000
"""Upper bound of every duration: a day. What is longer is a mistake of unit."""

MAX_FRAME_BYTES = 256 * 1024
"""OpenSSH's AGENT_MAX_LEN."""

State = Literal["effective", "ignored", "refused"]
Group = Literal["general", "socket", "keys", "limits", "files", "metrics", "audit"]


@dataclass(frozen=True, slots=True)
class AgentSetting(Setting):
    """A row of the table.

    `state` tells whether this version acts on the key; `acts_as` is the value it then behaves as,
    which is therefore accepted without a word. `flags` are spellings beside `--key-with-dashes`.
    """

    group: Group = "general"
    default_text: str = ""
    needs_restart: bool = True
    state: State = "effective"
    acts_as: Any = None
    flags: tuple[str, ...] = ()
    not_on: str = ""
    """The system, as `sys.platform` spells it, that cannot act on it."""

    def at(self, cores: int) -> AgentSetting:
        """The row with a default that scales with the cores put in figures."""
        return replace(self, default=at_cores(self.default, cores))
