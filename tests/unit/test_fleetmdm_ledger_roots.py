"""The leaves that a run commits to: written in batches, byte for byte what they always were."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clikit.canonical import encode_canonical
from fleetmdm.device import Device, encode_batch, encode_device
from fleetmdm.ledger.merkle import TreeHasher, leaf_hash, tree_root
from fleetmdm.ledger.roots import ResultLeaves, root_of_set
from fleetmdm.results import Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

texts = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from([',"os":', '","os":"', '\\","os":', "é\U0001f600"]),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(texts, st.just("os")), inner)
    ),
    max_leaves=6,
)
devices = st.builds(
    Device,
    device_id=texts,
    hostname=texts,
    os=texts,
    os_version=texts,
    serial=st.one_of(st.none(), texts),
    last_seen=st.timedeltas(timedelta(0), timedelta(days=9)).map(NOW.__add__),
    facts=st.dictionaries(st.one_of(texts, st.just("os")), values, max_size=3),
    tags=st.lists(texts, max_size=3).map(tuple),
)


@given(st.lists(devices, max_size=4))
def test_a_batch_writes_whole_documents_as_the_encoder_does(fleet: list[Device]) -> None:
    assert list(encode_batch(fleet).whole()) == [encode_device(device) for device in fleet]


@given(texts, st.dictionaries(texts, st.integers(0, len(Status) - 1), min_size=1, max_size=5))
def test_a_result_leaf_is_canonical_json(device_id: str, codes: dict[str, int]) -> None:
    states = tuple(Status)
    salt = b"0123456789abcdef"
    leaves, written = ResultLeaves(list(codes), states, salt), bytes(codes.values())
    leaf = leaves.leaf(device_id, written)
    named = {name: states[code].value for name, code in codes.items()}
    assert leaf == encode_canonical({"device_id": device_id, "states": named})
    assert leaves.hashes([(device_id, written)]) == [leaf_hash(salt + leaf)]


def naive_root(hashes: list[bytes]) -> bytes:
    """docs/evidence-format.md, word by word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    bits = 0
    while len(hashes) > 256 << bits:
        bits += 1
    buckets: list[list[bytes]] = [[] for _ in range(1 << bits)]
    for each in sorted(hashes):
        buckets[int.from_bytes(each, "big") >> (256 - bits)].append(each)
    level = [hashlib.sha256(b"\x02" + b"".join(each)).digest() for each in buckets]
    while len(level) > 1:
        level = [
            hashlib.sha256(b"\x01" + level[at] + level[at + 1]).digest()
            for at in range(0, len(level), 2)
        ]
    return level[0]


@pytest.mark.parametrize("count", [0, 1, 2, 255, 256, 257, 512, 513, 3000])
def test_the_root_of_a_set_does_not_know_the_order(count: int) -> None:
    hashes = [hashlib.sha256(b"%d" % number).digest() for number in range(count)]
    root = root_of_set(b"".join(hashes))
    assert root == naive_root(hashes) == root_of_set(b"".join(reversed(hashes)))
    for place in {0, count // 2, count - 1} & set(range(count)):
        other = hashes.copy()
        other[place] = hashlib.sha256(other[place]).digest()
        assert root_of_set(b"".join(other)) != root


def test_leaves_that_begin_alike_are_put_in_order_all_the_same() -> None:
    hashes = [b"\x00" * 31 + bytes([number]) for number in range(20)]
    assert root_of_set(b"".join(reversed(hashes))) == naive_root(hashes)


@pytest.mark.parametrize("sizes", [(0,), (1,), (7, 1), (3, 8, 16, 5), (64, 64), (33, 31, 1, 100)])
def test_leaves_added_at_once_make_the_same_tree(sizes: tuple[int, ...]) -> None:
    tree, number = TreeHasher(), 0
    for size in sizes:
        tree.add_all(str(each).encode() for each in range(number, number + size))
        number += size
        assert tree.size == number
        assert tree.root() == tree_root(str(each).encode() for each in range(number))
