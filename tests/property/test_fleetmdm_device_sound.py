"""What the quick decoder lets through, the careful walk would have let through too."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import DeviceLimits, decode_sound
from fleetmdm.device.values import check_value

LIMITS = DeviceLimits(max_depth=4, max_values=9, max_key_chars=3, max_text_chars=4)

texts = st.text(st.characters(codec="utf-8"), max_size=5)
numbers = st.one_of(
    st.integers(-(2**64), 2**64), st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text("ab", max_size=4), inner, max_size=4)
    ),
    max_leaves=10,
)
raw = st.sampled_from([b'"\\ud800"', b'"\\udc00x"', b"1e400", b"-1e400", b"[[[[[]]]]]", b"NaN"])


@given(st.dictionaries(st.text("ab", max_size=4), values, max_size=4))
def test_what_is_sound_is_within_the_limits(document: dict[str, Any]) -> None:
    data = msgspec.json.encode(document)
    found = decode_sound(data, LIMITS)
    if found is not None:
        assert found == msgspec.json.decode(data)
        check_value(found, LIMITS)


@given(raw, st.integers(0, 3))
def test_what_no_json_value_may_be_is_not_sound(data: bytes, depth: int) -> None:
    nested = b'{"a":' * (depth + 1) + data + b"}" * (depth + 1)
    assert decode_sound(nested, LIMITS) is None


def test_an_ordinary_document_is_sound() -> None:
    assert decode_sound(b'{"a":{"b":[1,"x",null,true]}}', LIMITS) is not None
    deep = b'{"a":' * 5 + b"1" + b"}" * 5
    assert decode_sound(deep, DeviceLimits()) is not None
