"""The append-only Merkle log of runs, exports, waivers and key events (RFC 6962). Pure.

`merkle` is the tree, `checkpoint` the signed statement about it, `entries` what its leaves say.
"""
