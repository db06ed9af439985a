"""What the agent tells of itself: counting in every process, and one process that reports."""
