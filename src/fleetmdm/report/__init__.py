"""Reports: one pure value, rendered in many forms."""
