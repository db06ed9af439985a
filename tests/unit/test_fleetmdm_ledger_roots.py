"""The leaves that a run commits to: written in batches, byte for byte what they always were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clikit.canonical import encode_canonical
from fleetmdm.device import Device, encode_batch, encode_device
from fleetmdm.ledger.merkle import TreeHasher, tree_root
from fleetmdm.ledger.roots import ResultLeaves
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
    leaf = ResultLeaves(list(codes), states).leaf(device_id, bytes(codes.values()))
    named = {name: states[code].value for name, code in codes.items()}
    assert leaf == encode_canonical({"device_id": device_id, "states": named})


@pytest.mark.parametrize("sizes", [(0,), (1,), (7, 1), (3, 8, 16, 5), (64, 64), (33, 31, 1, 100)])
def test_leaves_added_at_once_make_the_same_tree(sizes: tuple[int, ...]) -> None:
    tree, number = TreeHasher(), 0
    for size in sizes:
        tree.add_all(str(each).encode() for each in range(number, number + size))
        number += size
        assert tree.size == number
        assert tree.root() == tree_root(str(each).encode() for each in range(number))
