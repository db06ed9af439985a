"""Pattern lists of OpenSSH: PATTERNS in ssh_config(5), match.c.

Rule for editors: patterns and subjects both come from outside, so matching takes at most
`len(pattern) * len(text)` steps and never recurses.
"""

from __future__ import annotations


def match_pattern(text: str, pattern: str) -> bool:
    """Whether the whole text fits: `*` is any run of characters, `?` any one of them."""
    at = star = resume = 0
    index, starred = 0, False
    while index < len(text):
        if at < len(pattern) and pattern[at] == "*":
            starred, star, resume = True, at, index
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[index]):
            at, index = at + 1, index + 1
        elif starred:
            # Let the last star take one character more; earlier stars need no second look.
            resume += 1
            at, index = star + 1, resume
        else:
            return False
    return all(char == "*" for char in pattern[at:])


def match_pattern_list(text: str, patterns: str) -> bool:
    """Whether a pattern of the comma-separated list fits and none that begins with `!` does."""
    found = False
    for item in patterns.split(","):
        if item.startswith("!"):
            if match_pattern(text, item[1:]):
                return False
        elif item and match_pattern(text, item):
            found = True
    return found
