"""Keys held by a TPM 2.0: the few commands we need, the TSS2 PEM form of sealed keys, the store."""
