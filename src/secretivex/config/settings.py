"""The table of the agent's settings: one row a key; documentation and checks are made from it.

Rule for editors: a row stands in `rows`, beside those of its group; what a row can say is in
`rows.setting`.
"""

from __future__ import annotations

from secretivex.config.rows.keys import GENERAL, KEYS
from secretivex.config.rows.limits import FILES, LIMITS
from secretivex.config.rows.reports import AUDIT, METRICS
from secretivex.config.rows.setting import ENV_PREFIX, MAX_MS, AgentSetting

__all__ = ["ENV_PREFIX", "MAX_MS", "SETTINGS", "AgentSetting", "settings_at"]

SETTINGS: tuple[AgentSetting, ...] = (*GENERAL, *KEYS, *LIMITS, *FILES, *METRICS, *AUDIT)
"""Every key of the file's top level, in the order of the documentation."""


def settings_at(cores: int) -> tuple[AgentSetting, ...]:
    """The table for a machine with so many cores."""
    return tuple(row.at(cores) for row in SETTINGS)
