"""Evidence packs: made, redacted, signed and verified."""
