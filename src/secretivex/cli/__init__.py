"""The command lines: one module a command. Only this package prints."""
