"""Opens the token that is meant: loads the module, finds the slot, logs in once.

Rule for editors: a PIN is tried at most once a process, and not at all where one more failure would
lock the token.
"""

from __future__ import annotations

from typing import Any

import PyKCS11

from secretivex.config.pkcs11_uri import TokenSelector
from secretivex.stores.pkcs11.session import PIN_REFUSALS, TokenSession, as_text
from secretivex.stores.token.errors import TokenError


def open_token(module: str, selector: TokenSelector, pin: bytes | None) -> TokenSession:
    """The token that a selector means, logged in to where there is a PIN; raises `TokenError`.

    A PIN is tried at most once, and not at all where one more failure would lock the token.
    """
    library = PyKCS11.PyKCS11Lib()
    try:
        library.load(module)
        slots = library.getSlotList(tokenPresent=True)
    except PyKCS11.PyKCS11Error as error:
        message = f"{module} cannot be loaded: {error}"
        raise TokenError("module_failed", message, "check module_path") from error
    slot, token, flags = _choose(library, slots, selector)
    try:
        session = library.openSession(slot)
    except PyKCS11.PyKCS11Error as error:
        raise TokenError("token_absent", f"the token does not open: {error}") from error
    opened = TokenSession(session, selector, token, pin, flags, slot)
    if flags & PyKCS11.CKF_LOGIN_REQUIRED:
        _log_in(opened)
    return opened


def _choose(library: Any, slots: Any, selector: TokenSelector) -> tuple[int, dict[str, str], int]:
    present = []
    for slot in slots:
        try:
            info = library.getTokenInfo(slot)
        except PyKCS11.PyKCS11Error:
            continue
        token = {
            "label": as_text(info.label).rstrip(),
            "serial": as_text(info.serialNumber).rstrip(),
            "manufacturer": as_text(info.manufacturerID).rstrip(),
            "model": as_text(info.model).rstrip(),
        }
        if not info.flags & PyKCS11.CKF_TOKEN_INITIALIZED:
            continue
        present.append(token["label"])
        if selector.matches_token(int(slot), token):
            return slot, token, int(info.flags)
    there = ", ".join(map(repr, present)) or "none"
    message = f"no token with {selector.words} (tokens there: {there})"
    raise TokenError("token_absent", message, "insert it, or correct uri or token_label")


def _log_in(opened: TokenSession) -> None:
    if opened.flags & PyKCS11.CKF_USER_PIN_LOCKED:
        raise TokenError("pin_locked", "the token's PIN is locked", "unblock it with the SO PIN")
    has_pad = bool(opened.flags & PyKCS11.CKF_PROTECTED_AUTHENTICATION_PATH)
    if opened.pin is None and not has_pad:
        remedy = "set pin_env, pin_file, pin_command or askpass"
        raise TokenError("pin_required", "the token wants a PIN and none is configured", remedy)
    if opened.flags & PyKCS11.CKF_USER_PIN_FINAL_TRY:
        remedy = "log in once with the right PIN by another program"
        raise TokenError("pin_final_try", "one more wrong PIN would lock the token", remedy)
    pin = None if opened.pin is None else PyKCS11.ckbytelist(opened.pin)
    # What counts is whether this process is logged in, however it came about.
    result = opened.session.lib.C_Login(opened.session.session, PyKCS11.CKU_USER, pin)
    if result in (PyKCS11.CKR_OK, PyKCS11.CKR_USER_ALREADY_LOGGED_IN):
        return
    name = PyKCS11.CKR.get(result, hex(result))
    reason = PIN_REFUSALS.get(result, "login_failed")
    raise TokenError(reason, f"the token refused the login: {name}")


def still_there(opened: TokenSession) -> bool:
    """Whether the slot has the same token as when it was opened."""
    try:
        info = opened.session.pykcs11.getTokenInfo(opened.slot)
    except PyKCS11.PyKCS11Error:
        return False
    same = as_text(info.serialNumber).rstrip() == opened.token["serial"]
    return same and bool(info.flags & PyKCS11.CKF_TOKEN_INITIALIZED)
