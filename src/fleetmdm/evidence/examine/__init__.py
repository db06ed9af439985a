"""Reading a pack for what it says: its summary, a sample of devices, and judging it again.

Each begins by verifying the pack's bytes; whom to trust is `verify`'s to ask.
"""
