"""Commands that change what an agent holds."""
