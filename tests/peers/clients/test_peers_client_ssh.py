"""ssh, scp, sftp, ssh-copy-id and agent forwarding with the keys of our agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Run = Callable[..., Any]


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_logs_in_with_the_key_that_the_host_trusts(
    run_client: Run, hosts: Any, kind: str
) -> None:
    assert run_client("ssh", *hosts.options, hosts.only[kind], "echo in").stdout == "in\n"


@pytest.mark.parametrize("kind", KINDS)
def test_ssh_logs_in_with_the_key_that_its_user_names(
    run_client: Run, hosts: Any, public_file: Callable[[str], Path], kind: str
) -> None:
    chosen = ("-i", public_file(kind), "-o", "IdentitiesOnly=yes", "-v")
    done = run_client("ssh", *hosts.options, *chosen, hosts.addresses[0], "echo in")
    assert done.stdout == "in\n"
    assert done.stderr.count("Server accepts key") == 1


def test_ssh_is_refused_where_the_key_is_not_trusted(
    run_client: Run, hosts: Any, public_file: Callable[[str], Path]
) -> None:
    chosen = ("-i", public_file("p256"), "-o", "IdentitiesOnly=yes")
    done = run_client("ssh", *hosts.options, *chosen, hosts.only["rsa"], "echo in", ok=False)
    assert (done.returncode, done.stdout) == (255, "")


def test_scp_copies_there_and_back(run_client: Run, hosts: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    (tmp_path / "here").write_bytes(content)
    there = f"{hosts.addresses[1]}:{tmp_path}/there"
    run_client("scp", *hosts.options, tmp_path / "here", there)
    run_client("scp", *hosts.options, there, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_sftp_runs_a_batch(run_client: Run, hosts: Any, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("words\n")
    batch = f"put {tmp_path}/here {tmp_path}/there\nrename {tmp_path}/there {tmp_path}/moved\n"
    run_client("sftp", *hosts.options, "-b", "-", hosts.addresses[2], stdin=batch)
    assert (tmp_path / "moved").read_text() == "words\n"


@pytest.fixture
def clean_home(hosts: Any) -> Iterator[Path]:
    """The home on the hosts, without a file of keys before and after."""
    trusted: Path = hosts.home / ".ssh" / "authorized_keys"
    yield trusted
    trusted.unlink(missing_ok=True)


def test_ssh_copy_id_installs_the_keys_that_the_agent_lists(
    run_client: Run, hosts: Any, clean_home: Path, key_files: dict[str, Path]
) -> None:
    # The host trusts all keys already; `-f` copies them all the same.
    run_client("ssh-copy-id", "-f", *hosts.options, hosts.addresses[0])
    wanted = {path.with_suffix(".pub").read_text().strip() for path in key_files.values()}
    assert set(clean_home.read_text().splitlines()) == wanted


def test_a_forwarded_agent_lists_and_signs_on_the_far_side(
    run_client: Run, hosts: Any, key_files: dict[str, Path]
) -> None:
    keys = " ".join(f"{path}.pub" for path in key_files.values())
    far = f"ssh-add -l && ssh-add -T {keys}"
    done = run_client("ssh", "-A", *hosts.options, hosts.addresses[0], far)
    assert [line.split()[2] for line in done.stdout.splitlines()] == sorted(KINDS)


def test_a_forwarded_agent_logs_in_over_two_more_hops(run_client: Run, hosts: Any) -> None:
    hop = " ".join(("ssh", "-A", *(f"'{word}'" for word in hosts.options)))
    first, second, last = hosts.addresses[3], hosts.addresses[4], hosts.only["rsa"]
    far = f'{hop} {second} "{hop} {last} echo far"'
    assert run_client("ssh", "-A", *hosts.options, first, far).stdout == "far\n"


def test_one_connection_serves_many_sessions_of_a_multiplexed_ssh(
    run_client: Run, hosts: Any, tmp_path: Path
) -> None:
    control = ("-o", f"ControlPath={tmp_path}/c")
    host = hosts.addresses[0]
    master = ("-o", "ControlMaster=yes", "-o", "ControlPersist=60")
    run_client("ssh", "-A", *hosts.options, *control, *master, "-fnN", host)
    try:
        for _ in range(5):
            done = run_client("ssh", "-A", *hosts.options, *control, host, "ssh-add -l")
            assert len(done.stdout.splitlines()) == len(KINDS)
    finally:
        run_client("ssh", *hosts.options, *control, "-O", "exit", host)


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("ed25519", "ssh-ed25519"),
        ("p256", "ecdsa-sha2-nistp256"),
        ("p384", "ecdsa-sha2-nistp384"),
        ("p521", "ecdsa-sha2-nistp521"),
        ("rsa", "rsa-sha2-256"),
        ("rsa", "rsa-sha2-512"),
    ],
)
def test_a_host_proves_itself_with_a_key_of_the_agent(
    run_client: Run,
    hosts: Any,
    agent_host_port: int,
    public_file: Callable[[str], Path],
    tmp_path: Path,
    kind: str,
    algorithm: str,
) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{agent_host_port} {public_file(kind).read_text()}")
    options = ("-o", f"UserKnownHostsFile={known}", "-o", f"HostKeyAlgorithms={algorithm}")
    port = ("-o", f"Port={agent_host_port}")
    done = run_client("ssh", *options, *port, *hosts.options, "127.0.0.1", "echo in")
    assert done.stdout == "in\n"
