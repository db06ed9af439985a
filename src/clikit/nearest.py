"""The word that was probably meant, for "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable

_CUTOFF = 0.6
"""difflib's own default: below it, a suggestion is more often wrong than right."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The closest of `words`, or None when nothing is close."""
    import difflib

    matches = difflib.get_close_matches(word, list(words), n=1, cutoff=_CUTOFF)
    return matches[0] if matches else None
