"""The TPM store over a simulator, with openssl's provider and tpm2-tools as the other side."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from secretivex.stores.token.errors import TokenError
from secretivex.stores.tpm.codec import ECC, RSA, sized
from secretivex.stores.tpm.device import Tpm
from secretivex.stores.tpm.pem import TpmKeyFile, encode_key_file, parse_key_file
from secretivex.stores.tpm.store import public_key_of
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

PROVIDER = Path("/usr/lib/x86_64-linux-gnu/ossl-modules/tpm2.so")


def write(path: Path, file: TpmKeyFile) -> Path:
    path.write_bytes(encode_key_file(file))
    path.chmod(0o600)
    return path


def make(simulator: Any, path: Path, kind: int = ECC, auth: bytes = b"") -> TpmKeyFile:
    tpm = Tpm(simulator.address)
    file = tpm.create(kind, auth)
    tpm.close()
    write(path, file)
    return file


def sign_checked(opened: Any, comment: str) -> None:
    identity = opened.find(comment)
    key = parse_public_key(identity.key_blob)
    verify_signature(key, opened.store.sign(identity, b"data"), b"data")


def openssl(simulator: Any, tmp_path: Path, *arguments: str) -> None:
    environ = {**os.environ, "TPM2OPENSSL_TCTI": simulator.address}
    verb, *rest = arguments
    command = ["/usr/bin/openssl", verb, "-provider", "tpm2", "-provider", "default", *rest]
    subprocess.run(command, env=environ, cwd=tmp_path, check=True, timeout=60, capture_output=True)


@pytest.fixture
def provider(give_up: Callable[[str], NoReturn]) -> None:
    if not PROVIDER.exists():
        give_up("openssl's tpm2 provider")


@pytest.mark.usefixtures("provider")
@pytest.mark.parametrize("kind", [ECC, RSA])
def test_openssl_signs_with_a_key_that_we_made(simulator: Any, tmp_path: Path, kind: int) -> None:
    make(simulator, tmp_path / "key", kind)
    (tmp_path / "data").write_text("data")
    signing = (
        "-sign",
        "-inkey",
        "key",
        "-rawin",
        "-in",
        "data",
        "-digest",
        "sha256",
        "-out",
        "sig",
    )
    openssl(simulator, tmp_path, "pkeyutl", *signing)
    openssl(simulator, tmp_path, "pkey", "-in", "key", "-pubout", "-out", "pub")
    command = ["/usr/bin/openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "data"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60, capture_output=True)


@pytest.mark.usefixtures("provider")
def test_we_sign_with_a_key_that_openssl_made(
    simulator: Any, tmp_path: Path, open_store: Any
) -> None:
    making = ("-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", "theirs")
    openssl(simulator, tmp_path, "genpkey", *making)
    (tmp_path / "theirs").chmod(0o600)
    sign_checked(open_store("tpm", simulator.settings(tmp_path / "theirs")), "theirs")


def test_tpm2_tools_load_a_key_that_we_made(
    simulator: Any, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    file = make(simulator, tmp_path / "key")
    (tmp_path / "pub").write_bytes(sized(file.key.public))
    (tmp_path / "priv").write_bytes(sized(file.key.private))
    environ = {**os.environ, "TPM2TOOLS_TCTI": simulator.address}
    attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
    primary = (
        "-C",
        "o",
        "-g",
        "sha256",
        "-G",
        "ecc256:aes128cfb",
        "-a",
        attributes,
        "-c",
        "parent",
    )
    load = ("-C", "parent", "-u", "pub", "-r", "priv", "-c", "loaded")
    for name, arguments in (("tpm2_createprimary", primary), ("tpm2_load", load)):
        command = [require_program(name), *arguments]
        subprocess.run(command, env=environ, cwd=tmp_path, check=True, timeout=60)
        flush = [require_program("tpm2_flushcontext"), "-t"]
        subprocess.run(flush, env=environ, check=True, timeout=60)


def test_a_key_that_was_made_elsewhere_is_imported(
    simulator: Any, tmp_path: Path, open_store: Any
) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    numbers = secret.private_numbers()
    point = numbers.public_numbers
    unique = sized(point.x.to_bytes(32, "big")) + sized(point.y.to_bytes(32, "big"))
    tpm = Tpm(simulator.address)
    file = tpm.import_key(ECC, unique, numbers.private_value.to_bytes(32, "big"), b"")
    tpm.close()
    write(tmp_path / "imported", file)
    sign_checked(open_store("tpm", simulator.settings(tmp_path / "imported")), "imported")


def test_a_wrong_password_is_tried_once(
    simulator: Any, tmp_path: Path, open_store: Any, wait: Any
) -> None:
    make(simulator, tmp_path / "key", auth=b"right")
    pin = tmp_path / "pin"
    pin.write_text("wrong\n")
    pin.chmod(0o600)
    settings = simulator.settings(tmp_path / "key", pin={"file": str(pin)})
    opened = open_store("tpm", settings)
    for _ in range(3):
        with pytest.raises(TokenError) as caught:
            opened.store.sign(opened.find("key"), b"data")
        assert caught.value.reason == "pin_refused"
    assert "not tried again" in str(caught.value)
    pin.write_text("right\n")
    opened.reload()
    wait(lambda: can_sign(opened), "the password that was corrected is not used")


def can_sign(opened: Any) -> bool:
    try:
        sign_checked(opened, "key")
    except TokenError:
        return False
    return True


def test_the_tpm_is_reset_and_comes_back(
    simulator: Any, tmp_path: Path, open_store: Any, wait: Any
) -> None:
    make(simulator, tmp_path / "key")
    opened = open_store("tpm", simulator.settings(tmp_path / "key"))
    sign_checked(opened, "key")
    simulator.stop()
    with pytest.raises(TokenError) as caught:
        opened.store.sign(opened.find("key"), b"data")
    assert caught.value.reason == "tpm_unavailable"
    opened.reload()
    wait(lambda: "tpm_unavailable" in opened.reason, "the loss was not noticed")
    simulator.start()
    sign_checked(opened, "key")
    opened.reload()
    wait(lambda: not opened.reason, f"still unwell: {opened.reason}")


def test_more_keys_than_the_tpm_has_room_for(
    simulator: Any, tmp_path: Path, open_store: Any
) -> None:
    for number in range(6):
        make(simulator, tmp_path / f"key{number}")
    opened = open_store("tpm", simulator.settings(tmp_path))
    for _ in range(2):
        for number in range(6):
            sign_checked(opened, f"key{number}")


def test_a_tpm_that_hangs_holds_up_nothing_else(
    simulator: Any, tmp_path: Path, open_store: Any
) -> None:
    make(simulator, tmp_path / "key")
    simulator.process.send_signal(signal.SIGSTOP)
    try:
        opened = open_store("tpm", simulator.settings(tmp_path / "key"))
        assert not opened.store.health().is_well
    finally:
        simulator.process.send_signal(signal.SIGCONT)


def test_a_damaged_file_is_refused(simulator: Any, tmp_path: Path) -> None:
    data = encode_key_file(make(simulator, tmp_path / "key"))
    assert public_key_of(parse_key_file(data)).algorithm == "ecdsa-sha2-nistp256"
    for end in range(0, len(data) - 30, 7):
        with pytest.raises(TokenError):
            parse_key_file(data[:end] + b"\n-----END TSS2 PRIVATE KEY-----\n")
