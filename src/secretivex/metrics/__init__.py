"""What the agent counts: one table of metrics, cells in shared memory, and their renderings."""
