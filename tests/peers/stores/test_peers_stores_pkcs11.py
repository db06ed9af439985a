"""The PKCS#11 store and tokens that misbehave: PINs, churn, removal, modules that hang and crash."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from secretivex.identity import Identity
from secretivex.stores.token.errors import TokenError
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

Wait = Callable[[Callable[[], object], str | Callable[[], object]], None]


def sign_checked(opened: Any, comment: str, data: bytes = b"data") -> None:
    identity = opened.find(comment)
    verify_signature(parse_public_key(identity.key_blob), opened.store.sign(identity, data), data)


def noted(tmp_path: Path) -> list[str]:
    path = tmp_path / "logins"
    return path.read_text().split() if path.exists() else []


def logins(tmp_path: Path) -> list[str]:
    return [word for word in noted(tmp_path) if word not in ("list", "refused")]


def test_a_wrong_pin_is_tried_once_and_remembered_over_the_end_of_processes(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    secrets = {"TOKEN_PIN": b"wrong"}
    opened = open_store("pkcs11", shimmed.settings(), shimmed.environ, secrets)
    wait(lambda: "pin_refused" in opened.reason, f"not refused: {opened.reason}")
    assert opened.comments == []
    opened.reload()
    killed = opened.store.pid
    os.kill(killed, signal.SIGKILL)
    # Called lost until the next one has spoken.
    wait(lambda: opened.store.pid not in (None, killed), "not started again")
    wait(lambda: "pin_refused" in opened.reason, f"forgotten: {opened.reason}")
    opened.reload()
    time.sleep(1)
    assert logins(tmp_path) == ["1"]
    assert "restart" in opened.store.health().remedy


def test_a_pin_that_is_corrected_is_tried_at_the_next_reload(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    pin = tmp_path / "pin"
    pin.write_text("wrong\n")
    pin.chmod(0o600)
    settings = shimmed.settings(pin={"file": str(pin)})
    opened = open_store("pkcs11", settings, shimmed.environ)
    wait(lambda: "pin_refused" in opened.reason, f"not refused: {opened.reason}")
    pin.write_text("1234\n")
    opened.reload()
    sign_checked(opened, "key")


FINAL_TRY, LOCKED = 0x20000, 0x40000  # CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED


@pytest.mark.parametrize(
    ("flag", "reason"),
    [(FINAL_TRY, "pin_final_try"), pytest.param(LOCKED, "pin_locked", marks=pytest.mark.long)],
)
def test_a_pin_is_not_tried_where_that_could_lock_the_token(
    shimmed: Any, open_store: Any, tmp_path: Path, flag: int, reason: str, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    (tmp_path / "orders").write_text(f"flags {flag}")
    opened = open_store("pkcs11", shimmed.settings(), shimmed.environ, shimmed.secrets)
    wait(lambda: reason in opened.reason, f"not said: {opened.reason}")
    opened.reload()
    assert opened.store.health().remedy
    assert logins(tmp_path) == []


@pytest.mark.long
def test_a_pin_that_is_changed_under_us_is_tried_once_and_the_new_one_at_a_reload(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    pin = tmp_path / "pin"
    pin.write_text(shimmed.pin)
    pin.chmod(0o600)
    settings = shimmed.settings(pin={"file": str(pin)}, max_sessions=1)
    opened = open_store("pkcs11", settings, shimmed.environ)
    sign_checked(opened, "key")
    shimmed.act("--change-pin", "--new-pin", "567890")
    shimmed.pin = "567890"
    wait(lambda: "pin_refused" in opened.reason, f"not noticed: {opened.reason}")
    assert noted(tmp_path).count("refused") == 1
    pin.write_text(shimmed.pin)
    opened.reload()
    wait(lambda: not opened.reason, lambda: (opened.reason, noted(tmp_path)))
    sign_checked(opened, "key")


def test_listing_is_throttled_even_when_there_is_nothing(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    """Not by time but by count: reloads, unknown keys and an empty token cost no listing each."""
    settings = shimmed.settings(
        refresh_min_interval_ms=3_600_000, poll_ms=3_600_000, renew_ms=3_600_000, max_sessions=2
    )
    opened = open_store("pkcs11", settings, shimmed.environ, shimmed.secrets)
    wait(lambda: opened.store.health().is_well, f"not open: {opened.reason}")
    wait(lambda: noted(tmp_path).count("list") >= 2, "the helpers did not look once each")
    for _ in range(20):
        opened.reload()
        with pytest.raises(LookupError):
            opened.store.sign(Identity(b"unknown", "", "", "x"), b"data")
        time.sleep(0.01)
    # A reload renews helpers, which look when they open the token, and that is all.
    wait(
        lambda: noted(tmp_path).count("list") == logins(tmp_path).count("1"),
        lambda: noted(tmp_path),
    )


def test_sessions_are_bounded_and_no_other_process_has_the_module(
    start_agent: Any, make_token: Any, wait: Wait
) -> None:
    token = make_token()
    token.make("EC:prime256v1", "key", "01")
    config = (
        f'[[stores]]\ntype = "pkcs11"\nmodule_path = "{token.module}"\nmax_sessions = 3\n'
        f'token_label = "{token.label}"\npin_env = "TOKEN_PIN"\n'
    )
    agent = start_agent(config, {**token.environ, "TOKEN_PIN": token.pin}, "--workers", "2")
    wait(lambda: len(agent.identities()) == 1, "the key is not listed")

    def helpers() -> list[int]:
        return [pid for pid, kind in agent.family().items() if kind == "helper"]

    wait(lambda: len(helpers()) == 3, "not as many helpers as sessions")
    blob = agent.find("key")
    threads = [threading.Thread(target=agent.sign, args=(blob,)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    wait(lambda: len(helpers()) == 3, "more helpers than sessions stay")
    # Libraries of tokens do not survive a fork, so nobody who has one ever forks, and no other has one.
    have = {pid: kind for pid, kind in agent.family().items() if "softhsm" in maps_of(pid)}
    assert set(have.values()) == {"helper"}


def maps_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


@pytest.mark.parametrize("kind", ["EC", pytest.param("RSA", marks=pytest.mark.long)])
def test_a_certificate_on_the_token_stands_for_its_public_key(
    make_token: Any, open_store: Any, tmp_path: Path, kind: str
) -> None:
    """Smart cards often have an X.509 certificate and no public key beside the private one."""
    token = make_token()
    options = {"EC": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"), "RSA": ("rsa:2048",)}[kind]
    key, der, cert = tmp_path / "key.pem", tmp_path / "key.der", tmp_path / "cert.der"
    made = ("-x509", "-nodes", "-subj", "/CN=card", "-days", "1", "-outform", "DER")
    command = ["openssl", "req", "-newkey", *options, *made, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    command = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", str(key), "-outform", "DER"]
    subprocess.run([*command, "-out", str(der)], check=True, timeout=60)
    named = ("--id", "07", "--label", "card")
    token.act("--write-object", str(der), "--type", "privkey", *named)
    token.act("--write-object", str(cert), "--type", "cert", "--id", "07", "--label", "its cert")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    sign_checked(opened, "card")
    assert opened.comments == ["card"]


@pytest.mark.parametrize(
    ("pin", "reason"),
    [
        ({}, "pin_required"),
        ({"file": "{open}"}, "secret_refused"),
        ({"command": ["false"]}, "secret"),
    ],
)
def test_a_pin_that_is_not_to_be_had_is_said_with_its_remedy(
    shimmed: Any, open_store: Any, tmp_path: Path, pin: dict[str, Any], reason: str, wait: Wait
) -> None:
    loose = tmp_path / "loose"
    loose.write_text("1234\n")
    loose.chmod(0o644)
    named = {key: str(loose) if value == "{open}" else value for key, value in pin.items()}
    opened = open_store("pkcs11", shimmed.settings(pin=named), shimmed.environ)
    wait(lambda: reason in opened.reason, f"not said: {opened.reason}")
    assert logins(tmp_path) == []


def test_a_module_that_crashes_is_started_again(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    opened = open_store("pkcs11", shimmed.settings(), shimmed.environ, shimmed.secrets)
    sign_checked(opened, "key")
    host = opened.store.pid
    (tmp_path / "orders").write_text("crash")
    sign_checked(opened, "key")
    wait(lambda: any(e.kind == "helper_lost" for e in opened.events), "the loss was not reported")
    assert opened.store.pid == host


def test_a_module_that_hangs_holds_up_nothing_and_is_replaced(
    shimmed: Any, open_store: Any, tmp_path: Path, wait: Wait
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    orders = tmp_path / "orders"
    orders.write_text("hang")
    begun = time.monotonic()
    settings = shimmed.settings(module_timeout_ms=3000)
    opened = open_store("pkcs11", settings, shimmed.environ, shimmed.secrets)
    assert time.monotonic() - begun < 30
    wait(lambda: "token_timeout" in opened.reason, f"not noticed: {opened.reason}")
    orders.unlink()
    sign_checked(opened, "key")


def test_a_key_that_hangs_fails_at_the_deadline(
    shimmed: Any, open_store: Any, tmp_path: Path
) -> None:
    shimmed.make("EC:prime256v1", "key", "01")
    settings = shimmed.settings(module_timeout_ms=3000, max_sessions=1)
    opened = open_store("pkcs11", settings, shimmed.environ, shimmed.secrets)
    identity = opened.find("key")
    (tmp_path / "orders").write_text("sleep 60")
    begun = time.monotonic()
    with pytest.raises(TokenError):
        opened.store.sign(identity, b"data")
    assert time.monotonic() - begun < 30
    (tmp_path / "orders").unlink()
    sign_checked(opened, "key")


def test_keys_come_and_go_with_the_token(make_token: Any, open_store: Any, wait: Wait) -> None:
    token = make_token()
    token.make("EC:prime256v1", "first", "01")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    sign_checked(opened, "first")
    token.make("rsa:2048", "second", "02")
    sign_checked(opened, "second")
    gone = opened.find("first")
    token.destroy("01")
    wait(lambda: "first" not in opened.comments, "still listed")
    with pytest.raises((TokenError, LookupError)):
        opened.store.sign(gone, b"data")
    sign_checked(opened, "second")


def test_a_token_initialised_anew_is_opened_anew(
    make_token: Any, open_store: Any, wait: Wait
) -> None:
    token = make_token()
    token.make("EC:prime256v1", "old", "01")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    sign_checked(opened, "old")
    token.run(token.util, "--delete-token", "--token", token.label)
    token.initialize()
    token.make("EC:prime256v1", "new", "01")
    wait(lambda: opened.comments == ["new"], f"not opened: {opened.comments} {opened.reason}")
    sign_checked(opened, "new")


def test_the_token_that_is_meant_is_used(make_token: Any, open_store: Any) -> None:
    token = make_token("one")
    token.make("EC:prime256v1", "of one", "01")
    token.initialize("two")
    token.label = "two"
    token.make("EC:prime256v1", "of two", "01")
    uri = f"pkcs11:token=two;object=of%20two?module-path={token.module}"
    settings = {**token.settings(uri=uri), "module_path": None, "token_label": None}
    by_uri = open_store("pkcs11", settings, token.environ, token.secrets)
    by_label = open_store("pkcs11", token.settings(token_label="one"), token.environ, token.secrets)
    sign_checked(by_uri, "of two")
    sign_checked(by_label, "of one")
    assert (by_uri.comments, by_label.comments) == (["of two"], ["of one"])


def test_a_key_that_wants_its_pin_each_time(shimmed: Any, open_store: Any, tmp_path: Path) -> None:
    shimmed.make("rsa:2048", "careful", "01", "--always-auth")
    opened = open_store("pkcs11", shimmed.settings(), shimmed.environ, shimmed.secrets)
    for turn in range(3):
        sign_checked(opened, "careful", f"turn {turn}".encode())
    assert logins(tmp_path).count("2") >= 3  # CKU_CONTEXT_SPECIFIC


def test_two_keys_under_one_identifier_are_told_apart(make_token: Any, open_store: Any) -> None:
    token = make_token()
    for name in ("a", "b", "c"):
        token.make("EC:prime256v1", name, "01")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    for name in ("a", "b", "c", "a"):
        sign_checked(opened, name)


KINDS = ("rsa:2048", "EC:prime256v1", "EC:edwards25519")


@pytest.mark.parametrize(
    ("clients", "signatures"), [(8, 10), pytest.param(64, 200, marks=pytest.mark.long)]
)
def test_many_clients_while_keys_come_and_go(
    make_token: Any, open_store: Any, clients: int, signatures: int, wait: Wait
) -> None:
    """No wrong signature, nothing hangs, and only what was destroyed fails."""
    token = make_token()
    for number, kind in enumerate(KINDS, start=1):
        token.make(kind, kind, f"0{number}")
    opened = open_store("pkcs11", token.settings(), token.environ, token.secrets)
    identities = [opened.find(kind) for kind in KINDS]
    is_over = threading.Event()
    wrong: list[str] = []
    passing = {"signed": 0, "refused": 0}

    def use_stable(number: int) -> None:
        for turn in range(signatures):
            for identity in identities:
                data = f"{number} {turn}".encode()
                try:
                    signature = opened.store.sign(identity, data)
                    verify_signature(parse_public_key(identity.key_blob), signature, data)
                except Exception as error:  # noqa: BLE001 - counted
                    wrong.append(f"{identity.comment}: {type(error).__name__}: {error}")

    def use_passing() -> None:
        while not is_over.wait(0.01):
            for identity in opened.store.identities():
                if identity.comment != "passing":
                    continue
                try:
                    signature = opened.store.sign(identity, b"x")
                except (TokenError, LookupError) as error:
                    passing["refused"] += 1
                    reason = getattr(error, "reason", "gone")
                    if reason not in ("key_gone", "gone"):
                        wrong.append(f"passing: {reason}: {error}")
                else:
                    verify_signature(parse_public_key(identity.key_blob), signature, b"x")
                    passing["signed"] += 1

    def churn() -> None:
        for key_id in itertools.cycle(range(0x10, 0xFF)):
            # The tool itself does not always get through to a token that is this busy.
            with suppress(subprocess.CalledProcessError):
                token.make("EC:prime256v1", "passing", f"{key_id:02x}")
                time.sleep(0.3)
            with suppress(subprocess.CalledProcessError):
                token.destroy(f"{key_id:02x}")
            if is_over.is_set():
                break

    users = [threading.Thread(target=use_stable, args=(number,)) for number in range(clients)]
    others = [threading.Thread(target=use_passing), threading.Thread(target=churn)]
    for thread in (*users, *others):
        thread.start()
    for thread in users:
        thread.join(1800)
        assert not thread.is_alive(), "a client hangs"
    wait(lambda: passing["signed"], f"no key that passes was ever used: {opened.store.health()}")
    is_over.set()
    for thread in others:
        thread.join(60)
    assert wrong == []
