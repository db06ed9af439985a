"""`secretive-agent explain`, by the examples of docs/signing-policy.md: each matches as it says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secretivex.cli.agent import main
from secretivex.config.rows.policy import RULE_SETTINGS
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_string, encode_text

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "signing-policy.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def line_of(name: str) -> str:
    blob = encode_text("ssh-ed25519") + encode_string(hashlib.sha256(name.encode()).digest())
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


KEY = next(
    re.findall(r'key_blobs = \["(.*)"\]', block)[0] for block in BLOCKS if "key_blobs" in block
)
HOST = next(re.findall(r'hosts = \["(.*)"\]', block)[0] for block in BLOCKS if "hosts" in block)
WORDS = {
    "KEY": KEY,
    "HOST": HOST,
    "OTHER": line_of("other"),
    "ECDSA": "ecdsa.pub",
    "RSA": "rsa.pub",
    "FINGERPRINT": fingerprint(base64.b64decode(KEY.split()[1])),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]) -> Path:
    """With an RSA and an ECDSA key."""
    path = tmp_path_factory.mktemp("keys")
    for kind in ("rsa", "ecdsa"):
        make = [require_program("ssh-keygen"), "-q", "-t", kind, "-N", "", "-f", str(path / kind)]
        subprocess.run(make, check=True, timeout=60)
    return path


Explain = Callable[..., dict[str, Any]]


@pytest.fixture
def explain(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Explain:
    """Explain one signature under one policy; the words of the page stand for keys.

    In this process: the page has many examples, and each start of Python takes its time.
    """
    monkeypatch.chdir(folder)

    def ask(policy: str, arguments: str) -> dict[str, Any]:
        Path("agent.toml").write_text(fill(policy))
        words = [fill(word) for word in shlex.split(arguments)]
        status = main(["explain", "--config", "agent.toml", "--format", "json", *words])
        said = capsys.readouterr()
        assert status in (0, 6), said.err
        found: dict[str, Any] = json.loads(said.out)["data"]
        assert found["allowed"] == (status == 0)
        return found

    return ask


def fill(text: str) -> str:
    for word, value in WORDS.items():
        text = re.sub(rf"\b{word}\b", value, text)
    return text


EXAMPLES = [block for block in BLOCKS if block.startswith("# ")]


@pytest.mark.parametrize("block", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_matches_and_does_not_as_the_page_says(block: str, explain: Explain) -> None:
    cases = re.findall(r"(?m)^# (.*)$", block)
    rules = [explain(block, case)["rules"] for case in cases]
    matches = [rule["match"] for (rule,) in rules]
    assert matches == ["yes", "no"][: len(cases)]


def test_every_condition_has_an_example() -> None:
    named = {key for block in EXAMPLES for key in re.findall(r"(?m)^(\w+) = ", block)}
    assert {row.key for row in RULE_SETTINGS} <= named | {"name"}


def test_the_first_policy_of_the_page_is_valid(explain: Explain) -> None:
    release = "--key KEY --kind sshsig --detail release --executable /usr/bin/ssh-keygen"
    found = explain(BLOCKS[0], release)
    assert (found["allowed"], found["reason"]) == (False, "denied")
    assert found["rule"] == "releases are signed by the release tool alone"
    asked = explain(BLOCKS[0], "--key KEY --executable /bin/x --destination root@HOST")
    assert (asked["allowed"], asked["confirm"]) == (True, "root needs a person")


def test_what_no_option_names_is_not_known(explain: Explain) -> None:
    rule = "[[policy.rules]]\neffect = 'deny'\nusers = ['root']\nuids = [0]\nforwarded = true\n"
    found = explain(rule, "--key KEY")
    assert (found["allowed"], found["reason"]) == (False, "undetermined")
    assert found["rules"] == [
        {
            "name": "rule 1",
            "effect": "deny",
            "match": "unknown",
            "conditions": {"uids": "unknown", "users": "unknown", "forwarded": "unknown"},
        }
    ]


def test_what_settings_beside_the_rules_say_is_said_too(explain: Explain) -> None:
    """As the agent decides: what an RSA key signs without flags, and who is asked anyway."""
    rule = "[[policy.rules]]\neffect = 'deny'\nalgorithms = ['ssh-rsa']\n"
    assert explain(rule, "--key RSA")["allowed"]
    sha1 = "allow_sha1 = true\n" + rule
    assert not explain(sha1, "--key RSA")["allowed"]
    assert explain(sha1, "--key RSA --store pkcs11-2")["allowed"]
    assert explain(sha1, "--key RSA --flags 2")["allowed"]
    command = "[policy]\nconfirm_command = ['/bin/true']\n"
    assert explain(command, "--key RSA")["confirm"] == "confirm_command"
    assert explain(command + rule, "--key ECDSA")["confirm"] == "confirm_command"
    assert (
        explain(command + sha1.partition("\n")[2].replace("ssh-rsa", "rsa-*"), "--key RSA")[
            "confirm"
        ]
        is None
    )


def test_who_started_a_program_counts_whether_or_not_that_is_known(explain: Explain) -> None:
    rule = "[[policy.rules]]\neffect = 'deny'\nancestors = ['/usr/bin/git']\n"
    found = explain(rule, "--key KEY --ancestor /usr/bin/git")
    assert (found["reason"], found["caller"]["executable"]) == ("denied", None)


def test_whom_it_is_about_is_shown(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    rule = "[[policy.rules]]\neffect = 'deny'\nuids = [7]\n"
    found = explain(rule, "--key KEY --uid 7 --gid 8 --executable /bin/x")
    assert found["caller"] == {"uid": 7, "gid": 8, "executable": "/bin/x", "ancestors": None}
    words = ["--executable", "/bin/x", "--uid", "7", "--store", "memory"]
    assert main(["explain", "--config", "agent.toml", "--key", KEY, *words]) == 6
    _, key, caller, *_ = capsys.readouterr().out.splitlines()
    assert key.split() == ["key", f"{WORDS['FINGERPRINT']},", "of", "store", "memory"]
    assert caller.split(maxsplit=1)[1] == "uid 7, gid ?, /bin/x, started by ?"


@pytest.mark.parametrize(
    "arguments",
    [
        "--peer self --uid 7",
        "--peer self --ancestor /bin/x",
        "--detail git",
        "--kind other --detail git",
        "--destination root@ --detail git",
        "--kind sshsig --host-ca HOST",
        "--destination root@ --host-ca HOST",
    ],
)
def test_an_option_that_would_say_nothing_is_a_mistake(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    words = [fill(word) for word in shlex.split(arguments)]
    assert main(["explain", "--key", KEY, *words]) == 2, folder
    assert "secretive-agent explain --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("--kind userauth", {"users": "unknown", "hosts": "unknown", "namespaces": "no"}),
        ("--destination HOST", {"users": "unknown", "hosts": "yes", "namespaces": "no"}),
        ("--destination root@", {"users": "yes", "hosts": "unknown", "namespaces": "no"}),
        ("--destination ada@", {"users": "no", "hosts": "unknown", "namespaces": "no"}),
        ("--kind sshsig", {"users": "no", "hosts": "no", "namespaces": "unknown"}),
        ("--kind sshsig --detail git", {"users": "no", "hosts": "no", "namespaces": "yes"}),
        ("--kind sshsig --detail x", {"users": "no", "hosts": "no", "namespaces": "no"}),
        ("", {"users": "unknown", "hosts": "unknown", "namespaces": "unknown"}),
    ],
)
def test_what_is_not_said_of_the_data_is_not_known(
    explain: Explain, arguments: str, told: dict[str, str]
) -> None:
    conditions = ("users = ['root']\nhosts = ['HOST']\n", "namespaces = ['git']\n")
    rules = "".join(f"[[policy.rules]]\neffect = 'confirm'\n{one}" for one in conditions)
    found = explain(rules, f"--key KEY {arguments}")["rules"]
    assert {key: word for rule in found for key, word in rule["conditions"].items()} == told


def test_a_host_may_be_given_by_its_certificate(
    explain: Explain, folder: Path, require_program: Callable[[str], str]
) -> None:
    keygen = require_program("ssh-keygen")
    certify = [keygen, "-q", "-h", "-s", "rsa", "-I", "host", "-n", "host", "ecdsa.pub"]
    subprocess.run(certify, check=True, timeout=60, cwd=folder)
    for kind in ("ecdsa", "rsa"):
        line = (folder / f"{kind}.pub").read_text().strip()
        rule = f"[[policy.rules]]\neffect = 'deny'\nhosts = ['{line}']\n"
        found = explain(rule, "--key KEY --destination root@ecdsa-cert.pub")
        assert found["reason"] == "denied", kind


def test_a_rule_by_a_link_that_no_caller_is_known_by_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path = tmp_path.resolve()
    program, link, config = tmp_path / "program", tmp_path / "link", tmp_path / "agent.toml"
    program.touch()
    link.symlink_to(program)
    paths = [f"'{one}'" for one in (program, link, tmp_path / "nowhere", tmp_path / "l*")]
    config.write_text(
        "[[policy.rules]]\neffect = 'deny'\nuids = [4242]\n"
        f"[[policy.rules]]\neffect = 'deny'\nancestors = [{', '.join(paths)}]\n"
    )
    assert main(["check-config", "--config", str(config)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "link" in line]
    place = f"{config}:6: policy.rules[1].ancestors[1]"
    reason = f"no caller is known as '{link}': it is a link to '{program}' (write '{program}')"
    assert said == [f"warning: {place}: {reason}"]


def test_keys_of_stores_are_found_by_comment_and_fingerprint_and_processes_looked_up(
    command_line: CommandLine, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    for name, comment in (("one", "same"), ("two", "same"), ("three", "own")):
        make = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", comment]
        subprocess.run([*make, "-f", str(keys / name)], check=True, timeout=60)
    config = tmp_path / "agent.toml"
    config.write_text(
        f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = ['{keys}']\n"
        "[[policy.rules]]\neffect = 'allow'\ncomments = ['own']\nstores = ['file']\n"
        "ancestors = ['*']\n"
    )
    ask = ("secretive-agent", "explain", "--config", config, "--peer", "self", "--key")
    printed = command_line(*ask, "own")
    assert printed.returncode == 0, printed.stderr
    verdict, key, caller, *rules = printed.stdout.splitlines()
    assert verdict == "allowed: allowed, by 'rule 1'"
    assert key == f"  key      {fingerprint_of(keys / 'three.pub')}, of store file"
    assert caller.startswith(f"  caller   uid {os.geteuid()}, gid {os.getegid()}, /")
    assert rules == [
        "  yes      allow    rule 1: comments yes, stores yes, ancestors yes",
    ]
    refused = command_line(*ask, fingerprint_of(keys / "one.pub"))
    assert refused.returncode == 6
    assert "no_allow_matches" in refused.stderr
    ambiguous = command_line(*ask, "same")
    assert (ambiguous.returncode, "by its fingerprint" in ambiguous.stderr) == (4, True)
    certify = [require_program("ssh-keygen"), "-q", "-s", str(keys / "one"), "-I", "x"]
    subprocess.run([*certify, str(keys / "three.pub")], check=True, timeout=60)
    beside = command_line(*ask, "own", "--format", "json")
    assert beside.returncode == 0, beside.stderr
    assert json.loads(beside.stdout)["data"]["key"] == fingerprint_of(keys / "three.pub")
    assert command_line(*ask, "nobody").returncode == 4


def fingerprint_of(path: Path) -> str:
    return fingerprint(base64.b64decode(path.read_text().split()[1]))
