"""A file without a name, for what processes of one agent share by its descriptor: locks, memory."""

from __future__ import annotations

import os


def open_nameless() -> int:
    """A descriptor of an empty file that ends with its last holder."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("secretivex")
    import tempfile  # nothing that a start should pay for where the system has better

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
