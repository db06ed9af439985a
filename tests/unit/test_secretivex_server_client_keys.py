"""Keys that clients add and remove, beside those of stores."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ssh_hosts import step

from secretivex.identity import AddRules, Identity, KeyRecord
from secretivex.server.client_keys import MAX_HIDDEN, MEAN_KEY_BYTES, ClientKeys
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.constraints import RESTRICT_DESTINATION, ConstraintExtension, Constraints
from sshwire.agent.destinations import encode_destinations
from sshwire.agent.requests import AddRequest
from sshwire.wire import encode_string, encode_text

ALGORITHM = "ssh-ed25519"


def public_of(seed: int) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()


def blob_of(seed: int) -> bytes:
    return encode_text(ALGORITHM) + encode_string(public_of(seed))


def add_of(seed: int, comment: str = "added", **constraints: object) -> AddRequest:
    public = public_of(seed)
    fields = encode_string(public) + encode_string(bytes([seed]) * 32 + public)
    return AddRequest(ALGORITHM, fields, comment, Constraints(**constraints))  # type: ignore[arg-type] # names of fields


def stored(seed: int) -> KeyRecord:
    return KeyRecord(Identity(blob_of(seed), "stored", ALGORITHM, "file"), b"fields")


@pytest.fixture
def keys() -> ClientKeys:
    return ClientKeys(AddRules(), TokenTools(), max_keys=3)


def shown(keys: ClientKeys, *records: KeyRecord) -> list[tuple[bytes, str]]:
    return [(record.identity.key_blob, record.identity.comment) for record in keys.merge(records)]


def test_added_keys_follow_those_of_stores_in_the_order_they_came(keys: ClientKeys) -> None:
    assert keys.add(add_of(3), 0.0) == "ok"
    assert keys.add(add_of(2), 0.0) == "ok"
    assert shown(keys, stored(1)) == [
        (blob_of(1), "stored"),
        (blob_of(3), "added"),
        (blob_of(2), "added"),
    ]


def test_a_key_that_a_store_holds_too_is_served_as_the_client_added_it(keys: ClientKeys) -> None:
    keys.add(add_of(1), 0.0)
    assert shown(keys, stored(1)) == [(blob_of(1), "added")]


def test_a_removed_key_is_hidden_in_every_store_until_they_are_read_again(
    keys: ClientKeys,
) -> None:
    keys.add(add_of(1), 0.0)
    assert keys.remove(blob_of(1), [blob_of(1)]) == "ok"
    assert shown(keys, stored(1)) == []
    assert keys.remove(blob_of(1), [blob_of(1)]) == "key_not_found"
    keys.show_all()
    assert shown(keys, stored(1)) == [(blob_of(1), "stored")]


def test_removing_all_hides_what_stores_hold(keys: ClientKeys) -> None:
    keys.add(add_of(2), 0.0)
    keys.remove_all([blob_of(1)])
    assert shown(keys, stored(1)) == []
    keys.add(add_of(1), 0.0)
    assert shown(keys, stored(1)) == [(blob_of(1), "added")]


def test_a_lifetime_ends_to_the_second_and_for_stores_too(keys: ClientKeys) -> None:
    keys.add(add_of(1, lifetime_s=10), 100.0)
    assert keys.next_expiry == 110.0
    assert keys.expire(109.9) == ()
    assert keys.expire(110.0) == (blob_of(1),)
    assert keys.expire(1e9) == ()
    assert shown(keys, stored(1)) == []


def test_adding_again_sets_the_lifetime_anew(keys: ClientKeys) -> None:
    keys.add(add_of(1, lifetime_s=10), 0.0)
    keys.add(add_of(1), 5.0)
    assert keys.next_expiry is None


def test_a_key_that_says_nothing_lives_as_long_as_the_agent_was_told() -> None:
    keys = ClientKeys(AddRules(lifetime_s=60), TokenTools(), max_keys=3)
    keys.add(add_of(1), 0.0)
    keys.add(add_of(2, lifetime_s=30), 0.0)
    assert keys.expire(30.0) == (blob_of(2),)
    assert keys.expire(60.0) == (blob_of(1),)


@pytest.mark.parametrize(
    ("request_", "outcome"),
    [
        (add_of(1, extensions=(ConstraintExtension("x@y", b""),)), "unsupported_constraint"),
        (AddRequest(ALGORITHM, encode_string(bytes(32)) + encode_string(bytes(64))), "bad_key"),
        (AddRequest(ALGORITHM, add_of(1).private_fields + b"x"), "bad_key"),
    ],
)
def test_what_cannot_be_held_or_enforced_is_refused(
    keys: ClientKeys, request_: AddRequest, outcome: str
) -> None:
    assert keys.add(request_, 0.0) == outcome
    assert shown(keys) == []


def test_there_is_room_for_as_many_as_the_limit_and_for_replacing_one(keys: ClientKeys) -> None:
    assert [keys.add(add_of(seed), 0.0) for seed in (1, 2, 3, 4)] == [
        "ok",
        "ok",
        "ok",
        "too_many_keys",
    ]
    assert keys.add(add_of(1, "again"), 0.0) == "ok"


def restricted(seed: int, body: bytes) -> AddRequest:
    return add_of(seed, extensions=(ConstraintExtension(RESTRICT_DESTINATION, body),))


def test_destinations_go_with_the_key_also_where_a_store_holds_it(keys: ClientKeys) -> None:
    body = encode_destinations((step("", "a"), step("a", "b", "ada")))
    assert keys.add(restricted(1, body), 0.0) == "ok"
    merged = keys.merge([stored(1), stored(2)])
    assert [record.restrictions.destinations for record in merged] == [body, b""]
    assert keys.add(add_of(1), 0.0) == "ok"
    assert [record.restrictions.destinations for record in keys.merge([])] == [b""]


def test_destinations_that_cannot_be_read_refuse_the_key(keys: ClientKeys) -> None:
    assert keys.add(restricted(1, encode_string(b"")), 0.0) == "bad_key"
    assert shown(keys) == []


def test_no_client_is_told_that_a_key_is_served_that_would_be_left_out(keys: ClientKeys) -> None:
    stores = [blob_of(7), blob_of(8)]
    assert keys.add(add_of(1), 0.0, stores) == "ok"
    assert keys.add(add_of(2), 0.0, stores) == "too_many_keys"
    assert keys.add(add_of(7), 0.0, stores) == "ok"
    assert keys.remove(blob_of(8), stores) == "ok"
    assert keys.add(add_of(2), 0.0, stores) == "ok"


def test_all_added_keys_together_are_bounded_in_bytes() -> None:
    keys = ClientKeys(AddRules(), TokenTools(), max_keys=2)
    long = "c" * MEAN_KEY_BYTES
    assert keys.add(add_of(1, long), 0.0) == "ok"
    assert keys.add(add_of(1, long), 0.0) == "ok"
    assert keys.add(add_of(2, long), 0.0) == "too_many_keys"
    assert keys.add(add_of(2), 0.0) == "ok"
    keys.remove(blob_of(1), ())
    assert keys.add(add_of(3, long[:-200]), 0.0) == "ok"


def test_keys_that_come_and_go_leave_nothing_behind_for_ever(keys: ClientKeys) -> None:
    for number in range(MAX_HIDDEN + 2):
        keys._forget(number.to_bytes(4, "big"))
    keys.remove(blob_of(1), [blob_of(1)])
    assert shown(keys, stored(1), stored(2)) == [(blob_of(2), "stored")]
    assert len(keys._hidden) == 1


@pytest.mark.parametrize("confirm", [True, False])
def test_who_is_to_be_asked_travels_with_the_key_and_is_set_anew_with_it(
    keys: ClientKeys, confirm: bool
) -> None:
    keys.add(add_of(1, confirm=not confirm), 0.0)
    keys.add(add_of(1, confirm=confirm), 0.0)
    assert [record.restrictions.confirm for record in keys.merge([stored(1)])] == [confirm]
