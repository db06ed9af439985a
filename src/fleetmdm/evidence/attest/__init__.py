"""What else speaks for a pack beside SSHSIG: an in-toto attestation, notes, a time-stamp token.

`dsse` and `note` are made with the keys of the signers, `timestamp` comes from outside.
"""
