"""manifest.json, view.json and SHA256SUMS: one form each, and nothing else is read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clikit.canonical import encode_canonical
from fleetmdm.evidence.manifest import (
    ExpectedSigner,
    Manifest,
    ManifestError,
    Records,
    Whole,
    encode_manifest,
    is_safe_name,
    parse_manifest,
)
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.view import (
    Shown,
    View,
    ViewError,
    encode_sums,
    encode_view,
    parse_sums,
    parse_view,
)

FINGERPRINT = "SHA256:" + "A" * 43
DIGEST = "0" * 64
MANIFEST = Manifest(
    "0.1.0",
    {"run_id": 1},
    {"size": 1},
    (ExpectedSigner(FINGERPRINT, "ssh-ed25519"),),
    {"run.json": Whole(DIGEST, 3), "results.ndjson": Records(DIGEST, 2)},
)
VIEW = View(DIGEST, Profile.STRICT, derived=False, records={"results.ndjson": Shown(1, 2)})


def _changed(data: bytes, **members: Any) -> bytes:
    return encode_canonical({**json.loads(data), **members}) + b"\n"


def test_a_manifest_reads_back() -> None:
    assert parse_manifest(encode_manifest(MANIFEST)) == MANIFEST


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "manifest_malformed"),
        (b"{}", "manifest_malformed"),
        (b"[]", "manifest_malformed"),
        (b"[" * 100_000, "manifest_malformed"),
        (b"\xff", "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), type="other"), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), schema=2), "manifest_unsupported"),
        (_changed(encode_manifest(MANIFEST), schema=True), "manifest_unsupported"),
        (encode_manifest(MANIFEST)[:-1], "manifest_not_canonical"),
        (encode_manifest(MANIFEST) + b"\n", "manifest_not_canonical"),
        (encode_manifest(MANIFEST).replace(b":", b": ", 1), "manifest_not_canonical"),
        (_changed(encode_manifest(MANIFEST), extra=1), "manifest_not_canonical"),
        (_changed(encode_manifest(MANIFEST), tool={"version": "1"}), "manifest_not_canonical"),
        (_changed(encode_manifest(MANIFEST), tool={"version": 1}), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), tool=1), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), run=[]), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), files=[]), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), files={"a": 1}), "manifest_malformed"),
        (_changed(encode_manifest(MANIFEST), files={"../a": {}}), "name_unsafe"),
        (_changed(encode_manifest(MANIFEST), files={"a": {"kind": "x"}}), "manifest_malformed"),
        (
            _changed(
                encode_manifest(MANIFEST),
                files={"a": {"kind": "whole", "sha256": "0" * 63, "bytes": 1}},
            ),
            "manifest_malformed",
        ),
        (
            _changed(
                encode_manifest(MANIFEST),
                files={"a": {"kind": "whole", "sha256": DIGEST, "bytes": -1}},
            ),
            "manifest_malformed",
        ),
        (
            _changed(
                encode_manifest(MANIFEST),
                files={"a": {"kind": "records", "root": DIGEST, "count": True}},
            ),
            "manifest_malformed",
        ),
        (_changed(encode_manifest(MANIFEST), signers=[{}]), "manifest_malformed"),
        (
            _changed(
                encode_manifest(MANIFEST),
                signers=[{"fingerprint": "MD5:x", "algorithm": "a", "forms": ["sshsig"]}],
            ),
            "manifest_malformed",
        ),
        (
            _changed(
                encode_manifest(MANIFEST),
                signers=[{"fingerprint": FINGERPRINT, "algorithm": "a", "forms": []}],
            ),
            "manifest_malformed",
        ),
        (
            _changed(
                encode_manifest(MANIFEST),
                signers=[{"fingerprint": FINGERPRINT, "algorithm": "a", "forms": ["sshsig"]}] * 2,
            ),
            "manifest_malformed",
        ),
    ],
)
def test_anything_but_our_own_manifest_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(data)
    assert caught.value.code == code


def test_a_view_reads_back() -> None:
    assert parse_view(encode_view(VIEW)) == VIEW


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"1",
        b"[" * 100_000,
        encode_view(VIEW)[:-1],
        _changed(encode_view(VIEW), type="x"),
        _changed(encode_view(VIEW), profile="loose"),
        _changed(encode_view(VIEW), derived=0),
        _changed(encode_view(VIEW), manifest_sha256=1),
        _changed(encode_view(VIEW), records=[]),
        _changed(encode_view(VIEW), records={"a": {"opened": "1", "hidden": 0}}),
        _changed(encode_view(VIEW), records={"a": {"opened": 1, "hidden": True}}),
        _changed(encode_view(VIEW), records={"a": {"opened": 1}}),
        _changed(encode_view(VIEW), extra=1),
    ],
)
def test_anything_but_our_own_view_is_refused(data: bytes) -> None:
    with pytest.raises(ViewError):
        parse_view(data)


def test_sums_are_what_sha256sum_writes() -> None:
    data = encode_sums({"b": DIGEST, "a/c": DIGEST})
    assert data == f"{DIGEST}  a/c\n{DIGEST}  b\n".encode()
    assert parse_sums(data) == {"a/c": DIGEST, "b": DIGEST}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (f"{DIGEST}  b\n{DIGEST}  a\n".encode(), "sums_not_canonical"),
        (f"{DIGEST}  a\n{DIGEST}  a\n".encode(), "sums_not_canonical"),
        (f"{DIGEST}  a".encode(), "sums_not_canonical"),
        (f"{DIGEST}  a\n\n".encode(), "sums_malformed"),
        (f"{DIGEST} *a\n".encode(), "sums_malformed"),
        (f"\\{DIGEST}  a\\nb\n".encode(), "sums_malformed"),
        (f"{DIGEST.upper()}x  a\n".encode(), "sums_malformed"),
        (f"{DIGEST}  a\r\n".encode(), "name_unsafe"),
        (f"{DIGEST}  ../a\n".encode(), "name_unsafe"),
        (f"{DIGEST}  /etc/passwd\n".encode(), "name_unsafe"),
        (b"\xff\n", "sums_malformed"),
    ],
)
def test_anything_but_our_own_sums_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(ViewError) as caught:
        parse_sums(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "name", ["run.json", "log/leaf.json", "policies/a%20b~0.yaml", "SHA256SUMS"]
)
def test_a_name_that_stays_inside_is_safe(name: str) -> None:
    assert is_safe_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "a/..", "/a", "a//b", "a/b/c", ".hidden", "a."),
        *("a\\b", "a b", "a\n", "c:x", "ä", "a\0b", "x" * 201),
    ],
)
def test_a_name_that_could_lead_astray_is_not(name: str) -> None:
    assert not is_safe_name(name)
