"""A worker's hand on modules: what it passes on, keeps and ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secretivex.server.worker.tokens import TokenDesk
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.loaded import LoadedModule
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.requests import AddSmartcardRequest, RemoveSmartcardRequest

HELPER = """\
#!{python} -SI
import os
while head := os.read(0, 4):
    body = b""
    while len(body) < int.from_bytes(head, "big"):
        body += os.read(0, 65536)
    if body[0] == 13:
        os.write(1, bytes((0, 0, 0, 1, 30)))
        continue
    label = b"\\xff" * {label_bytes}
    def string(value):
        return len(value).to_bytes(4, "big") + value
    answer = string(bytes((12, 0, 0, 0, 1)) + string(b"blob") + string(label))
    while answer:
        answer = answer[os.write(1, answer):]
"""


def desk_with(folder: Path, label_bytes: int) -> tuple[TokenDesk, str]:
    """A desk whose helper offers one key, and a file that may be loaded."""
    helper, module = folder / "helper", folder / "module.so"
    helper.write_text(HELPER.format(python=sys.executable, label_bytes=label_bytes))
    helper.chmod(0o755)
    module.touch()
    desk = TokenDesk()
    desk.tools = TokenTools(pkcs11_helper=str(helper), allowed_providers="*")
    return desk, str(module.resolve())


def test_a_module_that_is_loaded_is_passed_on_by_its_real_path(tmp_path: Path) -> None:
    desk, module = desk_with(tmp_path, 1)
    link = tmp_path / "link.so"
    link.symlink_to(module)
    loaded = desk.prepare(AddSmartcardRequest(str(link), b"1234"))
    assert isinstance(loaded, LoadedModule)
    assert loaded.request == AddSmartcardRequest(module, b"1234")
    assert [key.key_blob for key in loaded.keys] == [b"blob"]
    desk.abandon()


def test_a_module_of_which_no_key_is_served_is_given_up(tmp_path: Path) -> None:
    desk, module = desk_with(tmp_path, 1)
    desk.prepare(AddSmartcardRequest(module, b""))
    (unused,) = desk.take_unused(())
    assert desk.take_unused(()) == ()
    first = unused.pid
    unused.abandon()
    assert (first is not None, unused.pid) == (True, None)
    with pytest.raises(TokenError, match="not served any more"):
        unused.load()


def test_a_module_with_more_than_the_supervisor_takes_is_refused(tmp_path: Path) -> None:
    # Each byte that is no UTF-8 becomes three on its way.
    desk, module = desk_with(tmp_path, 250_000)
    with pytest.raises(TokenError, match="more than can be passed on") as refused:
        desk.prepare(AddSmartcardRequest(module, b""))
    assert refused.value.reason == "module_refused"
    assert desk.take_unused(()) == ()


def test_a_module_is_removed_by_its_real_path_and_needs_no_pin(tmp_path: Path) -> None:
    desk, module = desk_with(tmp_path, 1)
    desk.tools = TokenTools(allowed_providers="")
    link = tmp_path / "link.so"
    link.symlink_to(module)
    request = desk.prepare(RemoveSmartcardRequest(str(link), b"1234"))
    assert request == RemoveSmartcardRequest(module, b"")
