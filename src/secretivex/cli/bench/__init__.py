"""`secretive-bench`, the load tool: it works with any SSH agent.

Also `python -m secretivex.cli.bench`.
"""

from secretivex.cli.bench.program import main

__all__ = ["main"]
