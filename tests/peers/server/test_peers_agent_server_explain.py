"""`secretive-agent explain` says of random rules and requests what a running agent then does."""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ssh_hosts import bind_body, blob_of, login_data, session_of

from agentclient.client import AgentClient
from agentclient.errors import AgentRefused
from secretivex.cli.agent import main
from secretivex.rule_tables import parse_policy
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.requests import ExtensionRequest
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_string, encode_text

POLICIES = 10
REQUESTS = 8
KINDS = ("ed25519", "rsa", "p256")


@dataclass(frozen=True)
class Case:
    """One request: what goes to the agent, and how `explain` is told of it."""

    key: str
    data: bytes
    flags: int
    binds: tuple[bytes, ...]
    words: tuple[str, ...]


def sshsig(namespace: str) -> bytes:
    texts = b"".join(map(encode_text, (namespace, "", "sha512")))
    return b"SSHSIG" + texts + encode_string(bytes(64))


def draw_case(rng: random.Random, key_blobs: dict[str, bytes]) -> Case:
    """A login that is bound, names its host or does neither; or other data."""
    key, flags, user = rng.choice(KINDS), rng.choice((0, 2, 4, 6)), rng.choice(("root", "ada"))
    host, session = rng.choice("abc"), session_of(1)
    binds: tuple[bytes, ...] = ()
    match rng.randrange(7):
        case 0:
            data, binds = _login(session, key_blobs[key], user), (bind_body(host, session),)
            words = ["--destination", f"{user}@{blob_of(host).hex()}"]
        case 1:
            data = _login(session, key_blobs[key], user, blob_of(host))
            words = ["--destination", f"{user}@{blob_of(host).hex()}"]
        case 2:
            data, words = _login(session, key_blobs[key], user), ["--destination", f"{user}@"]
        case 3:
            namespace = rng.choice(("git", "file"))
            data, words = sshsig(namespace), ["--kind", "sshsig", "--detail", namespace]
        case 4:
            data, words = b"DSSEv1 4 text 2 hi", ["--kind", "dsse", "--detail", "text"]
        case 5:
            data, words = bytes(32), ["--kind", "host_key"]
        case _:
            data, words = b"data", ["--kind", "other"]
    is_remote = rng.random() < 0.3
    if is_remote:
        binds = (bind_body("a", session_of(9), forwarding=True), *binds)
    words += ["--forwarded" if is_remote else "--not-forwarded", "--flags", str(flags)]
    return Case(key, data, flags, binds, tuple(words))


def _login(session: bytes, key_blob: bytes, user: str, host: bytes | None = None) -> bytes:
    """A login with any key: the one of the support module, with another blob in its place."""
    data = login_data(session, "key", user, host)
    return data.replace(encode_string(blob_of("key")), encode_string(key_blob))


def draw_rules(rng: random.Random, folder: Path) -> str:
    """A few rules of conditions that often hold."""
    prints = [_print_of(folder / f"{kind}.pub") for kind in KINDS]
    line = Path(f"/proc/{os.getpid()}/exe").resolve()
    draws: dict[str, Callable[[], Any]] = {
        "comments": lambda: [rng.choice(("ed*", "RSA", "p???", "*"))],
        "fingerprints": lambda: rng.sample(prints, 2),
        "key_types": lambda: [rng.choice(("ssh-ed25519", "ssh-rsa", "ecdsa-*"))],
        "stores": lambda: [rng.choice(("file", "memory"))],
        "uids": lambda: [os.getuid(), 4242][: rng.choice((1, 2))],
        "gids": lambda: [rng.choice((os.getgid(), 4242))],
        "executables": lambda: [rng.choice((str(line), "/usr/bin/ssh", f"{line.parent}/*"))],
        "ancestors": lambda: [rng.choice(("*", "/nowhere/*"))],
        "hosts": lambda: [blob_of(name).hex() for name in rng.sample("abc", 2)],
        "users": lambda: [rng.choice(("root", "a*"))],
        "kinds": lambda: rng.sample(("userauth", "sshsig", "dsse", "host_key", "other"), 3),
        "namespaces": lambda: [rng.choice(("git", "*"))],
        "payload_types": lambda: ["t*"],
        "algorithms": lambda: [rng.choice(("rsa-sha2-256", "rsa-*", "ssh-ed25519", "ssh-rsa"))],
        "flags": lambda: rng.sample((0, 2, 4, 6), 2),
        "forwarded": lambda: rng.choice((True, False)),
        "hours": lambda: rng.choice(("00:00-24:00", "12:00-11:59")),
        "not_before": lambda: rng.choice(("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z")),
    }
    text = ""
    for _ in range(rng.randint(1, 4)):
        effect = rng.choice(("deny", "deny", "pin", "allow", "confirm"))
        chosen = _draw_table(rng, draws)
        lines = [f"{name} = {json.dumps(value)}" for name, value in chosen.items()]
        text += "\n".join(("[[policy.rules]]", f"effect = '{effect}'", *lines, ""))
    return text


def _draw_table(rng: random.Random, draws: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Conditions that can hold together: the others are refused."""
    while True:
        chosen = rng.sample(sorted(draws), rng.choice((1, 2, 2)))
        table = {name: draws[name]() for name in chosen}
        if not parse_policy({"rules": [{"effect": "deny", **table}]})[1]:
            return table


def _print_of(public: Path) -> str:
    return fingerprint(base64.b64decode(public.read_text().split()[1]))


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_explained_is_what_happens(
    seed: int,
    start_service: Callable[..., Any],
    key_files: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    wait: Callable[[Callable[[], bool], str], None],
) -> None:
    rng = random.Random(seed)
    log, config = tmp_path / "audit.jsonl", tmp_path / "agent.toml"
    folder = key_files["rsa"].parent
    paths = json.dumps([str(key_files[kind]) for kind in KINDS])
    head = f"audit_requests = true\naudit_path = '{log}'\nallow_sha1 = {str(seed == 1).lower()}\n"
    store = f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = {paths}\n"
    blobs = {
        kind: base64.b64decode((folder / f"{kind}.pub").read_text().split()[1]) for kind in KINDS
    }
    yes = {"SSH_ASKPASS": "/bin/true", "SSH_ASKPASS_REQUIRE": "force"}
    config.write_text(head + store)
    service = start_service("--config", config, workers=1, env=yes)
    reload = ("reload", "--socket", str(service.address))
    wait(lambda: not main([*reload]), "no control socket")
    said: list[tuple[object, ...]] = []
    seen: list[str] = []
    for _ in range(POLICIES):
        rules = draw_rules(rng, folder)
        config.write_text(head + rules + store)
        assert main([*reload]) == 0
        capsys.readouterr()
        for _ in range(REQUESTS):
            case = draw_case(rng, blobs)
            seen.append(f"{rules}{case.key} {case.words}")
            words = ("--key", str(folder / f"{case.key}.pub"), "--store", "file", "--peer", "self")
            asked = ("explain", "--config", str(config), "--format", "json", *words, *case.words)
            status = main([*asked])
            assert status in (0, 6), capsys.readouterr().err
            told = json.loads(capsys.readouterr().out)["data"]
            said.append((told["allowed"], told["rule"], told["reason"], bool(told["confirm"])))
            assert is_signed(str(service.address), blobs[case.key], case) is told["allowed"], seen[
                -1
            ]
    assert service.stop() == 0
    records = [json.loads(line) for line in log.read_text().splitlines()]
    signed = [one for one in records if one.get("event") == "sign"]
    assert len(signed) == len(said)
    for record, (is_allowed, rule, reason, is_asked), case_words in zip(
        signed, said, seen, strict=True
    ):
        if is_allowed:
            assert (record["outcome"], record.get("confirmed", False)) == ("ok", is_asked)
        else:
            outcome = (record["outcome"], record.get("rule"))
            assert outcome == (f"policy_{reason}", rule), case_words
    assert {bool(one[0]) for one in said} == {True, False}


def is_signed(address: str, blob: bytes, case: Case) -> bool:
    with AgentClient(address, timeout_s=60) as client:
        for body in case.binds:
            client.perform(ExtensionRequest(SESSION_BIND, body))
        try:
            client.sign(blob, case.data, case.flags)
        except AgentRefused:
            return False
        return True
