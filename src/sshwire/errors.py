"""The one exception family of this package.

Rule for editors: whatever bytes a parser is given, nothing but a `WireError` leaves it. Any other
exception is a bug, and the fuzz tests treat it as one.
"""


class WireError(ValueError):
    """Bytes or values that no SSH specification allows; the root of this package's errors."""


class TruncatedError(WireError):
    """The data ended inside a field."""


class UnsupportedError(WireError):
    """Well-formed data that names an algorithm, version or cipher we do not know."""


class PassphraseError(WireError):
    """An encrypted private key was opened without its passphrase or with a wrong one."""


class VerificationError(WireError):
    """A signature that does not hold. `reason` is a stable lower_snake word to match on."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
