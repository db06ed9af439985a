"""Which providers may be loaded, and what a person is asked with."""

from __future__ import annotations

from pathlib import Path

import pytest

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.tools import (
    ASKPASS,
    DEFAULT_PROVIDERS,
    PKCS11_HELPER,
    SK_HELPER,
    TokenTools,
    find_tools,
)


def test_a_provider_is_judged_by_where_its_links_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "evil.so").touch()
    (inside / "link.so").symlink_to(outside / "evil.so")
    (inside / "good.so").touch()
    tools = TokenTools(allowed_providers=f"{inside.resolve()}/*")
    assert tools.allow(str(inside / "good.so")) == str((inside / "good.so").resolve())
    with pytest.raises(TokenError, match="allowed_providers") as refused:
        tools.allow(str(inside / "link.so"))
    assert refused.value.reason == "provider_not_allowed"
    climbing = str(inside / ".." / "outside" / "evil.so")
    with pytest.raises(TokenError, match="allowed_providers"):
        tools.allow(climbing)


@pytest.mark.parametrize("provider", ["", "/nonexistent/module.so", "a\0b", "x" * 5000])
def test_a_provider_that_is_not_there_is_refused(provider: str) -> None:
    with pytest.raises(TokenError) as refused:
        TokenTools(allowed_providers="*").allow(provider)
    assert refused.value.reason == "provider_not_found"


def test_no_pattern_allows_nothing(tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    module.touch()
    with pytest.raises(TokenError):
        TokenTools(allowed_providers="").allow(str(module))


@pytest.mark.parametrize("word", ["", "internal", "INTERNAL"])
def test_the_library_inside_the_helper_needs_no_file(word: str) -> None:
    assert TokenTools(allowed_providers="").allow_security_key(word) == "internal"


def test_the_default_patterns_are_those_of_ssh_agent() -> None:
    assert DEFAULT_PROVIDERS == "/usr/lib*/*,/usr/local/lib*/*"


def test_the_tools_are_found_as_openssh_finds_them() -> None:
    plain = find_tools({})
    assert (plain.sk_helper, plain.pkcs11_helper, plain.askpass) == (SK_HELPER, PKCS11_HELPER, "")
    told = find_tools({"SSH_SK_HELPER": "/a", "SSH_PKCS11_HELPER": "/b"})
    assert (told.sk_helper, told.pkcs11_helper) == ("/a", "/b")


@pytest.mark.parametrize(
    ("environ", "askpass"),
    [
        ({"SSH_ASKPASS": "/ask"}, ""),
        ({"SSH_ASKPASS": "/ask", "DISPLAY": ":0"}, "/ask"),
        ({"SSH_ASKPASS": "/ask", "WAYLAND_DISPLAY": "wayland-0"}, "/ask"),
        ({"SSH_ASKPASS": "/ask", "DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "never"}, ""),
        ({"SSH_ASKPASS": "/ask", "SSH_ASKPASS_REQUIRE": "force"}, "/ask"),
        ({"DISPLAY": ":0"}, ASKPASS),
    ],
)
def test_a_person_is_asked_when_ssh_add_would_ask(environ: dict[str, str], askpass: str) -> None:
    assert find_tools(environ).askpass == askpass


def test_only_what_a_dialog_needs_is_handed_to_it() -> None:
    given = {"DISPLAY": ":0", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "SSH_AUTH_SOCK": "/s"}
    assert find_tools(given).askpass_environ == {"DISPLAY": ":0", "LC_ALL": "C"}


def test_tools_travel_as_a_table() -> None:
    settings = {"allowed_providers": "/opt/*", "confirm_command": ("ask", "-x")}
    tools = find_tools({"DISPLAY": ":0"}, restrict_websafe=False, **settings)
    assert TokenTools.from_table(tools.as_table()) == tools
