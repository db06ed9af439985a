"""Asking people: one board an agent, whichever worker the request came to."""
