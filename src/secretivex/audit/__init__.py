"""The audit log as data: what a record says, how records are chained, how a chain is checked."""
