"""Who feeds the evaluator; every engine gives the same verdicts."""
