"""Evidence packs: made, redacted, signed and verified; docs/evidence-format.md is the format.

`commit` and `records` are the salted records, `redact` decides what shows, `manifest` and `view`
say what a pack and a view of it hold, `sign` names and makes signatures; `pack` writes, `verify`
reads what a stranger wrote.
"""
