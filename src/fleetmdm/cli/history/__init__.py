"""Commands that look back: runs, drift between them, intervals of verdicts."""
