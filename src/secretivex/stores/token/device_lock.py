"""The lock that keeps the helpers of one device from speaking to it at once."""

from __future__ import annotations

import os
import tempfile


def make_device_lock() -> int:
    """The descriptor of a file without a name, open as long as the agent runs."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
