"""An auditor at a bare shell: the pack, its README.txt, and a handful of stock programs.

PATH holds nothing but what the text names. Whatever is done to the pack afterwards, one of the
auditor's own commands must notice.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

Program = Callable[[str], str]
Export = Callable[..., Path]

PROGRAMS = ("sh", "sha256sum", "ssh-keygen", "cut", "sed", "head", "tr")


@pytest.fixture
def shell(tmp_path: Path, require_program: Program) -> Callable[..., str]:
    """Run a script in a folder with these programs alone; answers what it printed."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(require_program(name))

    def run(script: str, folder: Path, *, fails: bool = False) -> str:
        done = subprocess.run(
            ["sh", "-euc", script],
            cwd=folder,
            env={"PATH": str(programs), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode != 0) is fails, (script, done.stdout, done.stderr)
        return done.stdout

    return run


@pytest.fixture
def desk(tmp_path: Path, export_sample: Export, make_key: Callable[[int], PrivateKey]) -> Path:
    """A clean folder with the pack as it came, and the key as the signer gave it."""
    folder = tmp_path / "desk"
    folder.mkdir()
    export_sample(folder / "pack")
    line = encode_public_line(make_key(1).public_key)
    (folder / "allowed_signers").write_text(f'evidence namespaces="evidence@fleetmdm" {line}\n')
    return folder


def commands(pack: Path) -> list[str]:
    """What README.txt says to run first: the sums, and both signatures."""
    blocks = re.findall(
        r"(?:^    \S.*\n(?:        .*\n)*)+", (pack / "README.txt").read_text(), re.MULTILINE
    )
    found = [
        block for block in blocks if "sha256sum -c" in block or "-n evidence@fleetmdm" in block
    ]
    return [block.replace("-f allowed_signers", "-f ../allowed_signers") for block in found]


def test_the_readme_leads_an_auditor_through(desk: Path, shell: Callable[..., str]) -> None:
    pack = desk / "pack"
    said = "".join(shell(block, pack) for block in commands(pack))
    assert said.count(": OK") == (pack / "SHA256SUMS").read_text().count("\n")
    assert said.count('Good "evidence@fleetmdm" signature for evidence with ED25519 key') == 2


def test_every_change_is_noticed_by_a_command_of_the_readme(
    desk: Path, shell: Callable[..., str]
) -> None:
    pack = desk / "pack"
    script = "".join(commands(pack))
    for path in sorted(pack.rglob("*")):
        if not path.is_file() or not path.stat().st_size:
            continue
        if path.suffix in (".dsse", ".note"):
            continue  # for openssl, and for our own verifier
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        if path.suffix == ".sshsig":
            path.write_bytes(data.replace(b"\n", b"\nAAAA", 2))
        shell(script, pack, fails=True)
        path.write_bytes(data)
    shell(script, pack)


def test_who_forges_the_sums_is_caught_by_the_signature(
    desk: Path, shell: Callable[..., str]
) -> None:
    pack = desk / "pack"
    text = (pack / "run.json").read_text()
    (pack / "run.json").write_text(re.sub(r'"devices":[0-9]+', '"devices":1', text))
    shell("sha256sum $(cut -c67- SHA256SUMS) > new; tr -d '\\r' < new > SHA256SUMS", pack)
    (pack / "new").unlink()
    first, second, third = _split(commands(pack))
    shell(first, pack)
    shell(second, pack)
    shell(third, pack, fails=True)


def _split(blocks: list[str]) -> list[str]:
    return [
        part
        for block in blocks
        for part in re.split(r"(?=^    ssh-keygen)", block, flags=re.MULTILINE)
        if part.strip()
    ]


def test_a_withheld_field_is_checked_by_hand_once_it_is_told(
    desk: Path, shell: Callable[..., str], export_sample: Export
) -> None:
    """Told salt and value, the auditor computes the digest that the strict view lists."""
    full = export_sample(desk / "full", "none")
    script = r"""
        line=$(head -n 1 inventory.ndjson)
        field=$(printf '%s' "$line" | sed 's/.*"hostname":\(\["[0-9a-f]*","[^"]*"\]\).*/\1/')
        salt=$(printf '%s' "$field" | cut -d'"' -f2)
        value=$(printf '%s' "$field" | cut -d'"' -f4)
        printf '["%s","hostname","%s"]' "$salt" "$value" | sha256sum | cut -d' ' -f1
    """
    digest = shell(script, full).strip()
    first = (desk / "pack" / "inventory.ndjson").read_text().split("\n")[0]
    assert f'"{digest}"' in first.partition('"hidden":')[2]


def test_a_folder_from_somebody_else_s_hands_is_read_and_not_run(
    desk: Path, shell: Callable[..., str]
) -> None:
    """The keys that lie in the pack itself are no reason to trust it."""
    pack, other = desk / "pack", desk / "other"
    shutil.copytree(pack, other)
    shell("ssh-keygen -q -t ed25519 -N '' -f ../forger", other)
    shell("ssh-keygen -q -Y sign -f ../forger -n evidence@fleetmdm manifest.json", other)
    (other / "manifest.json.sig").replace(next((other / "signatures").glob("*.manifest.sshsig")))
    public = (desk / "forger.pub").read_text()
    (other / "keys" / "allowed_signers").write_text(f"evidence {public}")
    _sums, manifest, _view = _split(commands(other))
    shell(manifest, other, fails=True)
