"""The port to the Secure Enclave by PyObjC's Security and LocalAuthentication frameworks.

Written against Apple's documentation ("Protecting keys with the Secure Enclave", SecItem.h,
SecAccessControl.h, LAContext.h) and not yet run on a Mac: docs/platforms.md has the script that confirms
it. Rule for editors: no decision is taken here; what the system answers is passed on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from secretivex.stores.secure_enclave.port import Access, Consent, EnclaveKey, Refusal
from secretivex.stores.token.errors import TokenError

TAG = b"org.secretivex.enclave"
"""kSecAttrApplicationTag of our keys: those of other programs are left alone."""

NOT_FOUND = -25300
"""errSecItemNotFound."""

_USER_PRESENCE, _BIOMETRY_CURRENT_SET, _PRIVATE_KEY_USAGE = 1 << 0, 1 << 3, 1 << 30
"""SecAccessControlCreateFlags of SecAccessControl.h."""

_FLAGS = {
    Access.NONE: _PRIVATE_KEY_USAGE,
    Access.USER_PRESENCE: _PRIVATE_KEY_USAGE | _USER_PRESENCE,
    Access.BIOMETRY: _PRIVATE_KEY_USAGE | _BIOMETRY_CURRENT_SET,
}


class MacEnclave:
    """This Mac's Secure Enclave."""

    def __init__(self) -> None:
        self._security = _load("Security")
        self._local = _load("LocalAuthentication")
        self._context: Any = None

    def create(self, label: str, access: Access) -> EnclaveKey | Refusal:
        """SecKeyCreateRandomKey with kSecAttrTokenIDSecureEnclave and kSecAttrIsPermanent.

        The access control is SecAccessControlCreateWithFlags with
        kSecAttrAccessibleWhenUnlockedThisDeviceOnly: the Enclave's keys never leave the Mac.
        """
        s = self._security
        control, error = s.SecAccessControlCreateWithFlags(
            None, s.kSecAttrAccessibleWhenUnlockedThisDeviceOnly, _FLAGS[access], None
        )
        if control is None:
            return _refusal(error)
        private = {
            s.kSecAttrIsPermanent: True,
            s.kSecAttrApplicationTag: TAG,
            s.kSecAttrLabel: label,
            s.kSecAttrAccessControl: control,
        }
        parameters = {
            s.kSecAttrKeyType: s.kSecAttrKeyTypeECSECPrimeRandom,
            s.kSecAttrKeySizeInBits: 256,
            s.kSecAttrTokenID: s.kSecAttrTokenIDSecureEnclave,
            s.kSecPrivateKeyAttrs: private,
        }
        key, error = s.SecKeyCreateRandomKey(parameters, None)
        if key is None:
            return _refusal(error)
        point = self._point(key)
        return EnclaveKey(label, point, point)

    def discover(self) -> tuple[EnclaveKey, ...] | Refusal:
        """SecItemCopyMatching for kSecClassKey with our tag; none at all is errSecItemNotFound."""
        s = self._security
        status, items = s.SecItemCopyMatching(
            {
                **self._query(),
                s.kSecMatchLimit: s.kSecMatchLimitAll,
                s.kSecReturnRef: True,
                s.kSecReturnAttributes: True,
            },
            None,
        )
        if status == NOT_FOUND:
            return ()
        if status:
            return Refusal(int(status))
        found = []
        for item in items:
            point = self._point(item[s.kSecValueRef])
            label = str(item.get(s.kSecAttrLabel) or "secure enclave")
            found.append(EnclaveKey(label, point, point))
        return tuple(found)

    def sign(self, key: EnclaveKey, data: bytes, consent: Consent) -> bytes | Refusal:
        """SecKeyCreateSignature with kSecKeyAlgorithmECDSASignatureMessageX962SHA256.

        The LAContext is kept, so that touchIDAuthenticationAllowableReuseDuration can hold.
        """
        s = self._security
        if self._context is None:
            self._context = self._local.LAContext.alloc().init()
        self._context.setLocalizedReason_(consent.prompt)
        self._context.setTouchIDAuthenticationAllowableReuseDuration_(consent.reuse_s)
        status, items = s.SecItemCopyMatching(
            {
                **self._query(),
                s.kSecMatchLimit: s.kSecMatchLimitAll,
                s.kSecReturnRef: True,
                s.kSecUseAuthenticationContext: self._context,
            },
            None,
        )
        if status:
            return Refusal(int(status))
        private = next((item for item in items if self._point(item) == key.handle), None)
        if private is None:
            return Refusal(NOT_FOUND)
        algorithm = s.kSecKeyAlgorithmECDSASignatureMessageX962SHA256
        signature, error = s.SecKeyCreateSignature(private, algorithm, data, None)
        if not consent.reuse_s or signature is None:
            self._context.invalidate()
            self._context = None
        return _refusal(error) if signature is None else bytes(signature)

    def delete(self, key: EnclaveKey) -> Refusal | None:
        """SecItemDelete of the one key, by its reference."""
        s = self._security
        status, items = s.SecItemCopyMatching(
            {**self._query(), s.kSecMatchLimit: s.kSecMatchLimitAll, s.kSecReturnRef: True}, None
        )
        if status:
            return Refusal(int(status))
        for item in items:
            if self._point(item) == key.handle:
                status = s.SecItemDelete({s.kSecValueRef: item})
                return Refusal(int(status)) if status else None
        return Refusal(NOT_FOUND)

    def _query(self) -> dict[Any, Any]:
        s = self._security
        return {
            s.kSecClass: s.kSecClassKey,
            s.kSecAttrApplicationTag: TAG,
            s.kSecAttrTokenID: s.kSecAttrTokenIDSecureEnclave,
        }

    def _point(self, private: Any) -> bytes:
        """SecKeyCopyExternalRepresentation of the public half: 04, x, y (ANSI X9.63)."""
        s = self._security
        data, _ = s.SecKeyCopyExternalRepresentation(s.SecKeyCopyPublicKey(private), None)
        return b"" if data is None else bytes(data)


def _refusal(error: Any) -> Refusal:
    """CFErrorGetCode; an error of LocalAuthentication has numbers of its own."""
    return Refusal(int(error.code()) if error is not None else -26276)


def _load(framework: str) -> Any:
    try:
        return import_module(framework)
    except ImportError as error:
        hint = "pip install pyobjc-framework-Security pyobjc-framework-LocalAuthentication"
        raise TokenError("missing_extra", f"PyObjC's {framework} is missing", hint) from error
