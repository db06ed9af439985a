"""The rows that the first run of a store began, packed by block; each holds from that run on.

As columns they cost a hundredth of what they cost as rows of `results`. One that ends or lasts longer
becomes such a row, and is marked as gone here: together the two say what `results` alone would.
Rule for editors: no run is before the first, so that nothing is ever followed by a row from here.
"""
