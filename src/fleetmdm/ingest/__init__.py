"""From bytes to device documents: sources and their precedence, splitting, reading, files."""
