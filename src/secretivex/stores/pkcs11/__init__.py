"""Keys in PKCS#11 tokens: the module runs in processes of its own, several for one token."""
