"""Facts of a block of devices kept by column: built from documents once, read for every check. Pure.

`build` takes documents apart, `cells` is how one column is written, `read` answers fact paths.
Rule for editors: a column that is read is the one that following the path in each document gives.
"""

from fleetmdm.evaluate.table.batch import FactBatch
from fleetmdm.evaluate.table.build import build_table
from fleetmdm.evaluate.table.read import FactTable

__all__ = ["FactBatch", "FactTable", "build_table"]
