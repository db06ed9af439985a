"""Sockets of connections: one look tells all that are ready, one pass sends all replies."""
