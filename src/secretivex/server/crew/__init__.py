"""Who works for the supervisor, each behind a hand of its own: workers, the reporter, the changes."""
