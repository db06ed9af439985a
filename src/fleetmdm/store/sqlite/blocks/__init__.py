"""Devices kept together in blocks: their documents, their facts by column, their changes.

A block is the devices whose numbers share all but the last ten bits. Everything but the documents is
derived from them. Rule for editors: what is derived is right for every revision, or is not used.
"""
