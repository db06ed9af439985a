"""What people decide about policies: where they apply, which risks stand, what they vouch for.

Pure values and decisions; docs/governance.md says what they mean. Rule for editors: a decision of
a person never changes a raw verdict; it stands beside it, with its reason.
"""
