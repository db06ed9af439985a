"""The file store: every form of key that stock tools write, and folders that change all the time."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from secretivex.stores.file import FileSource, FileStore
from secretivex.stores.secret_source import SecretSource
from sshwire.errors import PassphraseError, WireError
from sshwire.privkey import parse_private_key
from sshwire.pubkey import parse_public_key
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


@pytest.mark.parametrize("by", ["watch", "reload"])
def test_changes_without_end_do_not_hold_a_look_up(
    tmp_path: Path, open_store: Any, wait: Wait, by: str
) -> None:
    keygen(tmp_path / "a")
    opened = open_store("file", settings(tmp_path, watch=by == "watch"))
    is_over = threading.Event()

    def change() -> None:
        while not is_over.wait(0.01):
            (tmp_path / "noise").write_text(str(time.time()))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        time.sleep(0.5)
        keygen(tmp_path / "b")
        if by == "reload":
            opened.reload()  # as SIGHUP does
        wait(lambda: opened.comments == ["a", "b"], "the new key is not seen")
    finally:
        is_over.set()
        thread.join()


EDITORS = (
    *("rename", "in place", "data link"),
    *(pytest.param(how, marks=pytest.mark.long) for how in ("backup", "delete")),
)


def change(folder: Path, new: Path, how: str) -> None:
    """Put what `new` holds into `folder/key` as editors and tools do, with pauses in between."""
    key, text = folder / "key", new.read_bytes()
    match how:
        case "rename":  # vim with backupcopy=no's end, sed -i, ansible, git
            write_key(folder / ".key.swp", text)
            (folder / ".key.swp").rename(key)
        case "in place":  # nano, a shell's redirection
            with key.open("wb") as file:
                for start in range(0, len(text), 100):
                    file.write(text[start : start + 100])
                    file.flush()
                    time.sleep(0.03)
        case "backup":  # vim, emacs: the old one is moved away first
            key.rename(folder / "key~")
            time.sleep(0.02)
            write_key(key, text)
            (folder / "key~").unlink()
        case "delete":  # rm, then made anew
            key.unlink()
            write_key(key, text)
        case "data link":  # how Kubernetes swaps a mounted secret
            fresh = folder / "..fresh"
            fresh.mkdir(mode=0o700)
            write_key(fresh / "key", text)
            (folder / "..data_tmp").symlink_to("..fresh")
            (folder / "..data_tmp").replace(folder / "..data")


def write_key(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    path.chmod(0o600)


@pytest.mark.parametrize("how", EDITORS)
def test_a_key_that_an_editor_replaces_is_never_missed(
    tmp_path: Path, open_store: Any, wait: Wait, how: str
) -> None:
    folder, aside = tmp_path / "keys", tmp_path / "aside"
    for one in (folder, aside):
        one.mkdir(mode=0o700)
    old, new = keygen(aside / "old"), keygen(aside / "new")
    if how == "data link":
        (folder / "..first").mkdir(mode=0o700)
        write_key(folder / "..first" / "key", old.read_bytes())
        (folder / "..data").symlink_to("..first")
        (folder / "key").symlink_to("..data/key")
    else:
        write_key(folder / "key", old.read_bytes())
    opened = open_store("file", settings(folder))
    wait(lambda: opened.comments == ["old"], "the start")
    is_over, missed = threading.Event(), threading.Event()

    def look() -> None:
        while not is_over.wait(0.005):
            if not opened.comments:
                missed.set()

    thread = threading.Thread(target=look)
    thread.start()
    change(folder, new, how)
    wait(lambda: opened.comments == ["new"], f"the new key is not served: {opened.comments}")
    is_over.set()
    thread.join()
    # Who takes the file away for a moment has an agent without it for a moment, at most.
    assert how in ("backup", "delete") or not missed.is_set()


def test_links_lead_to_their_keys_or_are_reported(
    tmp_path: Path, open_store: Any, wait: Wait
) -> None:
    folder, aside = tmp_path / "keys", tmp_path / "aside"
    for one in (folder, aside):
        one.mkdir(mode=0o700)
    keygen(aside / "far")
    (aside / "hop").symlink_to(aside / "far")
    (folder / "chain").symlink_to(aside / "hop")
    (folder / "again").symlink_to(aside / "far")
    (folder / "dangling").symlink_to(aside / "later")
    (folder / "loop").symlink_to(folder / "loop")
    opened = open_store("file", settings(folder))
    wait(lambda: opened.comments == ["far"], f"one key, however it is reached: {opened.comments}")

    def told() -> set[str]:
        return {Path(event.subject).name for event in opened.events}

    wait(lambda: told() == {"dangling", "loop"}, f"reported: {opened.events}")
    keygen(aside / "later")
    wait(lambda: opened.comments == ["far", "later"], "what a link led to nowhere is there now")


@pytest.fixture
def flaky(tmp_path: Path, require_program: Callable[[str], str]) -> dict[str, str]:
    """An environment in which files of a folder fail or hang as `orders` says."""
    library = tmp_path / "flaky.so"
    source = Path(__file__).with_name("flaky.c")
    command = (require_program("gcc"), "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
    subprocess.run(command, check=True, timeout=60)
    return {
        "LD_PRELOAD": str(library),
        "FLAKY_FOLDER": str(tmp_path / "net"),
        "FLAKY_ORDERS": str(tmp_path / "orders"),
    }


@pytest.mark.parametrize(
    "error",
    ["ESTALE", *(pytest.param(name, marks=pytest.mark.long) for name in ("EIO", "ETIMEDOUT"))],
)
def test_keys_stay_while_a_network_file_system_fails(
    tmp_path: Path, open_store: Any, flaky: dict[str, str], wait: Wait, error: str
) -> None:
    net = tmp_path / "net"
    net.mkdir(mode=0o700)
    for name in ("a", "b"):
        keygen(net / name)
    opened = open_store("file", settings(net), flaky)
    wait(lambda: opened.comments == ["a", "b"], "the start")
    (tmp_path / "orders").write_text(f"fail {getattr(errno, error)}")
    opened.reload()
    told = f"cannot be read: {os.strerror(getattr(errno, error))}"
    wait(lambda: any(told in event.reason for event in opened.events), "nobody was told")
    assert opened.comments == ["a", "b"]
    (tmp_path / "orders").unlink()
    keygen(net / "c")
    wait(lambda: opened.comments == ["a", "b", "c"], "the server is back, its keys are not")


@pytest.mark.long
def test_keys_stay_and_sign_while_a_network_file_system_hangs(
    tmp_path: Path, open_store: Any, flaky: dict[str, str], wait: Wait
) -> None:
    net = tmp_path / "net"
    net.mkdir(mode=0o700)
    keygen(net / "a")
    opened = open_store("file", settings(net), flaky)
    wait(lambda: opened.comments == ["a"], "the start")
    (tmp_path / "orders").write_text("hang")
    opened.reload()
    wait(lambda: "does not answer" in opened.reason, "a store that hangs is called well")
    identity = opened.find("a")
    key = parse_public_key(identity.key_blob)
    verify_signature(key, opened.store.sign(identity, b"data"), b"data")
    (tmp_path / "orders").unlink()
    wait(lambda: opened.store.health().is_well, f"not well again: {opened.reason}")


PRIMES = {"ed25519": 0, "rsa": 46}
"""Two of so many primes make 1,035 different RSA keys: searching for 2,000 would take minutes."""


def write_thousand(folder: Path, kind: str) -> None:
    primes: list[int] = []
    while len(primes) < PRIMES[kind]:
        numbers = rsa.generate_private_key(65537, 3072).private_numbers()
        primes += [numbers.p, numbers.q]
    pairs = itertools.combinations(primes, 2)
    for number in range(1000):
        secret: Any = rsa_key(*next(pairs)) if primes else Ed25519PrivateKey.generate()
        text = secret.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        write_key(folder / f"{number:04}", text)


def rsa_key(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    shortcuts = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, d, *shortcuts, public).private_key(
        unsafe_skip_rsa_key_validation=True
    )


@pytest.mark.long
@pytest.mark.parametrize("kind", PRIMES)
def test_a_thousand_keys_are_served_in_a_stable_order_as_far_as_a_list_goes(
    tmp_path: Path,
    start_agent: Any,
    wait: Wait,
    kind: str,
    record_property: Callable[[str, object], None],
) -> None:
    """As many RSA keys do not fit into what OpenSSH's client accepts: cut in order, and said."""
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    write_thousand(keys, kind)
    config = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{keys}"]\n'
    begun = time.monotonic()
    agent = start_agent(config, {}, "--workers", "2")
    names = [f"{number:04}" for number in range(1000)]

    def listed() -> list[str]:
        return [one.comment for one in agent.identities()]

    least = 1000 if kind == "ed25519" else 600
    wait(lambda: len(listed()) >= least, "not all keys were read")
    record_property("listed_after_s", round(time.monotonic() - begun, 1))
    found = listed()
    assert found == names[: len(found)]
    environ = {**os.environ, "SSH_AUTH_SOCK": agent.address}
    done = subprocess.run(
        ["ssh-add", "-l"], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) == len(found)
    agent.sign(agent.find(found[-1]))
    health = agent.client("health", "--socket", agent.address)
    if kind == "ed25519":
        assert (len(found), health.returncode) == (1000, 0), health.stdout
        return
    left_out = 1000 - len(found)
    assert 300 < left_out < 400
    assert health.returncode == 1
    assert f"{left_out} keys do not fit" in health.stdout
    assert "the list is cut" in agent.log.read_text()
