"""Security keys and PKCS#11 modules through OpenSSH's helpers, and helpers that misbehave."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.module import HelperModule
from secretivex.stores.token.security_key import SecurityKey, alone_with_device
from secretivex.stores.token.tools import SK_HELPER, TokenTools
from sshwire.privkey import PrivateKey, parse_private_keys
from sshwire.pubkey import parse_public_key
from sshwire.signature import parse_signature, verify_signature
from sshwire.token.pkcs11_helper import TokenKey

SRC = Path(__file__).resolve().parents[2] / "src"
PIN = "1234"


MakeKey = Callable[..., PrivateKey]


@pytest.fixture
def make_key(tmp_path: Path, fido: str) -> MakeKey:
    """A key on the virtual authenticator."""

    def make(kind: str, *options: str) -> PrivateKey:
        path = tmp_path / kind
        command = ["ssh-keygen", "-q", "-t", kind, "-w", fido, "-N", "", "-f", str(path)]
        subprocess.run([*command, *options], check=True, timeout=60, stdin=subprocess.DEVNULL)
        return parse_private_keys(path.read_bytes())[0]

    return make


class SoftHsm(Protocol):
    """The fixture of this name."""

    module: str
    config: str


def script(path: Path, body: str) -> str:
    """An executable Python program that imports our wire formats."""
    path.write_text(
        f"#!{sys.executable} -S\nimport os, sys, time\nsys.path[:0] = {[str(SRC)]!r}\n{body}\n"
    )
    path.chmod(0o755)
    return str(path)


def askpass(folder: Path, answer: str) -> str:
    """An askpass that notes what it was asked, and answers."""
    path = folder / "askpass"
    log = shlex.quote(str(folder / "asked"))
    path.write_text(
        f'#!/bin/sh\necho "$SSH_ASKPASS_PROMPT|$1" >> {log}\n'
        f'[ "$SSH_ASKPASS_PROMPT" = none ] && exec sleep 60\necho {answer}\n'
    )
    path.chmod(0o755)
    return str(path)


FAKE_SK = """
from sshwire.wire import Reader, encode_string, encode_uint32
head = os.read(0, 4)
body = b""
while len(body) < int.from_bytes(head, "big"):
    body += os.read(0, 65536)
reader = Reader(body)
reader.take(1 + 4 + 1 + 4); reader.string(); reader.string(); reader.string(); reader.string()
reader.uint32()
pin = reader.string()
def say(code):
    os.write(1, encode_string(bytes((5,)) + encode_uint32(0) + encode_uint32(code)))
"""


@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
def test_a_security_key_signs_through_openssh_s_helper(
    kind: str, make_key: MakeKey, fido: str
) -> None:
    key = make_key(kind)
    signature = SecurityKey(key, fido, TokenTools()).sign(b"data")
    verify_signature(key.public, signature, b"data")
    assert parse_signature(signature).sk_flags == 1


def test_a_touch_is_announced_while_it_is_waited_for(
    tmp_path: Path, make_key: MakeKey, fido: str
) -> None:
    tools = TokenTools(askpass=askpass(tmp_path, PIN), sk_helper=slow_helper(tmp_path))
    SecurityKey(make_key("ed25519-sk"), fido, tools).sign(b"data")
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("none|Confirm user presence for sk-ssh-ed25519@openssh.com key SHA256:")


def slow_helper(folder: Path) -> str:
    path = folder / "slow-helper"
    asked = shlex.quote(str(folder / "asked"))
    path.write_text(
        f"#!/bin/sh\nn=0\nwhile [ ! -s {asked} ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n + 1)); done\n"
        f"exec {SK_HELPER}\n"
    )
    path.chmod(0o755)
    return str(path)


def test_a_pin_is_asked_for_where_the_key_demands_it(
    tmp_path: Path, make_key: MakeKey, fido: str
) -> None:
    key = make_key("ed25519-sk", "-O", "verify-required")
    with pytest.raises(TokenError) as nobody:
        SecurityKey(key, fido, TokenTools()).sign(b"data")
    assert nobody.value.reason == "pin_required"
    tools = TokenTools(askpass=askpass(tmp_path, PIN))
    verify_signature(key.public, SecurityKey(key, fido, tools).sign(b"data"), b"data")
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("|Enter PIN and confirm user presence for sk-ssh-ed25519@openssh.com")


def test_a_pin_is_asked_for_once_when_the_device_wants_one(
    tmp_path: Path, make_key: MakeKey, fido: str
) -> None:
    log = tmp_path / "pins"
    body = f"{FAKE_SK}\nopen({str(log)!r}, 'ab').write(pin + b'.')\nsay(43)"
    tools = TokenTools(
        sk_helper=script(tmp_path / "fake", body), askpass=askpass(tmp_path, "secret")
    )
    with pytest.raises(TokenError) as refused:
        SecurityKey(make_key("ed25519-sk"), fido, tools).sign(b"data")
    assert refused.value.reason == "pin_refused"
    assert log.read_bytes() == b".secret."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"{FAKE_SK}\nsay(60)", "device_not_found"),
        ("sys.exit(255)", "helper_failed"),
        ("os.write(1, bytes((255,)) * 4)", "helper_failed"),
        ("os.write(1, bytes((0, 0, 0, 1, 4)))", "helper_failed"),
        (f"{FAKE_SK}\nos.write(1, encode_string(b'\\5\\0\\0\\0\\1\\0\\0\\0\\0'))", "helper_failed"),
    ],
)
def test_what_a_helper_does_wrong_has_a_word(
    body: str, reason: str, tmp_path: Path, make_key: MakeKey, fido: str
) -> None:
    tools = TokenTools(sk_helper=script(tmp_path / "fake", body))
    with pytest.raises(TokenError) as failed:
        SecurityKey(make_key("ed25519-sk"), fido, tools).sign(b"data")
    assert failed.value.reason == reason


def test_a_helper_that_is_not_there_is_named(make_key: MakeKey, fido: str) -> None:
    tools = TokenTools(sk_helper="/nonexistent/helper")
    with pytest.raises(TokenError, match="/nonexistent/helper") as failed:
        SecurityKey(make_key("ed25519-sk"), fido, tools).sign(b"data")
    assert failed.value.reason == "helper_missing"


def test_a_touch_that_nobody_wants_any_more_is_given_up(
    tmp_path: Path, make_key: MakeKey, fido: str
) -> None:
    pid = tmp_path / "pid"
    body = (
        f"open({str(pid)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"os.rename({str(pid)!r} + '.new', {str(pid)!r})\ntime.sleep(600)"
    )
    tools = TokenTools(sk_helper=script(tmp_path / "fake", body))
    key = SecurityKey(make_key("ed25519-sk"), fido, tools)
    with pytest.raises(TokenError) as failed:
        key.sign_while(lambda: not pid.exists(), b"data")
    assert failed.value.reason == "no_longer_wanted"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.fixture
def module(softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> str:
    """A PKCS#11 module with a token, which finds its configuration in the environment."""
    monkeypatch.setenv("SOFTHSM2_CONF", softhsm.config)
    return softhsm.module


@pytest.fixture
def loaded(module: str) -> Iterator[tuple[HelperModule, tuple[TokenKey, ...]]]:
    opened = HelperModule(module, PIN.encode(), TokenTools())
    yield opened, opened.load()
    opened.close()


def test_every_key_of_a_module_signs(loaded: tuple[HelperModule, tuple[TokenKey, ...]]) -> None:
    opened, keys = loaded
    assert sorted(key.label for key in keys) == ["EC:prime256v1", "EC:secp384r1", "rsa:2048"]
    for key in keys:
        for flags in (0, 2, 4):
            signature = opened.sign(parse_public_key(key.key_blob), b"data", flags)
            verify_signature(parse_public_key(key.key_blob), signature, b"data")


def test_a_helper_that_dies_is_started_again(
    loaded: tuple[HelperModule, tuple[TokenKey, ...]],
) -> None:
    opened, keys = loaded
    assert opened.pid is not None
    os.kill(opened.pid, signal.SIGKILL)
    signature = opened.sign(parse_public_key(keys[0].key_blob), b"data", 0)
    verify_signature(parse_public_key(keys[0].key_blob), signature, b"data")


def test_a_wrong_pin_is_tried_once(module: str) -> None:
    opened = HelperModule(module, b"9999", TokenTools())
    with pytest.raises(TokenError) as first:
        opened.load()
    with pytest.raises(TokenError) as second:
        opened.load()
    assert second.value is first.value
    assert opened.pid is None


def test_a_file_that_is_no_module_offers_nothing(tmp_path: Path) -> None:
    path = tmp_path / "module.so"
    path.write_bytes(b"not a library")
    with pytest.raises(TokenError):
        HelperModule(str(path), b"", TokenTools()).load()


NEWER_HELPER = """
from sshwire.agent.numbers import RequestNumber
from sshwire.errors import WireError
from sshwire.privkey import parse_private_keys
from sshwire.wire import Reader, encode_string, encode_text, encode_uint32
key = parse_private_keys(open(KEY, "rb").read())[0]
while head := os.read(0, 4):
    body = b""
    while len(body) < int.from_bytes(head, "big"):
        body += os.read(0, 65536)
    reader = Reader(body)
    if reader.byte() == RequestNumber.ADD_SMARTCARD_KEY:
        identity = encode_string(key.public.blob) + encode_text("new")
        os.write(1, encode_string(bytes((12,)) + encode_uint32(1) + identity))
        continue
    blob, data, name, compat = reader.string(), reader.string(), reader.text(), reader.uint32()
    os.write(1, encode_string(bytes((14,)) + encode_string(key.sign(data))))
"""


def test_a_helper_that_wants_whole_data_gets_them(
    tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    """As OpenSSH 10.1 and later have it; a stand-in, for Debian 12 has the older one."""
    path = tmp_path / "key"
    make = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(make, check=True, timeout=60)
    body = f"sys.path[:] = {sys.path!r}\nKEY = {str(path)!r}\n{NEWER_HELPER}"
    tools = TokenTools(pkcs11_helper=script(tmp_path / "helper", body))
    opened = HelperModule("/module.so", b"", tools)
    (key,) = opened.load()
    signature = opened.sign(parse_public_key(key.key_blob), b"data", 0)
    verify_signature(parse_public_key(key.key_blob), signature, b"data")
    opened.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(1)", "module_crashed"),
        ("os.read(0, 99)\nos.write(1, bytes((255,)) * 4)", "helper_failed"),
        ("os.read(0, 99)\nos.write(1, bytes((0, 0, 0, 1, 5)))\nsys.exit()", "module_crashed"),
    ],
)
def test_a_module_s_helper_that_misbehaves_has_a_word(
    body: str, reason: str, tmp_path: Path
) -> None:
    tools = TokenTools(pkcs11_helper=script(tmp_path / "helper", body))
    with pytest.raises(TokenError) as failed:
        HelperModule("/module.so", b"", tools).load()
    assert failed.value.reason == reason


def test_another_process_of_the_agent_waits_for_the_device() -> None:
    """The lock is on a descriptor that both have from their common ancestor."""
    hold = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print(); input()"
    with tempfile.TemporaryFile() as file:
        number = file.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(number)],
            pass_fds=[number],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        ) as holder:
            assert holder.stdin is not None
            assert holder.stdout is not None
            holder.stdout.readline()
            with (
                pytest.raises(TokenError, match="went away"),
                alone_with_device(number, lambda: False),
            ):
                pass
            release = threading.Timer(0.5, holder.stdin.write, (b"\n",))
            begin = time.monotonic()
            release.start()
            with alone_with_device(number, lambda: True):
                assert time.monotonic() - begin > 0.3
            release.join()
