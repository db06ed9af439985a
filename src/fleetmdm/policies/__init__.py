"""The policy library that ships."""
