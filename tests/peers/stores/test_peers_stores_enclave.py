"""The Secure Enclave's store over a stand-in that answers every documented status."""

from __future__ import annotations

from typing import Any

import pytest

from secretivex.stores.secure_enclave.port import STATUSES, Access
from secretivex.stores.token.errors import TokenError


@pytest.mark.parametrize("status", [*STATUSES, -99999])
def test_every_status_is_explained(enclave: Any, status: int) -> None:
    opened, stand_in = enclave
    stand_in.create("key", Access.USER_PRESENCE)
    opened.reload()
    stand_in.orders["sign"] = status
    with pytest.raises(TokenError) as caught:
        opened.store.sign(opened.find("key"), b"data")
    row = STATUSES.get(status)
    assert caught.value.reason == (row.reason if row else "enclave_failed")
    stand_in.orders["discover"] = status
    opened.reload()
    health = opened.store.health()
    assert not health.is_well
    assert (row.name if row else str(status)) in health.reason
    assert opened.comments == ["key"], "a key is not gone because the system does not say"
    stand_in.orders.clear()
    opened.reload()
    assert opened.store.health().is_well
    opened.store.sign(opened.find("key"), b"data")


def test_the_person_is_told_what_for(enclave: Any) -> None:
    opened, stand_in = enclave
    stand_in.create("key", Access.BIOMETRY)
    opened.reload()
    opened.store.sign(opened.find("key"), b"data")
    assert [consent.prompt for consent in stand_in.consents] == ["sign in"]
    assert set(stand_in.accesses.values()) == {Access.BIOMETRY}


def test_a_key_that_is_deleted_is_gone(enclave: Any) -> None:
    opened, stand_in = enclave
    made = stand_in.create("key", Access.NONE)
    opened.reload()
    identity = opened.find("key")
    assert stand_in.delete(made) is None
    with pytest.raises(TokenError, match="any more"):
        opened.store.sign(identity, b"data")
    opened.reload()
    with pytest.raises(LookupError):
        opened.store.sign(identity, b"data")
