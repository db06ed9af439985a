"""Advice for reaching many hosts at once: settings to use, and what would be in the way."""
