"""The keys that sign evidence, over their lives: made, listed, rotated, revoked.

`model` is the list and its rules, `revocation` what a verifier asks of it, `folder` the files.
"""
