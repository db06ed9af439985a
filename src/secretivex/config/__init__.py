"""The agent's configuration: table of settings, layers, checks, and the value that comes of them.

Rule for editors: `AgentConfig` is what the rest of the agent sees; tables and files stay in here.
"""

from secretivex.config.agent import AgentConfig, resolve_config
from secretivex.config.layers import ConfigInput
from secretivex.config.store_kinds import (
    FileStoreConfig,
    Pkcs11StoreConfig,
    StoreConfig,
    TpmStoreConfig,
)

__all__ = [
    "AgentConfig",
    "ConfigInput",
    "FileStoreConfig",
    "Pkcs11StoreConfig",
    "StoreConfig",
    "TpmStoreConfig",
    "resolve_config",
]
