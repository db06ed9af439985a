"""Puts any SSH agent under load and says what it saw: scenarios, statistics, gates."""
