"""What the store needs of macOS, and what macOS may answer instead: one table of status codes.

Codes: Security/SecBase.h and LocalAuthentication/LAError.h of Apple's SDK. Rule for editors: the
platform's calls answer a value or a `Refusal`; nothing above this module knows PyObjC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from secretivex.stores.token.errors import TokenError


class Access(Enum):
    """Who must be there when a key signs."""

    NONE = "none"
    USER_PRESENCE = "user-presence"
    """Touch ID, the watch or the password: kSecAccessControlUserPresence."""
    BIOMETRY = "biometry"
    """The fingers enrolled when the key was made: kSecAccessControlBiometryCurrentSet."""


@dataclass(frozen=True, slots=True)
class EnclaveKey:
    """A P-256 key: `point` is 04, x, y; `handle` is whatever the port finds it by."""

    label: str
    point: bytes
    handle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An OSStatus, or an LAError."""

    status: int


@dataclass(frozen=True, slots=True)
class Consent:
    """How the system asks: its text, and how long one answer holds."""

    prompt: str
    reuse_s: float


class Enclave(Protocol):
    """The system's calls. Each blocks, for as long as a person takes."""

    def create(self, label: str, access: Access) -> EnclaveKey | Refusal:
        """Make a key that stays."""
        ...

    def discover(self) -> tuple[EnclaveKey, ...] | Refusal:
        """The keys that this program may use."""
        ...

    def sign(self, key: EnclaveKey, data: bytes, consent: Consent) -> bytes | Refusal:
        """DER of an ECDSA signature over the SHA-256 of data."""
        ...

    def delete(self, key: EnclaveKey) -> Refusal | None:
        """Remove a key for ever."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    reason: str
    message: str
    remedy: str = ""


STATUSES: Mapping[int, _Row] = {
    -34018: _Row(
        "errSecMissingEntitlement",
        "missing_entitlement",
        "this Python has no entitlement for keys that stay in the Secure Enclave",
        "run the agent from a signed program with a keychain access group, or on macOS 26 make the"
        " key with `sc_auth create-ctk-identity` and use /usr/lib/ssh-keychain.dylib",
    ),
    -25300: _Row("errSecItemNotFound", "key_gone", "the Enclave does not hold this key any more"),
    -25299: _Row("errSecDuplicateItem", "key_exists", "there is a key of this name already"),
    -25293: _Row("errSecAuthFailed", "consent_refused", "the person could not be recognised"),
    -25308: _Row(
        "errSecInteractionNotAllowed",
        "no_screen",
        "the screen is locked, or nobody is logged in at it",
        "unlock the Mac; keys for sessions without a screen need access `none`",
    ),
    -128: _Row("errSecUserCanceled", "consent_refused", "the person cancelled"),
    -50: _Row("errSecParam", "unsupported", "the Enclave does not take these parameters"),
    -4: _Row("errSecUnimplemented", "unsupported", "this Mac has no Secure Enclave"),
    -108: _Row("errSecAllocate", "enclave_failed", "the system is out of memory"),
    -909: _Row("errSecBadReq", "unsupported", "the Enclave does not take this request"),
    -25291: _Row("errSecNotAvailable", "enclave_unavailable", "the keychain is not available"),
    -26275: _Row("errSecDecode", "enclave_failed", "the key's data cannot be decoded"),
    -26276: _Row("errSecInternalComponent", "enclave_failed", "the security server failed"),
    -1: _Row("LAErrorAuthenticationFailed", "consent_refused", "the person was not recognised"),
    -2: _Row("LAErrorUserCancel", "consent_refused", "the person cancelled"),
    -3: _Row("LAErrorUserFallback", "consent_refused", "the person chose another way"),
    -5: _Row("LAErrorPasscodeNotSet", "no_consent", "the account has no password", "set one"),
    -6: _Row("LAErrorBiometryNotAvailable", "no_consent", "this Mac has no Touch ID at hand"),
    -7: _Row("LAErrorBiometryNotEnrolled", "no_consent", "no finger is enrolled", "enrol one"),
    -8: _Row(
        "LAErrorBiometryLockout",
        "no_consent",
        "Touch ID is locked after too many wrong fingers",
        "unlock the Mac with the password",
    ),
    -9: _Row("LAErrorAppCancel", "consent_timeout", "nobody answered in time"),
    -10: _Row("LAErrorInvalidContext", "enclave_failed", "the consent is not valid any more"),
    -1004: _Row("LAErrorNotInteractive", "no_screen", "nobody can be asked here"),
}
"""What macOS may answer, by its number."""


def explain(refusal: Refusal) -> TokenError:
    """As every store says it."""
    row = STATUSES.get(refusal.status)
    if row is None:
        return TokenError("enclave_failed", f"the system answered {refusal.status}")
    return TokenError(row.reason, f"{row.message} ({row.name})", row.remedy)
