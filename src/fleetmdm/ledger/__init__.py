"""The append-only Merkle log of runs, exports, waivers and key events (RFC 6962). Pure.

`merkle` is the tree, `entries` what its leaves say, `checkpoint` the statement about its root,
`proof` what a pack carries to show that its run stands in the log.
"""
