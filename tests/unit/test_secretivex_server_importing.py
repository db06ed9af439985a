"""The collector is on again after imports, whatever came of them."""

from __future__ import annotations

import gc

import pytest

from secretivex.server.surroundings.importing import uncollected


@pytest.mark.parametrize("is_failing", [False, True])
def test_the_collector_is_on_again_and_leaves_alone_what_came_meanwhile(is_failing: bool) -> None:
    before = gc.get_freeze_count()
    try:
        with uncollected():
            assert not gc.isenabled()
            if is_failing:
                raise ImportError("a part is missing")
    except ImportError:
        assert is_failing
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()
