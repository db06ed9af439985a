"""Recording a run: what it found is staged, compared with what is open, and applied at once."""
