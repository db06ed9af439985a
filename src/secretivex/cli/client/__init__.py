"""`secretive-client`, the operator's tool: it works with any SSH agent.

Also `python -m secretivex.cli.client`.
"""

from secretivex.cli.client.program import main

__all__ = ["main"]
