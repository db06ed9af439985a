"""What people decide, kept as intervals over revisions, and the pruning of what no run needs."""
