"""The keyring's rules: names, states, rotation with overlap, revocation, its exchange forms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.errors import FleetError
from fleetmdm.evidence.keyring.folder import (
    KEY_KINDS,
    key_path,
    load_keyring,
    make_key,
    save_keyring,
    write_key,
)
from fleetmdm.evidence.keyring.model import (
    KeyEntry,
    Keyring,
    encode_keyring,
    entries_of,
    parse_keyring,
    render_allowed_signers,
    render_krl,
)
from fleetmdm.evidence.manifest import NAMESPACE
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.errors import VerificationError
from sshwire.krl import parse_krl
from sshwire.privkey import PrivateKey, parse_private_keys
from sshwire.sshsig import sign_message, verify_message

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Make = Callable[[int], PrivateKey]


@pytest.fixture
def entry(make_key: Make) -> Callable[[int], KeyEntry]:
    def make(number: int) -> KeyEntry:
        return KeyEntry(f"key{number}", "fleet", make_key(number).public_key, NOW)

    return make


Entry = Callable[[int], KeyEntry]


def test_a_key_is_found_by_name_and_fingerprint_and_is_there_once(entry: Entry) -> None:
    keyring = Keyring().add(entry(1)).add(entry(2))
    one = entry(1)
    for wanted in ("key1", one.fingerprint, one.fingerprint.removeprefix("SHA256:")):
        assert keyring.find(wanted) == one
    for again in (
        one,
        KeyEntry("other", "x", one.key, NOW),
        KeyEntry("key1", "x", entry(3).key, NOW),
    ):
        with pytest.raises(FleetError) as caught:
            keyring.add(again)
        assert caught.value.code == "key_exists"
    with pytest.raises(FleetError) as caught:
        keyring.find("absent")
    assert caught.value.code == "key_not_found"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../x", "a b", "x" * 65, "é"])
def test_names_that_are_no_file_names_are_refused(entry: Entry, name: str) -> None:
    with pytest.raises(FleetError) as caught:
        Keyring().add(KeyEntry(name, "x", entry(1).key, NOW))
    assert caught.value.code == "key_name_invalid"


def test_rotation_overlaps_and_then_ends(entry: Entry) -> None:
    keyring = Keyring().add(entry(1)).rotate("key1", entry(2), now=NOW, overlap=30 * DAY)
    old, new = keyring.find("key1"), keyring.find("key2")
    assert (old.state(NOW + 29 * DAY), new.state(NOW + 29 * DAY)) == ("active", "active")
    assert (old.state(NOW + 31 * DAY), new.state(NOW - DAY)) == ("expired", "not_yet_valid")
    assert keyring.active(NOW) == [new], "the newer one signs"
    with pytest.raises(FleetError) as caught:
        keyring.rotate("key1", entry(3), now=NOW, overlap=DAY)
    assert caught.value.code == "key_unusable"


def test_a_revocation_stays(entry: Entry) -> None:
    keyring = Keyring().add(entry(1)).revoke("key1", at=NOW, reason="lost")
    assert keyring.find("key1").state(NOW - DAY) == "revoked"
    assert keyring.revocations()[entry(1).fingerprint].reason == "lost"
    changes: tuple[Callable[[], Keyring], ...] = (
        lambda: keyring.revoke("key1", at=NOW, reason="again"),
        lambda: keyring.rotate("key1", entry(2), now=NOW, overlap=DAY),
    )
    for change in changes:
        with pytest.raises(FleetError) as caught:
            change()
        assert caught.value.code == "key_unusable"


def test_a_keyring_is_read_as_it_was_written(entry: Entry) -> None:
    keyring = (
        Keyring()
        .add(entry(1))
        .rotate("key1", entry(2), now=NOW, overlap=DAY)
        .revoke("key1", at=NOW, reason="lost")
    )
    assert parse_keyring(encode_keyring(keyring), name="k") == keyring


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}\n", b'{"keys":[],"schema":2}\n', b'{"keys": [],"schema":1}\n']
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FleetError) as caught:
        parse_keyring(data, name="k")
    assert caught.value.code == "keyring_invalid"


def test_allowed_signers_carry_the_times(entry: Entry, make_key: Make) -> None:
    keyring = Keyring().add(entry(1)).rotate("key1", entry(2), now=NOW, overlap=5 * DAY)
    keyring = keyring.revoke("key1", at=NOW + DAY, reason="lost")
    allowed = parse_allowed_signers(render_allowed_signers(keyring))

    def refused(number: int, at: datetime, namespace: str = NAMESPACE) -> str:
        signature = sign_message(b"x", signer=make_key(number), namespace=namespace)
        try:
            verify_message(
                b"x", signature, namespace=namespace, principal="fleet", now=at, allowed=allowed
            )
        except VerificationError as error:
            return error.reason
        return ""

    assert (refused(1, NOW), refused(1, NOW + 2 * DAY)) == ("", "key_expired")
    assert (refused(2, NOW + 9 * DAY), refused(2, NOW - DAY)) == ("", "key_not_yet_valid")
    assert refused(2, NOW, "git") == "namespace_not_allowed"
    taken = entries_of(allowed, names=["a", "b", "c"], now=NOW)
    assert [(each.name, each.valid_before) for each in taken] == [("a", NOW + DAY), ("b", None)]


def test_the_revocation_list_names_the_revoked_keys(entry: Entry) -> None:
    keyring = Keyring().add(entry(1)).add(entry(2)).revoke("key2", at=NOW, reason="lost")
    revoked = parse_krl(render_krl(keyring, now=NOW))
    assert [revoked.revokes(entry(number).key) for number in (1, 2)] == [False, True]
    assert revoked.generated == int(NOW.timestamp())
    assert not parse_krl(render_krl(Keyring(), now=NOW)).keys


@pytest.mark.parametrize("kind", [kind for kind in KEY_KINDS if not kind.startswith("rsa-4")])
def test_a_key_that_was_made_signs(tmp_path: Path, kind: str) -> None:
    path = write_key(tmp_path / "ring", "mine", make_key(kind))
    assert path == key_path(tmp_path / "ring", "mine")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    (key,) = parse_private_keys(path.read_bytes())
    assert key.public_key.algorithm == KEY_KINDS[kind]
    assert sign_message(b"x", signer=key, namespace=NAMESPACE)
    with pytest.raises(FleetError) as caught:
        write_key(tmp_path / "ring", "mine", key)
    assert caught.value.code == "key_exists"


def test_a_keyring_on_disk(tmp_path: Path, entry: Entry) -> None:
    with pytest.raises(FleetError) as caught:
        load_keyring(tmp_path)
    assert caught.value.code == "keyring_not_found"
    assert load_keyring(tmp_path, create=True) == Keyring()
    save_keyring(tmp_path, Keyring().add(entry(1)))
    assert load_keyring(tmp_path).find("key1") == entry(1)
    (tmp_path / "keyring.json").unlink()
    (tmp_path / "keyring.json").mkdir()
    with pytest.raises(FleetError) as caught:
        load_keyring(tmp_path)
    assert caught.value.code == "keyring_invalid"
