"""Keys added with `ssh-add -c`: a person is asked before every use, with OpenSSH's own clients."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

Service = Any  # the fixture's own class, which tests cannot import
StartService = Callable[..., Service]
Wait = Callable[[Callable[[], bool], str], None]


class Person:
    """An askpass, and what it was asked; `answer` is the shell code that decides."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "askpass"
        self.folder = folder / "questions"
        self.folder.mkdir()
        self.answer("exit 0")

    @property
    def environ(self) -> dict[str, str]:
        return {"SSH_ASKPASS": str(self.path), "SSH_ASKPASS_REQUIRE": "force"}

    def answer(self, code: str) -> None:
        asked = shlex.quote(str(self.folder))
        note = f'printf "%s|%s" "$SSH_ASKPASS_PROMPT" "$1" > {asked}/$$.new'
        new = self.path.with_suffix(".new")
        new.write_text(f"#!/bin/sh\n{note}\nmv {asked}/$$.new {asked}/$$\n{code}\n")
        new.chmod(0o755)
        new.rename(self.path)

    def asked(self) -> dict[int, str]:
        """Questions by the process that asks."""
        return {
            int(path.name): path.read_text() for path in self.folder.iterdir() if not path.suffix
        }


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)


@pytest.fixture(autouse=True)
def passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients lock with; the agent has an askpass of its own."""
    program = tmp_path / "passphrase"
    program.write_text("#!/bin/sh\necho secret\n")
    program.chmod(0o755)
    monkeypatch.setenv("SSH_ASKPASS", str(program))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")


@pytest.fixture
def make_key(tmp_path: Path, require_program: Callable[[str], str]) -> Callable[[str], Path]:
    keygen = require_program("ssh-keygen")

    def make(name: str) -> Path:
        path = tmp_path / name
        command = [keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)]
        subprocess.run(command, check=True, timeout=60)
        return path

    return make


@pytest.fixture(params=[1, 2])
def service(start_service: StartService, person: Person, request: pytest.FixtureRequest) -> Service:
    """In one process, and in several."""
    return start_service("--no-scan-default-dir", workers=request.param, env=person.environ)


def add(service: Service, key: Path, *options: str) -> None:
    assert service.ssh_add("-q", *options, str(key)).returncode == 0
    key.rename(key.with_suffix(".away"))


def sign(service: Service, key: Path) -> bool:
    command = ("ssh-keygen", "-Y", "sign", "-f", f"{key}.pub", "-n", "test")
    return bool(service.tool(*command, stdin="message").returncode == 0)


Begin = Callable[[Service, Path], subprocess.Popen[bytes]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start a client that waits for its signature."""
    with ExitStack() as stack:

        def start(service: Service, key: Path) -> subprocess.Popen[bytes]:
            environ = {**os.environ, "SSH_AUTH_SOCK": str(service.address)}
            client = subprocess.Popen(["ssh-add", "-T", f"{key}.pub"], env=environ)
            stack.enter_context(client)
            stack.callback(client.kill)
            return client

        yield start


def test_each_signature_is_asked_for_and_made_only_if_allowed(
    service: Service, person: Person, make_key: Callable[[str], Path]
) -> None:
    key, other = make_key("asked"), make_key("other")
    add(service, key, "-c")
    add(service, other)
    assert sign(service, key)
    assert sign(service, key)
    assert service.ssh_add("-T", f"{key}.pub").returncode == 0
    assert len(person.asked()) == 3
    person.answer("exit 1")
    assert not sign(service, key)
    assert service.logged("confirm_denied")
    assert len(person.asked()) == 4
    assert sign(service, other)
    assert len(person.asked()) == 4


def test_the_question_names_key_caller_and_purpose(
    service: Service, person: Person, make_key: Callable[[str], Path]
) -> None:
    key = make_key("asked")
    add(service, key, "-c")
    assert sign(service, key)
    (text,) = person.asked().values()
    shown = service.tool("ssh-keygen", "-l", "-f", f"{key}.pub").stdout.split()[1]
    assert text.startswith(f"confirm|May this key be used? asked\nFingerprint: {shown}\n")
    assert "ssh-keygen (process " in text
    assert text.endswith("In order to: sign a message, namespace test")


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({}, "confirm_unavailable"),
        ({"SSH_ASKPASS": "/bin/true"}, "confirm_unavailable"),
        ({"SSH_ASKPASS": "/bin/true", "DISPLAY": ":0", "SSH_ASKPASS_REQUIRE": "never"}, "unavail"),
        ({"SSH_ASKPASS": "/nonexistent/askpass", "DISPLAY": ":0"}, "askpass_failed"),
    ],
)
def test_where_nobody_can_be_asked_nothing_is_signed(
    environ: dict[str, str],
    word: str,
    start_service: StartService,
    make_key: Callable[[str], Path],
) -> None:
    service = start_service("--no-scan-default-dir", env=environ)
    key = make_key("asked")
    add(service, key, "-c")
    assert not sign(service, key)
    assert service.logged(word)


def test_an_open_question_holds_up_nobody_else(
    service: Service, person: Person, make_key: Callable[[str], Path], begin: Begin, wait: Wait
) -> None:
    key, other = make_key("asked"), make_key("other")
    add(service, key, "-c")
    add(service, other)
    person.answer("sleep 300")
    clients = [begin(service, key) for _ in range(3)]
    wait(lambda: len(person.asked()) == 3, "not everybody was asked about")
    with ThreadPoolExecutor(4) as pool:
        signed = [pool.submit(sign, service, other) for _ in range(8)]
        assert all(one.result() for one in signed)
    assert service.ssh_add("-l").stdout.count("ED25519") == 2
    assert service.ssh_add("-x").returncode == 0
    assert service.ssh_add("-X").returncode == 0
    for client in clients:
        assert client.poll() is None, "a question was over before the others were answered"
        client.kill()
        client.wait()


def test_a_client_that_leaves_takes_its_question_with_it(
    service: Service,
    person: Person,
    make_key: Callable[[str], Path],
    begin: Begin,
    wait: Wait,
    running: Callable[[int], bool],
) -> None:
    """And an agent that stops leaves no question behind."""
    key = make_key("asked")
    add(service, key, "-c")
    person.answer("sleep 300")
    client = begin(service, key)
    wait(lambda: len(person.asked()) == 1, "nobody was asked")
    (question,) = person.asked()
    client.kill()
    client.wait()
    wait(lambda: not running(question), "the question stays")
    client = begin(service, key)
    wait(lambda: len(person.asked()) == 2, "nobody was asked again")
    (second,) = set(person.asked()) - {question}
    assert service.stop() == 0
    assert client.wait(60) != 0
    wait(lambda: not running(second), "a question outlives its agent")


@pytest.mark.parametrize("change", [("-d",), ("-D",), ("-x",)])
def test_what_happens_while_the_person_thinks_outweighs_the_answer(
    change: tuple[str, ...],
    service: Service,
    person: Person,
    make_key: Callable[[str], Path],
    begin: Begin,
    tmp_path: Path,
    wait: Wait,
) -> None:
    key, gate = make_key("asked"), tmp_path / "gate"
    add(service, key, "-c")
    person.answer(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    client = begin(service, key)
    wait(lambda: len(person.asked()) == 1, "nobody was asked")
    files = (f"{key}.pub",) if change == ("-d",) else ()
    assert service.ssh_add(*change, *files).returncode == 0
    gate.touch()
    assert client.wait(60) != 0


def test_a_reload_outweighs_the_answer_and_forgets_every_other(
    start_service: StartService,
    person: Person,
    make_key: Callable[[str], Path],
    begin: Begin,
    tmp_path: Path,
    wait: Wait,
) -> None:
    config, gate, key = tmp_path / "agent.toml", tmp_path / "gate", make_key("asked")
    store = "[[stores]]\ntype = 'file'\nscan_default_dir = false\n"
    ask = "[policy]\nconfirm_cache_ms = 600000\n[[policy.rules]]\neffect = 'confirm'\n"
    config.write_text(ask + store)
    service = start_service("--config", config, env=person.environ)
    add(service, key)

    def reload(text: str) -> None:
        config.write_text(text)
        before = service.log.read_text().count("keys read again")
        service.process.send_signal(signal.SIGHUP)
        wait(
            lambda: service.log.read_text().count("keys read again") > before, "it does not reload"
        )
        # The next change is made after it on every worker.
        assert service.ssh_add("-q", str(key) + ".away").returncode == 0

    assert sign(service, key)
    assert sign(service, key)
    assert len(person.asked()) == 1
    reload(ask + "[[policy.rules]]\neffect = 'deny'\ncomments = ['nobody']\n" + store)
    person.answer(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    client = begin(service, key)
    wait(lambda: len(person.asked()) == 2, "the answer of before still holds")
    reload(ask + "[[policy.rules]]\neffect = 'deny'\ncomments = ['asked']\n" + store)
    gate.touch()
    assert client.wait(60) != 0


def test_a_worker_that_dies_takes_its_questions_with_it(
    start_service: StartService,
    person: Person,
    make_key: Callable[[str], Path],
    begin: Begin,
    wait: Wait,
    running: Callable[[int], bool],
) -> None:
    service = start_service("--no-scan-default-dir", workers=2, env=person.environ)
    key = make_key("asked")
    add(service, key, "-c")
    person.answer("sleep 300")
    client = begin(service, key)
    wait(lambda: len(person.asked()) == 1, "nobody was asked")
    (question,) = person.asked()
    for worker in service.workers:
        os.kill(worker, signal.SIGKILL)
    wait(lambda: not running(question), "the question stays")
    assert client.wait(60) != 0
    person.answer("exit 0")
    wait(lambda: sign(service, key), "the agent does not come back")


def test_an_expiry_outweighs_the_answer_too(
    service: Service,
    person: Person,
    make_key: Callable[[str], Path],
    begin: Begin,
    tmp_path: Path,
    wait: Wait,
) -> None:
    key, gate = make_key("asked"), tmp_path / "gate"
    person.answer(f"while [ ! -e {gate} ]; do sleep 0.05; done")
    for life_s in (3, 15, 60):  # a machine may be too slow for a short life
        added = tmp_path / f"asked-{life_s}"
        shutil.copy2(key, added)
        add(service, added, "-c", "-t", str(life_s))
        client = begin(service, key)
        wait(lambda c=client: bool(person.asked()) or c.poll() is not None, "nobody was asked")  # type: ignore[misc] # a default argument
        if person.asked():
            break
    assert len(person.asked()) == 1
    wait(lambda: "ED25519" not in service.ssh_add("-l").stdout, "the key does not expire")
    gate.touch()
    assert client.wait(60) != 0


def test_a_key_of_a_store_stays_asked_about_once_a_client_added_it_so(
    start_service: StartService, person: Person, make_key: Callable[[str], Path], tmp_path: Path
) -> None:
    key = make_key("both")
    config = tmp_path / "agent.toml"
    config.write_text(f"[[stores]]\ntype = 'file'\nscan_default_dir = false\npaths = ['{key}']\n")
    service = start_service("--config", config, env=person.environ)
    signer = key.with_suffix(".copy.pub")
    signer.write_bytes(Path(f"{key}.pub").read_bytes())
    command = ("ssh-add", "-T", str(signer))
    assert service.tool(*command).returncode == 0
    assert not person.asked()
    assert service.ssh_add("-q", "-c", str(key)).returncode == 0
    person.answer("exit 1")
    assert service.tool(*command).returncode != 0
    assert len(person.asked()) == 1


def test_a_configured_command_asks_before_every_signature_of_any_key(
    start_service: StartService, make_key: Callable[[str], Path], tmp_path: Path
) -> None:
    config, asked, no = tmp_path / "agent.toml", tmp_path / "asked", tmp_path / "no"
    code = f'printf "%s\\n" "$SECRETIVE_CONFIRM_KEY_COMMENT" >> {asked}; [ ! -e {no} ]'
    config.write_text(
        f"[policy]\nconfirm_command = ['/bin/sh', '-c', '''{code}''']\n"
        "[[stores]]\ntype = 'file'\nscan_default_dir = false\n"
    )
    service = start_service("--config", config)
    plain, constrained = make_key("plain"), make_key("constrained")
    add(service, plain)
    add(service, constrained, "-c")
    assert sign(service, plain)
    assert sign(service, constrained)
    assert asked.read_text() == "plain\nconstrained\n"
    no.touch()
    assert not sign(service, plain)
    assert not sign(service, constrained)


def test_a_person_who_takes_too_long_has_refused(
    start_service: StartService, person: Person, make_key: Callable[[str], Path], tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("[policy]\nconfirm_timeout_ms = 500\n")
    service = start_service("--config", config, "--no-scan-default-dir", env=person.environ)
    key = make_key("asked")
    add(service, key, "-c")
    person.answer("sleep 300")
    assert not sign(service, key)
    assert service.logged("confirm_timeout")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_answer_holds_for_requests_alike_on_every_worker_until_keys_change(
    workers: int,
    start_service: StartService,
    make_key: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    """A script signs one commit after another: its person is asked once."""
    config, asked = tmp_path / "agent.toml", tmp_path / "asked"
    config.write_text(
        f"[policy]\nconfirm_command = ['/bin/sh', '-c', 'echo x >> {asked}; sleep 0.3']\n"
        "confirm_cache_ms = 60000\n"
        "[[stores]]\ntype = 'file'\nscan_default_dir = false\n"
    )
    service = start_service("--config", config, workers=workers)
    plain, constrained, other = make_key("plain"), make_key("constrained"), make_key("other")
    add(service, plain)
    add(service, constrained, "-c")
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda _: sign(service, plain), range(6)))
    assert asked.read_text().count("x") == 1
    assert sign(service, plain)
    assert asked.read_text().count("x") == 1
    assert sign(service, constrained)
    assert sign(service, constrained)
    assert asked.read_text().count("x") == 3
    add(service, other)
    assert sign(service, plain)
    assert asked.read_text().count("x") == 4
