"""Every code of `evidence verify`, each by a pack that has exactly that fault.

Most faults are made by somebody who holds the signing key and seals the pack again afterwards, so
that only the check in question can notice.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sealed_pack import Pack

from clikit.canonical import encode_canonical
from fleetmdm.errors import FleetError
from fleetmdm.evidence.attest.dsse import encode_statement, sign_statement
from fleetmdm.evidence.attest.note import sign_note
from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.evidence.sign import signature_name
from fleetmdm.evidence.verify import CODES, WARNINGS, PackReport, Trust, verify_pack
from fleetmdm.evidence.verify.findings import MAX_FINDINGS
from fleetmdm.evidence.verify.tree import scan
from fleetmdm.evidence.view import MAX_VIEW_BYTES
from sshwire.allowed_signers import AllowedSigners, parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
WHO = "fleet@example.org"
Verify = Callable[..., PackReport]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, export_sample: Callable[..., Path]) -> Path:
    return export_sample(tmp_path_factory.mktemp("packs") / "pack")


@pytest.fixture
def pack(original: Path, tmp_path: Path, make_key: Callable[[int], PrivateKey]) -> Pack:
    shutil.copytree(original, tmp_path / "pack")
    return Pack(tmp_path / "pack", make_key(1))


@pytest.fixture
def verify(pack: Pack) -> Verify:
    def run(options: str = f'namespaces="{NAMESPACE}"', who: str = WHO) -> PackReport:
        line = f"{WHO} {options} {encode_public_line(pack.key.public_key)}"
        return verify_pack(pack.root, Trust(parse_allowed_signers(line), [who], NOW))

    return run


def codes(report: PackReport) -> set[str]:
    return {finding.code for finding in report.findings}


def test_a_good_pack_has_no_finding(pack: Pack, verify: Verify) -> None:
    report = verify()
    assert report.findings == []
    assert [(each.principal, each.subject) for each in report.signatures] == [
        (WHO, "checkpoint"),
        (WHO, "dsse"),
        (WHO, "manifest"),
        (WHO, "sums"),
    ]
    assert (report.run_id, report.profile, report.derived) == (2, "strict", False)
    pack.seal()
    assert verify().findings == [], "sealing again must not be a fault of its own"


# Each of these leaves a pack in which one thing is wrong.


def _append(name: str, data: bytes) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        with (pack.root / name).open("ab") as file:
            file.write(data)

    return spoil


def _lengthened(name: str, data: bytes) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        _append(name, data)(pack)
        pack.seal()

    return spoil


def _overwritten(name: str, data: bytes) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        (pack.root / name).write_bytes(data)
        pack.seal()

    return spoil


def _replace_byte(name: str) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        data = bytearray((pack.root / name).read_bytes())
        data[len(data) // 2] ^= 1
        (pack.root / name).write_bytes(data)

    return spoil


def _doubled(name: str) -> Callable[[Pack], None]:
    """Every member twice: readers that take the first and those that take the last agree here."""

    def spoil(pack: Pack) -> None:
        data = (pack.root / name).read_bytes()
        (pack.root / name).write_bytes(data[:-2] + b"," + data[1:])
        pack.seal()

    return spoil


def _remove(name: str) -> Callable[[Pack], None]:
    return lambda pack: (pack.root / name).unlink()


def _resealed(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        pack.edit(name, change)
        pack.seal()

    return spoil


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        pack.edit("manifest.json", change)
        pack.seal(manifest=False)

    return spoil


def _sums(change: Callable[[bytes], bytes]) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        data = change((pack.root / "SHA256SUMS").read_bytes())
        (pack.root / "SHA256SUMS").write_bytes(data)
        pack.seal(sums=False)

    return spoil


def _view(change: Callable[[dict[str, Any]], object]) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        pack.edit("view.json", change)
        pack.seal(view=False)

    return spoil


def _link(pack: Pack) -> None:
    (pack.root / "run.json").unlink()
    (pack.root / "run.json").symlink_to("/etc/hostname")


def _fifo(pack: Pack) -> None:
    os.mkfifo(pack.root / "log" / "pipe")


def _reorder(pack: Pack) -> None:
    path = pack.root / "inventory.ndjson"
    path.write_bytes(b"".join(reversed(path.read_bytes().splitlines(keepends=True))))
    pack.seal(manifest=False)


def _drop_record(pack: Pack) -> None:
    path = pack.root / "population.ndjson"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    pack.seal(manifest=False)


def _repeat_record(pack: Pack) -> None:
    path = pack.root / "population.ndjson"
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[0])
    pack.seal(manifest=False, view=False)


def _loosen_record(pack: Pack) -> None:
    path = pack.root / "results.ndjson"
    path.write_bytes(path.read_bytes().replace(b":", b": ", 1))
    pack.seal(manifest=False, view=False)


def _loosen_manifest(pack: Pack) -> None:
    _append("manifest.json", b"\n")(pack)
    pack.edit("view.json", lambda document: document.update(manifest_sha256=_sha256(pack)))
    pack.seal(manifest=False, view=False)


def _sha256(pack: Pack) -> str:
    return hashlib.sha256((pack.root / "manifest.json").read_bytes()).hexdigest()


def _many_bad_names(pack: Pack) -> None:
    for number in range(MAX_FINDINGS + 5):
        (pack.root / f"extra {number}").touch()


def _spare_bits(pack: Pack) -> None:
    path = pack.signature("manifest")
    path.write_bytes(path.read_bytes().replace(b"\n-----END", b"\n\n-----END"))


def _rename_signature(pack: Pack) -> None:
    pack.signature("manifest").replace(pack.root / "signatures" / ("x" * 8))


def _swap_signer(pack: Pack) -> None:
    name = signature_name("SHA256:" + "B" * 43, "manifest")
    shutil.copy(pack.signature("manifest"), pack.root / name)


def _foreign_namespace(pack: Pack) -> None:
    pack.sign("manifest", (pack.root / "manifest.json").read_bytes(), "git")


def _two_cases(pack: Pack) -> None:
    shutil.copy(pack.root / "run.json", pack.root / "RUN.json")


def _no_signer(pack: Pack) -> None:
    pack.edit("manifest.json", lambda document: document.update(signers=[]))
    pack.seal(manifest=False)
    for path in (pack.root / "signatures").iterdir():
        path.unlink()


def _lost_forms(pack: Pack) -> None:
    """A manifest that announces the trusted key, and forms that need no file."""
    change = {"forms": ["invented"]}
    pack.edit("manifest.json", lambda document: document["signers"][0].update(change))
    pack.seal(manifest=False)
    for path in (pack.root / "signatures").iterdir():
        path.unlink()


def _other_statement(pack: Pack) -> None:
    payload = encode_statement(
        (pack.root / "manifest.json").read_bytes().replace(b"0.1.0", b"0.1.1")
    )
    pack.signature("dsse").write_bytes(sign_statement(pack.key, payload))


def _other_checkpoint(pack: Pack) -> None:
    text = b"fleetmdm/other\n1\n" + b"A" * 43 + b"=\n"
    pack.signature("checkpoint").write_bytes(sign_note(pack.key, text, name="fleetmdm/other"))


def _token(data: bytes) -> Callable[[Pack], None]:
    def spoil(pack: Pack) -> None:
        pack.signature("timestamp").write_bytes(data)

    return spoil


def _sha1_signature(pack: Pack) -> None:
    text = pack.signature("manifest").read_text()
    pack.signature("manifest").write_text(text.replace("BEGIN", "BEGUN"))


def _other_hash(pack: Pack) -> None:
    """A well-formed signature whose inner format is not one that its key can make."""
    import base64

    raw = base64.b64decode("".join(pack.signature("manifest").read_text().split("\n")[1:-2]))
    at = raw.rindex(b"ssh-ed25519")
    raw = raw[:at] + b"ssh-ed25518" + raw[at + 11 :]
    body = base64.b64encode(raw).decode()
    lines = [body[start : start + 70] for start in range(0, len(body), 70)]
    armored = "\n".join(
        ["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]
    )
    pack.signature("manifest").write_text(armored)


FAULTS: dict[str, list[tuple[Callable[[Pack], None], set[str]]]] = {
    "attestation_mismatch": [(_other_statement, set())],
    "drift_mismatch": [
        (_resealed("drift.json", lambda d: d.update(transitions=9)), set()),
        (_overwritten("drift.json", b"[]\n"), set()),
        (_doubled("drift.json"), set()),
    ],
    "file_altered": [(_replace_byte("policies/ssh-root-login.yaml"), {"sums_mismatch"})],
    "file_missing": [
        (_remove("waivers.ndjson"), set()),
        (_remove("view.json"), set()),
        (_remove("SHA256SUMS"), set()),
        (_remove("manifest.json"), {"sums_unexpected"}),
    ],
    "file_not_regular": [(_link, {"file_missing"}), (_fifo, set())],
    "file_size": [(_append("metadata.json", b"\n"), set())],
    "file_unexpected": [
        (lambda pack: (pack.root / "log" / "extra").touch(), set()),
        (lambda pack: (pack.root / "more").mkdir(), set()),
    ],
    "ledger_mismatch": [
        (_manifest(lambda d: d["ledger"].update(size=99)), set()),
        (_manifest(lambda d: d["run"].update(leaf="0" * 64)), set()),
    ],
    "ledger_proof_invalid": [
        (_resealed("log/inclusion.json", lambda d: d.update(index=0)), set()),
        (_resealed("log/inclusion.json", lambda d: d.update(index="0")), set()),
        (_resealed("log/inclusion.json", lambda d: d.update(path=["00"])), set()),
        (_resealed("log/inclusion.json", lambda d: d.pop("path")), set()),
        (_lengthened("log/hashes", b"00\n"), set()),
        (_lengthened("log/checkpoint", b"00\n"), set()),
        (_lengthened("log/leaf.json", b"\n"), set()),
    ],
    "manifest_incomplete": [
        (
            _manifest(lambda d: d["files"].pop("waivers.ndjson")),
            {"file_unexpected", "sums_unexpected"},
        )
    ],
    "manifest_malformed": [(_manifest(lambda d: d.update(type="x")), set())],
    "manifest_not_canonical": [(_loosen_manifest, set())],
    "manifest_unsupported": [(_manifest(lambda d: d.update(schema=2)), set())],
    "metadata_mismatch": [
        (_resealed("metadata.json", lambda d: d.update(fleet="fleetmdm/other")), set()),
        (_resealed("metadata.json", lambda d: d["tool"].update(version="9")), set()),
        (_overwritten("metadata.json", b"[]\n"), set()),
    ],
    "name_collision": [(_two_cases, {"file_unexpected"})],
    "name_unsafe": [(lambda pack: (pack.root / ".hidden").touch(), set())],
    "note_mismatch": [(_other_checkpoint, set())],
    "reconciliation_mismatch": [
        (_resealed("reconciliation.json", lambda d: d["rows"].update(results=0)), set()),
        (_resealed("reconciliation.json", lambda d: d.update(policies=1)), set()),
        (_resealed("reconciliation.json", lambda d: d["sums"][0].update(left=0)), set()),
        (_resealed("reconciliation.json", lambda d: d.pop("sums")), set()),
        (_doubled("reconciliation.json"), set()),
        (_overwritten("reconciliation.json", b"[" * 100_000), set()),
        (_resealed("reconciliation.json", lambda d: d["devices"].update(evaluated=7)), set()),
    ],
    "record_count_mismatch": [
        (_drop_record, {"record_root_mismatch"}),
        (_repeat_record, set()),
    ],
    "record_malformed": [(_loosen_record, {"record_root_mismatch", "view_mismatch"})],
    "record_root_mismatch": [(_reorder, set())],
    "run_mismatch": [
        (_resealed("run.json", lambda d: d.update(tool_version="9")), set()),
        (_overwritten("run.json", b"null\n"), set()),
        (_doubled("run.json"), set()),
    ],
    "signature_invalid": [(lambda pack: pack.sign("manifest", b"something else"), set())],
    "signature_malformed": [(_sha1_signature, set())],
    "signature_misnamed": [(_swap_signer, {"signer_unexpected"})],
    "signature_missing": [
        (lambda pack: pack.signature("manifest").unlink(), set()),
        (lambda pack: pack.signature("sums").unlink(), set()),
        (lambda pack: pack.signature("dsse").unlink(), set()),
        (lambda pack: pack.signature("checkpoint").unlink(), set()),
    ],
    "signature_not_canonical": [(_spare_bits, set())],
    "signature_unexpected": [(_rename_signature, {"signature_missing"})],
    "signature_unsupported": [(_other_hash, set()), (_lost_forms, {"signature_missing"})],
    "signature_wrong_namespace": [(_foreign_namespace, set())],
    "sums_incomplete": [(_sums(lambda data: data.split(b"\n", 1)[1]), set())],
    "sums_malformed": [(_sums(lambda data: b"x" + data), set())],
    "sums_mismatch": [(_sums(lambda data: b"0" * 64 + data[64:]), set())],
    "sums_not_canonical": [(_sums(lambda data: data + data), set())],
    "sums_unexpected": [(_sums(lambda data: data + b"0" * 64 + b"  zebra\n"), set())],
    "timestamp_malformed": [(_token(b"no token"), set()), (_token(b""), set())],
    "too_many_findings": [(_many_bad_names, {"name_unsafe"})],
    "unsigned": [(_no_signer, set())],
    "view_malformed": [(_view(lambda d: d.update(profile="loose")), set())],
    "view_mismatch": [
        (_view(lambda d: d.update(manifest_sha256="0" * 64)), set()),
        (_view(lambda d: d["records"]["results.ndjson"].update(hidden=0)), set()),
    ],
}


@pytest.mark.parametrize(
    ("code", "spoil", "also"),
    [
        pytest.param(code, spoil, also, id=f"{code}-{number}")
        for code, cases in FAULTS.items()
        for number, (spoil, also) in enumerate(cases)
    ],
)
def test_each_fault_has_its_code(
    pack: Pack,
    verify: Verify,
    code: str,
    spoil: Callable[[Pack], None],
    also: set[str],
) -> None:
    spoil(pack)
    assert codes(verify()) == {code} | also


def test_without_anyone_to_trust_all_else_is_checked(pack: Pack) -> None:
    report = verify_pack(pack.root, Trust(None, (), NOW))
    assert codes(report) == {"no_trust_anchor"}
    assert report.signatures == []
    pack.sign("sums", b"something else")
    report = verify_pack(pack.root, Trust(None, (), NOW))
    assert codes(report) == {"no_trust_anchor", "signature_invalid"}


@pytest.mark.parametrize(
    ("options", "who", "code"),
    [
        ('valid-before="20260101Z"', WHO, "signer_expired"),
        ('valid-after="20270101Z"', WHO, "signer_not_yet_valid"),
        ('namespaces="git"', WHO, "signer_namespace_not_allowed"),
        ("", "somebody@example.org", "signer_wrong_principal"),
    ],
)
def test_every_way_not_to_be_trusted_has_its_code(
    verify: Verify, options: str, who: str, code: str
) -> None:
    report = verify(options, who)
    assert codes(report) == {code}
    assert len(report.findings) == 1, "a key is judged once"


def test_a_key_inside_the_pack_is_no_reason_to_trust_it(
    pack: Pack, make_key: Callable[[int], PrivateKey]
) -> None:
    line = f"{WHO} {encode_public_line(make_key(2).public_key)}"
    report = verify_pack(pack.root, Trust(parse_allowed_signers(line), [WHO], NOW))
    assert codes(report) == {"signer_unknown"}
    assert codes(verify_pack(pack.root, Trust(AllowedSigners(()), [WHO], NOW))) == {
        "signer_unknown"
    }


def test_any_of_several_names_will_do(pack: Pack) -> None:
    line = f"{WHO} {encode_public_line(pack.key.public_key)}"
    trust = Trust(parse_allowed_signers(line), ["other@example.org", WHO], NOW)
    assert verify_pack(pack.root, trust).findings == []


def test_a_second_signer_that_the_manifest_does_not_announce_is_found(
    pack: Pack, verify: Verify, make_key: Callable[[int], PrivateKey]
) -> None:
    Pack(pack.root, make_key(2)).sign("manifest", (pack.root / "manifest.json").read_bytes())
    report = verify()
    assert codes(report) == {"signer_unexpected"}
    assert [each.code for each in report.warnings] == ["cosigner_untrusted"]


def test_all_announced_signers_must_have_signed(
    tmp_path: Path, export_sample: Callable[..., Path], make_key: Callable[[int], PrivateKey]
) -> None:
    keys = [make_key(1), make_key(2)]
    root = export_sample(tmp_path / "pack", signers=keys)
    lines = "\n".join(f"{WHO} {encode_public_line(key.public_key)}" for key in keys)
    trust = Trust(parse_allowed_signers(lines), [WHO], NOW)
    assert verify_pack(root, trust).findings == []
    Pack(root, keys[1]).signature("manifest").unlink()
    assert codes(verify_pack(root, trust)) == {"signature_missing"}


def test_a_derived_view_needs_no_signature_over_its_sums(pack: Pack, verify: Verify) -> None:
    """Somebody without the key hides one more field and says so."""
    path = pack.root / "results.ndjson"
    lines = path.read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    salt, value = first["fields"].pop("status")
    text = encode_canonical([salt, "status", value])
    first["hidden"] = sorted([*first["hidden"], hashlib.sha256(text).hexdigest()])
    path.write_bytes(b"".join([encode_canonical(first) + b"\n", *lines[1:]]))
    pack.edit("view.json", lambda document: document.update(derived=True))
    manifest_signature = pack.signature("manifest").read_bytes()
    pack.seal(manifest=False)
    pack.signature("manifest").write_bytes(manifest_signature)
    pack.signature("sums").unlink()
    report = verify()
    assert report.findings == []
    assert report.derived


def test_a_view_that_shows_more_than_its_profile_is_found(
    tmp_path: Path,
    export_sample: Callable[..., Path],
    make_key: Callable[[int], PrivateKey],
) -> None:
    pack = Pack(export_sample(tmp_path / "pack", profile="none"), make_key(1))
    pack.edit("view.json", lambda document: document.update(profile="strict"))
    pack.seal()
    line = f"{WHO} {encode_public_line(pack.key.public_key)}"
    report = verify_pack(pack.root, Trust(parse_allowed_signers(line), [WHO], NOW))
    assert codes(report) == {"view_shows_more"}


def test_a_file_that_is_too_long_is_not_read(pack: Pack, verify: Verify) -> None:
    with (pack.root / "view.json").open("ab") as file:
        file.truncate(MAX_VIEW_BYTES + 1)
    assert codes(verify()) == {"file_unreadable"}


def test_a_folder_with_too_many_files_is_not_walked_to_its_end(pack: Pack) -> None:
    report = PackReport()
    assert len(scan(pack.root, report, max_files=5).files) == 5
    assert "too_many_files" in codes(report)


def test_what_is_no_folder_cannot_be_read_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, code in (("absent", "input_not_found"), ("file", "evidence_unreadable")):
        with pytest.raises(FleetError) as caught:
            verify_pack(tmp_path / name, Trust(None, (), NOW))
        assert caught.value.code == code


def _judged_strings(path: Path) -> Iterator[str]:
    """Texts that a test of this module asserts, or is parametrized by, its tables included."""
    module = ast.parse(path.read_text())
    tables = {
        target.id: node
        for node in module.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for test in module.body:
        if not (isinstance(test, ast.FunctionDef) and test.name.startswith("test_")):
            continue
        asserts = [node for node in ast.walk(test) if isinstance(node, ast.Assert)]
        for judged in [*test.decorator_list, *asserts]:
            for node in ast.walk(judged):
                found: ast.AST = tables.get(node.id, node) if isinstance(node, ast.Name) else node
                for each in ast.walk(found):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each.value


def test_every_code_is_what_some_test_demands() -> None:
    """Of a pack with that fault; to be named in passing is not enough."""
    modules = Path(__file__).parents[1].rglob("test_*evidence*.py")
    demanded = {text for path in modules for text in _judged_strings(path)}
    assert sorted({*CODES, *WARNINGS} - demanded) == []
    assert [*CODES, *WARNINGS] == [*sorted(CODES), *sorted(WARNINGS)]


@pytest.mark.parametrize(("mark", "table"), [("findings", CODES), ("warnings", WARNINGS)])
def test_the_documentation_lists_every_code(mark: str, table: Mapping[str, str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evidence-format.md").read_text()
    text = page.partition(f"<!-- {mark}: begin")[2].partition(f"<!-- {mark}: end -->")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{code}` | {meaning} |" for code, meaning in table.items()]
