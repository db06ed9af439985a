"""Why a token did not do what it was asked: one exception, with a stable word for its reason."""

from __future__ import annotations


class TokenError(Exception):
    """A token, its middleware or the person at it would not; `reason` is a lower_snake word."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
