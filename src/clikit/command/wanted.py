"""In which form a command line wants its answer, told from its words, which may not even parse."""

from __future__ import annotations

from collections.abc import Sequence


def last_value(argv: Sequence[str], option: str) -> str | None:
    """The value that an option was given last; None where it was not."""
    found, waits = None, False
    for word in argv:
        if waits:
            found, waits = word, False
        elif word == "--":
            break
        elif word.startswith(f"{option}="):
            found = word.partition("=")[2]
        else:
            waits = word == option
    return found


def wanted_format(argv: Sequence[str]) -> str | None:
    """The format that the words ask for."""
    found = last_value(argv, "--format")
    return None if found is None else found.lower()
