"""A worker's hand on modules: what it passes on; and the processes that sign with their keys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secretivex.identity import Identity, KeyRecord, Restrictions
from secretivex.server.worker.tokens import TokenDesk
from secretivex.stores.hosting.modules import ModuleHosts
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.loaded import LoadedModule
from secretivex.stores.token.module import HelperModule
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


def test_a_module_that_is_given_up_is_not_started_again(tmp_path: Path) -> None:
    desk, path = desk_with(tmp_path, 1)
    module = HelperModule(path, b"", desk.tools)
    module.load()
    first = module.pid
    module.abandon()
    assert (first is not None, module.pid) == (True, None)
    with pytest.raises(TokenError, match="not served any more"):
        module.load()


def test_the_keys_of_a_module_have_one_process_for_all_workers_that_goes_with_them() -> None:
    hosts = ModuleHosts({}, "/usr/lib/helper")
    records = [record_of(provider, pin) for provider in ("/a", "/b") for pin in (b"1", b"2", b"2")]
    attached = hosts.attach([*records, OTHER])
    made = hosts.stores
    assert len(made) == 4
    assert attached[-1] is OTHER
    assert [one.restrictions.pin for one in attached] == [b""] * 7
    assert attached[1].signer == attached[2].signer != attached[0].signer
    kept = made[1]
    again = hosts.attach(records[1:3])
    assert [kept] == list(hosts.stores)
    assert again[0].signer == attached[1].signer
    for store in made:
        store.close()


def record_of(provider: str, pin: bytes) -> KeyRecord:
    identity = Identity(b"blob", "comment", "ssh-ed25519", "memory")
    return KeyRecord(identity, b"", Restrictions(provider, pin=pin))


OTHER = KeyRecord(Identity(b"other", "", "ssh-ed25519", "file"), b"fields")


def test_a_module_with_more_than_the_supervisor_takes_is_refused(tmp_path: Path) -> None:
    # Each byte that is no UTF-8 becomes three on its way.
    desk, module = desk_with(tmp_path, 250_000)
    with pytest.raises(TokenError, match="more than can be passed on") as refused:
        desk.prepare(AddSmartcardRequest(module, b""))
    assert refused.value.reason == "module_refused"


def test_a_module_is_removed_by_its_real_path_and_needs_no_pin(tmp_path: Path) -> None:
    desk, module = desk_with(tmp_path, 1)
    desk.tools = TokenTools(allowed_providers="")
    link = tmp_path / "link.so"
    link.symlink_to(module)
    request = desk.prepare(RemoveSmartcardRequest(str(link), b"1234"))
    assert request == RemoveSmartcardRequest(module, b"")
