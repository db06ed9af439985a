"""The evaluator: column batches in, verdicts out. Pure."""
