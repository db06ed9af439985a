"""Keys that sign elsewhere, or wait for a person: each lane holds up nobody but itself."""
