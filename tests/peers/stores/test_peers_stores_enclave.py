"""The Secure Enclave's store over a stand-in that answers every documented status."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from enclave_stand_in import StandIn

from secretivex.cli.client.storing.makers import EnclaveMaker
from secretivex.errors import SecretiveError
from secretivex.stores.hosting.endpoint import open_endpoint
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.secure_enclave.port import STATUSES, Access, Consent
from secretivex.stores.secure_enclave.store import EnclaveStore
from secretivex.stores.token.errors import TokenError
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature


@pytest.mark.parametrize("status", [*STATUSES, -99999])
def test_every_status_is_explained(enclave: Any, status: int) -> None:
    opened, stand_in = enclave
    stand_in.create("key", Access.USER_PRESENCE)
    opened.reload()
    stand_in.orders["sign"] = status
    with pytest.raises(TokenError) as caught:
        opened.store.sign(opened.find("key"), b"data")
    row = STATUSES.get(status)
    assert caught.value.reason == (row.reason if row else "enclave_failed")
    stand_in.orders["discover"] = status
    opened.reload()
    health = opened.store.health()
    assert not health.is_well
    assert (row.name if row else str(status)) in health.reason
    assert opened.comments == ["key"], "a key is not gone because the system does not say"
    stand_in.orders.clear()
    opened.reload()
    assert opened.store.health().is_well
    opened.store.sign(opened.find("key"), b"data")


def test_the_person_is_told_what_for(enclave: Any) -> None:
    opened, stand_in = enclave
    stand_in.create("key", Access.BIOMETRY)
    opened.reload()
    opened.store.sign(opened.find("key"), b"data")
    assert [consent.prompt for consent in stand_in.consents] == ["sign in"]
    assert set(stand_in.accesses.values()) == {Access.BIOMETRY}


def test_one_consent_may_hold_for_a_while() -> None:
    stand_in = StandIn()
    settings = {"prompt": "deploy to production", "reuse_ms": 30_000}
    endpoint = open_endpoint()
    setup = StoreSetup("secure_enclave", "secure_enclave", settings, endpoint=endpoint)
    store = EnclaveStore(setup, stand_in)
    stand_in.create("key", Access.USER_PRESENCE)
    store.refresh()
    key = parse_public_key(store.identities()[0].key_blob)
    verify_signature(key, store.sign_with(key, b"data", 0), b"data")
    assert stand_in.consents == [Consent("deploy to production", 30.0)]
    endpoint.close()


@pytest.mark.parametrize("access", ["none", "user-presence", "biometry"])
def test_the_command_s_keys_are_made_with_their_access_and_removed(access: str) -> None:
    stand_in = StandIn()
    maker = EnclaveMaker(stand_in)
    line = maker.create("mine", "p256", access)
    assert line.split()[::2] == ["ecdsa-sha2-nistp256", "mine"]
    assert list(stand_in.accesses.values()) == [Access(access)]
    with pytest.raises(SecretiveError, match="P-256 keys only"):
        maker.create("other", "rsa2048", access)
    with pytest.raises(SecretiveError, match="no key other"):
        maker.delete("other")
    maker.delete("mine")
    assert stand_in.keys == {}


@pytest.mark.parametrize("call", ["create", "discover", "delete"])
def test_what_the_system_refuses_of_a_command_has_its_remedy(call: str) -> None:
    stand_in = StandIn()
    maker = EnclaveMaker(stand_in)
    maker.create("mine", "p256", "none")
    stand_in.orders[call] = -34018
    acts: dict[str, Callable[[], object]] = {"create": partial(maker.create, "x", "p256", "none")}
    act = acts.get(call, partial(maker.delete, "mine"))
    with pytest.raises(TokenError) as caught:
        act()
    assert caught.value.reason == "missing_entitlement"
    assert "sc_auth create-ctk-identity" in caught.value.remedy


PAGE = Path(__file__).resolve().parents[3] / "docs" / "platforms.md"
SCRIPT = re.search(r"## Ten minutes on a Mac.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)


def commands_of_the_script() -> list[tuple[str, list[str]]]:
    """Each command of ours in the script that a Mac's owner runs: the program and its arguments."""
    assert SCRIPT is not None
    text = SCRIPT[1].replace("<(", " ; ").replace(")", " ; ").replace("$(", " ; ")
    parts = re.split(r"[;&|\n]", text)
    words = [shlex.split(part) for part in parts if part.strip().startswith("secretive-")]
    return [(one[0], one[1:]) for one in words]


@pytest.mark.parametrize(
    ("program", "arguments"), commands_of_the_script(), ids=lambda value: str(value)[:40]
)
def test_the_script_for_a_mac_has_options_that_there_are(
    program: str, arguments: list[str], tmp_path: Path
) -> None:
    """It cannot run here: a configuration that names the Enclave is refused, and no option is."""
    module = {
        "secretive-client": "secretivex.cli.client",
        "secretive-agent": "secretivex.cli.agent",
    }
    (tmp_path / "agent.toml").write_text('[[stores]]\ntype = "secure_enclave"\n')
    done = subprocess.run(
        [sys.executable, "-m", module[program], *arguments],
        env={"PYTHONPATH": str(PAGE.parents[1] / "src"), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (3, 5), done.stderr


def test_a_key_that_is_deleted_is_gone(enclave: Any) -> None:
    opened, stand_in = enclave
    made = stand_in.create("key", Access.NONE)
    opened.reload()
    identity = opened.find("key")
    assert stand_in.delete(made) is None
    with pytest.raises(TokenError, match="any more"):
        opened.store.sign(identity, b"data")
    opened.reload()
    with pytest.raises(LookupError):
        opened.store.sign(identity, b"data")
