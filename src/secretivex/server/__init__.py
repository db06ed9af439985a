"""Sockets, processes, threads and deadlines around the pure engine."""
