"""The fleet in one SQLite file, for one machine and a handful of processes.

WAL lets readers go on while one writes; every write is prepared in temporary tables and applied in
one short transaction. The file holds the fleet's secret and raw inventory, so its mode is 0600.
"""

from fleetmdm.store.sqlite.fleet import BUSY_TIMEOUT_S, SqliteStore, open_store

__all__ = ["BUSY_TIMEOUT_S", "SqliteStore", "open_store"]
