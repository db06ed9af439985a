"""What both products' command lines share: errors, envelopes, output, configuration, logs.

`errors`, `envelope` and `canonical` are pure; the rest does the I/O that a command line is for.
Nothing here knows a product.
"""
