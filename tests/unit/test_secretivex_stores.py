"""Stores and their union: order, duplicates, files that are skipped and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secretivex.config import ConfigInput
from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.key_table import count_listed
from secretivex.loading import make_setup
from secretivex.server.authority import Authority
from secretivex.stores.file import FileSource, FileStore
from secretivex.stores.memory import MemoryStore
from secretivex.stores.registry import Registry
from sshwire.privkey import PrivateKey, encode_private_key, parse_private_fields
from sshwire.pubkey import encode_public_line
from sshwire.signature import verify_signature
from sshwire.wire import Reader, encode_string


def make_key(seed: int, comment: str) -> PrivateKey:
    """An Ed25519 key that is the same in every run."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = bytes([seed]) * 32
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    fields = encode_string(public) + encode_string(secret + public)
    return parse_private_fields(Reader(fields), "ssh-ed25519", comment)


def write_key(path: Path, key: PrivateKey, mode: int = 0o600) -> Path:
    path.write_bytes(encode_private_key(key, random_bytes=lambda count: b"\1" * count))
    path.chmod(mode)
    return path


def store_of(*paths: Path, **options: object) -> FileStore:
    return FileStore(FileSource(paths, owner_uid=os.geteuid(), **options))  # type: ignore[arg-type] # options by name


def comments(store: FileStore | MemoryStore | Registry) -> list[str]:
    return [identity.comment for identity in store.identities()]


class BrokenStore:
    """A store that can do nothing."""

    name = "broken"
    kind = "pkcs11"

    def refresh(self) -> tuple[StoreEvent, ...]:
        raise OSError("the token is gone")

    def identities(self) -> tuple[Identity, ...]:
        raise OSError("the token is gone")

    def sign(self, _identity: Identity, _data: bytes, _flags: int = 0) -> bytes:
        raise OSError("the token is gone")

    def export(self, _identity: Identity) -> KeyRecord:
        raise OSError("the token is gone")

    def health(self) -> StoreHealth:
        raise OSError("the token is gone")


def test_memory_replaces_a_key_in_its_place() -> None:
    store = MemoryStore()
    store.add(make_key(1, "first"))
    store.add(make_key(2, "second"))
    store.add(make_key(1, "first again"))
    assert comments(store) == ["first again", "second"]
    assert store.remove(store.identities()[0].key_blob)
    assert not store.remove(b"unknown")
    store.clear()
    assert store.health().identities == 0


def test_memory_signs_and_exports_what_a_worker_can_sign_with() -> None:
    store = MemoryStore()
    identity = store.add(make_key(1, "mine"))
    key = make_key(1, "mine").public
    verify_signature(key, store.sign(identity, b"data"), b"data")
    reader = Reader(store.export(identity).private_fields)
    shipped = parse_private_fields(reader, reader.text(), identity.comment)
    verify_signature(key, shipped.sign(b"data"), b"data")


def test_a_record_does_not_show_its_secret() -> None:
    store = MemoryStore()
    record = store.export(store.add(make_key(1, "mine")))
    assert repr(record.private_fields) not in repr(record)


def test_files_are_sorted_by_comment_and_the_pub_file_names_them(tmp_path: Path) -> None:
    write_key(tmp_path / "one", make_key(1, "zebra"))
    write_key(tmp_path / "two", make_key(2, "inside"))
    (tmp_path / "two.pub").write_text(encode_public_line(make_key(2, "").public, "apple") + "\n")
    write_key(tmp_path / "three", make_key(3, ""))
    store = store_of(tmp_path)
    assert store.refresh() == ()
    assert comments(store) == ["apple", "three", "zebra"]


def test_the_pub_file_of_another_key_is_ignored(tmp_path: Path) -> None:
    write_key(tmp_path / "one", make_key(1, "inside"))
    (tmp_path / "one.pub").write_text(encode_public_line(make_key(2, "").public, "outside"))
    store = store_of(tmp_path)
    store.refresh()
    assert comments(store) == ["inside"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o601])
def test_a_key_that_others_can_reach_is_skipped_once(tmp_path: Path, mode: int) -> None:
    path = write_key(tmp_path / "loose", make_key(1, "loose"), mode)
    store = store_of(tmp_path)
    (event,) = store.refresh()
    assert (event.kind, event.subject) == ("key_skipped", str(path))
    assert f"{mode:04o}" in event.reason
    assert store.refresh() == ()
    assert store.health().reason == "1 file skipped"
    path.chmod(0o600)
    assert store.refresh() == ()
    assert comments(store) == ["loose"]


def test_a_key_of_another_owner_is_skipped(tmp_path: Path) -> None:
    write_key(tmp_path / "theirs", make_key(1, "theirs"))
    if os.geteuid() == 0:
        os.chown(tmp_path / "theirs", 65534, -1)
        (event,) = store_of(tmp_path).refresh()
    else:
        source = FileSource((tmp_path,), owner_uid=os.geteuid() + 1)
        (event,) = FileStore(source).refresh()
    assert "not to us" in event.reason


def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    key = make_key(1, "locked")
    path.write_bytes(
        encode_private_key(
            key, random_bytes=lambda count: b"\1" * count, passphrase=b"right", rounds=1
        )
    )
    path.chmod(0o600)
    for passphrase, reason in ((None, "passphrase_env"), (b"wrong", "does not open")):
        (event,) = store_of(path, passphrase=passphrase).refresh()
        assert reason in event.reason
    store = store_of(path, passphrase=b"right")
    assert store.refresh() == ()
    assert comments(store) == ["locked"]


@pytest.mark.parametrize("name", ["config", "known_hosts", "authorized_keys", "id.pub", ".hidden"])
def test_what_is_known_to_be_no_key_is_not_even_tried(tmp_path: Path, name: str) -> None:
    write_key(tmp_path / name, make_key(1, "no"))
    store = store_of(tmp_path)
    assert (store.refresh(), store.identities()) == ((), ())


def test_a_named_file_is_tried_whatever_its_name_and_its_absence_is_reported(
    tmp_path: Path,
) -> None:
    named = write_key(tmp_path / "config", make_key(1, "named"))
    store = store_of(named, tmp_path / "absent")
    (event,) = store.refresh()
    assert event.reason == "no such file"
    assert comments(store) == ["named"]


def test_other_files_of_a_folder_are_passed_over_in_silence(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("words")
    (tmp_path / "folder").mkdir()
    (tmp_path / "image").write_bytes(bytes(2_000_000))
    os.mkfifo(tmp_path / "pipe")
    assert store_of(tmp_path).refresh() == ()


def test_a_damaged_or_foreign_key_is_reported_without_its_content(tmp_path: Path) -> None:
    whole = write_key(tmp_path / "damaged", make_key(1, "x")).read_bytes()
    (tmp_path / "damaged").write_bytes(whole[:120])
    (tmp_path / "pem").write_text("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n")
    (tmp_path / "pem").chmod(0o600)
    events = store_of(tmp_path).refresh()
    assert [Path(event.subject).name for event in events] == ["damaged", "pem"]
    assert "AAAA" not in str(events)


def test_a_key_reached_twice_is_held_once(tmp_path: Path) -> None:
    path = write_key(tmp_path / "one", make_key(1, "one"))
    (tmp_path / "link").symlink_to(path)
    write_key(tmp_path / "copy", make_key(1, "copy"))
    store = store_of(tmp_path, path)
    store.refresh()
    assert len(store.identities()) == 1


def test_key_types_leaves_other_keys_out(tmp_path: Path) -> None:
    write_key(tmp_path / "one", make_key(1, "one"))
    (event,) = store_of(tmp_path, key_types=("ssh-rsa",)).refresh()
    assert event.reason == "ssh-ed25519 is not among key_types"


def test_a_union_lists_each_key_once_for_its_first_store() -> None:
    first, second = MemoryStore("first"), MemoryStore("second")
    first.add(make_key(1, "in both"))
    second.add(make_key(2, "in one"))
    second.add(make_key(1, "in both, again"))
    union = Registry((first, second))
    assert comments(union) == ["in both", "in one"]
    assert [record.identity.store for record in union.export()] == ["first", "second"]


def test_a_broken_store_hides_no_other_and_is_reported_once() -> None:
    good = MemoryStore()
    good.add(make_key(1, "good"))
    union = Registry((BrokenStore(), good))
    (event,) = union.refresh()
    assert (event.kind, event.reason) == ("store_broken", "OSError: the token is gone")
    assert union.refresh() == ()
    assert comments(union) == ["good"]
    assert len(union.export()) == 1
    assert [health.is_well for health in union.health()] == [False, True]


def test_two_stores_of_one_name_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="one name"):
        Registry((MemoryStore(), MemoryStore()))


def test_a_list_that_cannot_hold_every_key_is_cut_in_order_and_unhealthy(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    for seed in range(90):
        write_key(keys / f"{seed:03}", make_key(seed, f"{seed:03} " + "x" * 4000))
    store = {"type": "file", "paths": [str(keys)], "scan_default_dir": False}
    flags = {"socket_path": "/nowhere", "workers": 1}
    setup = make_setup(ConfigInput(flags, {}, None, 1, tmp_path, (store,)))
    authority = Authority(setup.config, {})
    authority.refresh()
    identities = tuple(record.identity for record in authority.state().keys)
    assert len(identities) == 90
    assert 50 < count_listed(identities) < 90
    health = authority.health()[-1]
    assert (health.kind, health.is_well) == ("list", False)
    assert health.identities == count_listed(identities)
