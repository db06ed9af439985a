"""Version keys: the published orders of each scheme, lowest first."""

from __future__ import annotations

from itertools import combinations

import pytest

from fleetmdm.evaluate.operators.versions import version_key

ORDERS = {
    "dpkg": "0~~ 0~ 0 0.1 1.0~rc1-1 1.0-0ubuntu1 1.0-1~bpo1 1.0-1 1.0a 1.0+b1 1.0.1 1.2 1.10 1:0.1 "
    "2:0",
    "rpm": "1.0~rc1 1.0 1.0-1 1.0-1.el9 1.0-2 1.0^git1 1.0^git1-1 1.0.a 1.0.1 1.2 1.10 1:0.1",
    # Semantic Versioning 2.0.0, clause 11.
    "semver": "0.0.1 0.2.0 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 "
    "1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.2.0 1.10.0 2.0.0",
    # PEP 440's own example of an order, and the epochs.
    "pep440": "1.dev0 1.0.dev456 1.0a1 1.0a2.dev456 1.0a12.dev456 1.0a12 1.0b1.dev456 1.0b2 "
    "1.0b2.post345.dev456 1.0b2.post345 1.0rc1.dev456 1.0rc1 1.0 1.0+abc.5 1.0+abc.7 1.0+5 "
    "1.0.post456.dev34 1.0.post456 1.0.15 1.1.dev1 1!0.1",
    "macos": "10.15.7 11 11.0.1 13.6.9 14.4 14.4.1 26.0.1",
}
BUILDS = "9A581 22A380 22E261 22E772610a 23A344 23E214 23E224"
EQUAL = {
    "dpkg": ["0:1.0 1.0", "1.0 1.0-0", "1.00 1.0", "1.01-1 1.1-1"],
    "rpm": ["0:1.0 1.0", "1.00 1.0", "1_0 1.0", "1.0. 1.0"],
    "semver": ["1.0.0+a 1.0.0+b", "v1.0.0 1.0.0"],
    "pep440": ["1.0 1", "1.0-alpha.1 1.0a1", "v1.0-1 1.0.post1", "1.0RC1 1.0c1", "1.0+A-B 1.0+a.b"],
    "macos": ["14.4 14.4.0", "14 14.0.0"],
}
UNREADABLE = {
    "dpkg": ["", "unknown", "n/a", "1.0-", "1 0", "a:1.0", "-1", "1.0é", "1" * 257],
    "rpm": ["", "unknown", "1.0-1-1", "1/0", "(none)", "x:1"],
    "semver": ["", "1", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3-a..b", "1.2.3.4"],
    "pep440": ["", "unknown", "1.0-x", "1..0", "6.8.0-45-generic"],
    "macos": ["", "14.4b", "Sonoma", "23e224", "1.2.3.4.5"],
}


@pytest.mark.parametrize("scheme", ORDERS)
def test_versions_sort_in_the_published_order(scheme: str) -> None:
    for lower, higher in combinations(ORDERS[scheme].split(), 2):
        assert version_key(scheme, lower) < version_key(scheme, higher), (lower, higher)


def test_builds_of_macos_sort_too() -> None:
    for lower, higher in combinations(BUILDS.split(), 2):
        assert version_key("macos", lower) < version_key("macos", higher)


@pytest.mark.parametrize("scheme", EQUAL)
def test_versions_that_only_look_different_are_equal(scheme: str) -> None:
    for pair in EQUAL[scheme]:
        left, right = pair.split()
        assert version_key(scheme, left) == version_key(scheme, right), pair


@pytest.mark.parametrize("scheme", UNREADABLE)
def test_what_is_no_version_is_refused(scheme: str) -> None:
    for text in UNREADABLE[scheme]:
        with pytest.raises(ValueError, match=r"version|build"):
            version_key(scheme, text)
