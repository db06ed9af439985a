"""Records of a pack: salted fields, some of them open; docs/evidence-format.md, "Records".

`values` is how a value is written, `cells` a field without its salt, `commit` the line and the leaf,
`reading` the same read back; `flatten` takes documents apart, `decisions` what people decided,
`maker` says which fields each record has. `commit`, `reading` and what they import need nothing but
the base install.
"""
