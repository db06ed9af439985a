"""Schema versions of the SQLite store, one file each, forward only."""
