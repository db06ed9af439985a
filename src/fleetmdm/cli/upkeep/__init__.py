"""Commands that look after the database."""
