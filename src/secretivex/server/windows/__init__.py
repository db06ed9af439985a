"""The agent on Windows: a named pipe in place of the socket, threads in place of readiness.

Everything that calls Windows stands in `pywin32`, behind the ports of `port`; the rest runs, and is
tested, anywhere.
"""
