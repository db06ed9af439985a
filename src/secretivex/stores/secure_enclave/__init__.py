"""Keys in a Mac's Secure Enclave: a narrow port to the system, the store above it, the adapter below."""
