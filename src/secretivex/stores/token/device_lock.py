"""The lock that keeps the helpers of one device from speaking to it at once."""

from __future__ import annotations

import os


def make_device_lock() -> int:
    """The descriptor of a file without a name, open as long as the agent runs."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("device-lock")
    import tempfile  # nothing that every start should pay for

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
