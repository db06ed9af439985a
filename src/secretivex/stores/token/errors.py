"""Why a store did not do what it was asked: one exception, with a stable word for its reason."""

from __future__ import annotations


class TokenError(Exception):
    """A store, its token or the person at it would not; `reason` is a lower_snake word.

    `remedy` says what a person can do, where the message does not.
    """

    def __init__(self, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.remedy = remedy
