"""Limits for a machine: what it has, what it does in two seconds, what follows from that."""
