"""Whatever the bytes: a parser returns, or raises a `WireError`. Bounded by examples, not by time."""

from __future__ import annotations

import base64
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sshwire.algorithms import KEY_ALGORITHMS
from sshwire.cert import parse_certificate, verify_certificate_signature
from sshwire.errors import WireError
from sshwire.privkey import (
    encode_private_fields,
    parse_private_fields,
    parse_private_file,
    parse_private_keys,
)
from sshwire.privkey.ciphers import parse_kdf_options
from sshwire.pubkey import PublicKey, fingerprint, parse_public_key, parse_public_line
from sshwire.signature import parse_signature, verify_signature
from sshwire.wire import Reader, encode_uint32

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
MUTANTS_PER_SEED = int(os.environ.get("FUZZ_EXAMPLES", "150"))
MARKS = (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\n-----END OPENSSH PRIVATE KEY-----\n")

Parser = Callable[[bytes], object]


def _payload(path: Path) -> str:
    return path.read_text().split("\n\n", 1)[1]


def _blobs(folder: str) -> list[bytes]:
    lines = [_payload(path) for path in sorted((VECTORS / folder).glob("*.txt"))]
    words = [line.split()[1] for line in lines]
    return [base64.b64decode(word + "=" * (-len(word) % 4)) for word in words]


def _signatures() -> list[bytes]:
    return [base64.b64decode(_payload(path)) for path in sorted(VECTORS.glob("signature/*.txt"))]


def _private_files() -> list[bytes]:
    return [_payload(path).encode() for path in sorted(VECTORS.glob("privkey/plain/*.txt"))]


def _private_blobs(folder: str) -> list[bytes]:
    files = [_payload(path) for path in sorted(VECTORS.glob(f"privkey/{folder}/*.txt"))]
    return [base64.b64decode("".join(file.splitlines()[1:-1])) for file in files]


def _private_fields() -> list[bytes]:
    return [
        encode_private_fields(key) for data in _private_files() for key in parse_private_keys(data)
    ]


def read_certificate(blob: bytes) -> None:
    verify_certificate_signature(parse_certificate(blob))


def read_private_fields(data: bytes) -> None:
    reader = Reader(data)
    key = parse_private_fields(reader, reader.text())
    verify_signature(key.public, key.sign(b"data"), b"data")


def read_private_blob(blob: bytes) -> None:
    data = MARKS[0] + base64.b64encode(blob) + MARKS[1]
    if not parse_private_file(data).is_encrypted:
        parse_private_keys(data)


def read_line(data: bytes) -> None:
    parse_public_line(data.decode("latin-1"))


def verify_with_blob(blob: bytes) -> None:
    algorithm = Reader(blob).string().decode("latin-1")
    verify_signature(PublicKey(algorithm, blob), SIGNATURE, b"signed data")


def verify_with_key(signature: bytes) -> None:
    for key in VERIFIERS:
        try:
            verify_signature(key, signature, b"signed data")
        except WireError:
            continue


SIGNATURE = _signatures()[0]
VERIFIERS = [parse_public_key(blob) for blob in _blobs("pubkey")[1:5]]

TARGETS: list[tuple[Parser, list[bytes]]] = [
    (parse_public_key, _blobs("pubkey") + _blobs("cert")),
    (fingerprint, _blobs("pubkey") + _blobs("cert")),
    (verify_with_blob, _blobs("pubkey") + _blobs("cert")),
    (read_certificate, _blobs("cert")),
    (read_line, [_payload(path).encode() for path in sorted(VECTORS.glob("pubkey/*.txt"))]),
    (parse_signature, _signatures()),
    (verify_with_key, _signatures()),
    (read_private_blob, _private_blobs("plain") + _private_blobs("encrypted")),
    (parse_private_keys, _private_files()),
    (read_private_fields, _private_fields()),
    (parse_kdf_options, [bytes.fromhex("00000010") + bytes(16) + encode_uint32(16)]),
]
IDS = [target.__name__ for target, _ in TARGETS]


def _mutate(seed: bytes, source: random.Random) -> bytes:
    """One to four edits: flips, length fields, cuts, repeats, splices of other algorithms' names."""
    data = bytearray(seed)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(data) + 1)
        edit = source.randrange(6)
        if edit == 0 and at < len(data):
            data[at] ^= 1 << source.randrange(8)
        elif edit == 1:
            data[at : at + 4] = encode_uint32(source.choice([0, 1, 2**31, 2**32 - 1, len(data)]))
        elif edit == 2:
            del data[at : at + source.randint(1, 40)]
        elif edit == 3:
            data[at:at] = data[at : at + source.randint(1, 40)]
        elif edit == 4:
            name = source.choice(list(KEY_ALGORITHMS)).encode()
            data[: 4 + int.from_bytes(data[:4], "big")] = encode_uint32(len(name)) + name
        else:
            data[at:at] = source.randbytes(source.randint(1, 8))
    return bytes(data)


def _only_wire_errors(parse: Parser, data: bytes) -> None:
    try:
        parse(data)
    except WireError:
        return


@pytest.mark.parametrize(("parse", "seeds"), TARGETS, ids=IDS)
def test_mutated_seeds_let_nothing_but_wire_errors_out(parse: Parser, seeds: list[bytes]) -> None:
    source = random.Random(20_241_122)
    for seed in seeds:
        for _ in range(MUTANTS_PER_SEED):
            _only_wire_errors(parse, _mutate(seed, source))


@pytest.mark.parametrize(("parse", "seeds"), TARGETS, ids=IDS)
@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=600))
def test_any_bytes_let_nothing_but_wire_errors_out(
    parse: Parser, seeds: list[bytes], data: bytes
) -> None:
    _only_wire_errors(parse, data)


@pytest.mark.parametrize("name", sorted(KEY_ALGORITHMS))
@given(fields=st.lists(st.binary(max_size=140), max_size=12))
def test_any_fields_after_a_known_name_let_nothing_but_wire_errors_out(
    name: str, fields: list[bytes]
) -> None:
    strings = b"".join(encode_uint32(len(field)) + field for field in fields)
    blob = encode_uint32(len(name)) + name.encode() + strings
    for parse in (parse_public_key, read_private_fields, fingerprint):
        _only_wire_errors(parse, blob)
