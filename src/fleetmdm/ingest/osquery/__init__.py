"""osquery's results: the lines of its logs, and what they say of one host. Pure but for a spool."""

from fleetmdm.ingest.osquery.log import read_osquery

__all__ = ["read_osquery"]
