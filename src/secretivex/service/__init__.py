"""The agent as a service of the operating system: unit files and their like, as pure functions."""
