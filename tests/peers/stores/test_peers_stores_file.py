"""The file store: every form of key that stock tools write, and folders that change all the time."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secretivex.stores.file import FileSource, FileStore
from secretivex.stores.secret_source import SecretSource
from sshwire.errors import PassphraseError, WireError
from sshwire.privkey import parse_private_key
from sshwire.signature import verify_signature

Wait = Callable[[Callable[[], object], str], None]
SECRET = "secret"
MAKERS = {
    "pkcs1": ("openssl genrsa -traditional -out KEY 2048",),
    "pkcs1-closed": ("openssl genrsa -traditional -aes128 -passout pass:secret -out KEY 2048",),
    "sec1": ("openssl ecparam -name secp384r1 -genkey -noout -out KEY",),
    "pkcs8": ("openssl genpkey -algorithm ed25519 -out KEY",),
    "pkcs8-closed": (
        "openssl genpkey -algorithm EC -pkeyopt group:P-256 -aes-256-cbc -pass pass:secret -out KEY",
    ),
    "ppk-ed25519": ("puttygen -q -t ed25519 -O private --new-passphrase EMPTY -o KEY",),
    "ppk-rsa": ("puttygen -q -t rsa -b 2048 -O private --new-passphrase EMPTY -o KEY",),
    "ppk-closed": ("puttygen -q -t ecdsa -b 521 -O private --new-passphrase PHRASE -o KEY",),
}


def make(folder: Path, form: str) -> Path:
    (folder / "phrase").write_text(SECRET + "\n")
    (folder / "empty").write_text("")
    names = {
        "KEY": str(folder / form),
        "PHRASE": str(folder / "phrase"),
        "EMPTY": str(folder / "empty"),
    }
    for line in MAKERS[form]:
        command = [names.get(word, word) for word in line.split()]
        subprocess.run(
            command, check=True, timeout=60, capture_output=True, stdin=subprocess.DEVNULL
        )
    (folder / form).chmod(0o600)
    return folder / form


@pytest.mark.parametrize("form", MAKERS)
def test_a_key_of_any_form_signs(
    tmp_path: Path, form: str, require_program: Callable[[str], str]
) -> None:
    require_program("puttygen" if form.startswith("ppk") else "openssl")
    data = make(tmp_path, form).read_bytes()
    if form.endswith("closed"):
        for wrong in (None, b"wrong"):
            with pytest.raises(PassphraseError):
                parse_private_key(data, passphrase=wrong)
    key = parse_private_key(data, passphrase=SECRET.encode())
    verify_signature(key.public, key.sign(b"data"), b"data")
    for end in range(0, len(data) - 40, 97):
        with pytest.raises(WireError):
            parse_private_key(data[:end], passphrase=SECRET.encode())


def test_a_passphrase_is_had_from_a_program_once(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    script = tmp_path / "ask"
    script.write_text(f"#!/bin/sh\necho x >> {calls}\necho {SECRET}\n")
    script.chmod(0o700)
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("one", "two"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", SECRET, "-a", "1", "-C", name]
        subprocess.run([*command, "-f", str(keys / name)], check=True, timeout=60)
    secret = SecretSource(command=(str(script),), environ={"PATH": os.environ["PATH"]})
    store = FileStore(FileSource((keys,), os.geteuid(), secret=secret))
    assert store.refresh() == ()
    assert [one.comment for one in store.identities()] == ["one", "two"]
    assert calls.read_text().split() == ["x", "x"] or calls.read_text().split() == ["x"]


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "paths": [str(folder)],
        "key_types": [],
        "passphrase": {},
        "certificates": [],
        "watch": True,
        "debounce_ms": 100,
        **more,
    }


def keygen(path: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def test_changes_are_seen_however_they_are_made(
    tmp_path: Path, open_store: Any, wait: Wait
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, names in ((first, ("a", "b")), (second, ("c",))):
        folder.mkdir(mode=0o700)
        for name in names:
            keygen(folder / name)
    link = tmp_path / "link"
    link.symlink_to(first)
    opened = open_store("file", settings(link))
    wait(lambda: opened.comments == ["a", "b"], "the start")
    (first / "b").rename(tmp_path / "gone")
    wait(lambda: opened.comments == ["a"], "a rename away")
    (tmp_path / "gone").rename(first / "b")
    wait(lambda: opened.comments == ["a", "b"], "a rename back")
    swap = tmp_path / "swap"
    swap.symlink_to(second)
    swap.replace(link)
    wait(lambda: opened.comments == ["c"], "a link that was swapped")
    (second / "c").chmod(0o644)
    wait(lambda: opened.comments == [], "a mode that lets others in")
    assert any("chmod 600" in event.reason for event in opened.events)


def test_changes_without_end_do_not_hold_a_look_up(
    tmp_path: Path, open_store: Any, wait: Wait
) -> None:
    keygen(tmp_path / "a")
    opened = open_store("file", settings(tmp_path))
    is_over = threading.Event()

    def change() -> None:
        while not is_over.wait(0.01):
            (tmp_path / "noise").write_text(str(time.time()))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        time.sleep(0.5)
        keygen(tmp_path / "b")
        wait(lambda: opened.comments == ["a", "b"], "the new key is not seen")
    finally:
        is_over.set()
        thread.join()


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_thousand_keys_load_in_a_stable_order(tmp_path: Path, open_store: Any, kind: str) -> None:
    bits = ("-b", "3072") if kind == "rsa" else ()
    for number in range(1000):
        path = tmp_path / f"{number:04}"
        command = [
            "ssh-keygen",
            "-q",
            "-t",
            kind,
            *bits,
            "-N",
            "",
            "-C",
            path.name,
            "-f",
            str(path),
        ]
        subprocess.run(command, check=True, timeout=60)
    opened = open_store("file", settings(tmp_path))
    assert opened.comments == [f"{number:04}" for number in range(1000)]
