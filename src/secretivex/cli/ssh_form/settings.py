"""What an agent in ssh-agent's form runs with: nothing but its flags, unless `--config` names a file.

Rule for editors: no file is looked for, and no key is read, that the command line does not name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secretivex.cli.agent_options import usable_cores
from secretivex.config import AgentConfig, ConfigInput
from secretivex.config.source import find_config, load_file
from secretivex.loading import make_setup
from secretivex.stores.token.tools import DEFAULT_PROVIDERS

_REPORTS = ("metrics_listen", "metrics_interval_ms", "metrics_json", "metrics_output_path")


@dataclass(frozen=True, slots=True)
class FormSettings:
    """The flags that are settings, and the file; both as the command line has them."""

    flags: Mapping[str, Any]
    named: Path | None
    environ: Mapping[str, str]
    base: Path

    def load(self, socket_path: Path, *, again: bool = False) -> AgentConfig:
        """The configuration; raises `SecretiveError`. `again` for a reload."""
        flags = {"socket_path": str(socket_path), **self.flags}
        file = None
        if self.named is None:
            flags.setdefault("allowed_providers", DEFAULT_PROVIDERS)
        else:
            path = find_config(self.base / self.named, self.environ)
            file = load_file(path, again=again) if path is not None else None
        given = ConfigInput(
            flags=flags,
            environ=self.environ,
            file=file,
            cores=usable_cores(),
            base=self.base,
            default_stores=(),
        )
        return make_setup(given).config


def wants_reports(config: AgentConfig) -> bool:
    """Whether there is anything to ask this agent that ssh-agent has no word for."""
    chosen = any(config.origins[key] != "default" for key in _REPORTS)
    return config.file_name is not None or chosen
