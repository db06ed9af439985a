"""Records of a pack: salted fields, some of them open; docs/evidence-format.md, "Records".

`values` is how a value is written, `commit` the line and the leaf, `reading` the same read back;
`flatten` and `layout` take documents apart, `places` says which fields show, `decisions` what people
decided, `maker` and `device_forms` which fields each record has. `commit`, `reading` and what they
import need nothing but the base install.
"""
