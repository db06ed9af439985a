"""The agent's configuration: table of settings, layers, checks, and the value that comes of them.

Rule for editors: `AgentConfig` is what the rest of the agent sees; tables and files stay in here.
"""

from secretivex.config.agent import AgentConfig, ConfigInput, resolve_config
from secretivex.config.stores import FileStoreConfig, StoreConfig

__all__ = ["AgentConfig", "ConfigInput", "FileStoreConfig", "StoreConfig", "resolve_config"]
