"""SSH data formats: bytes in, values out. No I/O, no clock, no globals.

Start at `wire` (RFC 4251), then `pubkey`, `signature`, `sshsig` and `agent`.
"""
