"""Key stores behind the port of `secretivex.identity`."""
