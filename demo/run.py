"""The main job from end to end on real input; exits 0 only if every claim held.

An Ed25519 key in `secretive-agent`, five real sshd processes, inventory over SSH through the
agent, policies, drift, and an evidence pack that stock OpenSSH tools verify.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

from account import Account, DemoFailedError, claim, run
from hosts import WEAKENED, Host, start_host
from tamper import every_flip_is_refused

BIN = Path(sys.executable).parent
AGENT = BIN / "secretive-agent"
CLIENT = BIN / "secretive-client"
FLEETMDM = BIN / "fleetmdm"
WORKERS = 2
HOSTS = 5
PRINCIPAL = "fleet@example.org"
NAMESPACE = "evidence@fleetmdm"
NEEDED = ("ssh-keygen", "ssh-add", "sshd", "sha256sum")
UNAVAILABLE = 5


class Demo:
    """The state that the steps share, all of it below one temporary folder."""

    def __init__(self, folder: Path, account: Account, stack: ExitStack) -> None:
        self.folder = folder
        self.account = account
        self.stack = stack
        self.key = folder / "key"
        self.socket = folder / "agent.sock"
        self.db = folder / "fleet.db"
        self.pack = folder / "pack"
        self.hosts: list[Host] = []

    def fleetmdm(self, *words: str | Path, expect: tuple[int, ...] = (0,)) -> str:
        """Run FleetMDM on the demo's database."""
        return run(FLEETMDM, *words, "--db", self.db, expect=expect)

    def fleet_json(self, *words: str | Path, expect: tuple[int, ...] = (0,)) -> Any:
        """The `data` of a command's JSON envelope."""
        return json.loads(self.fleetmdm(*words, "--format", "json", expect=expect))["data"]

    # SecretiveX holds the key.

    def start_agent(self) -> None:
        """Make a key and serve it with a supervisor and two workers."""
        with self.account.step(f"a key, and secretive-agent with {WORKERS} workers") as remarks:
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fleet", "-f", self.key)
            config = self.folder / "agent.toml"
            config.write_text(
                f'socket_path = "{self.socket}"\nworkers = {WORKERS}\n\n'
                f'[[stores]]\ntype = "file"\npaths = ["{self.key}"]\nscan_default_dir = false\n'
            )
            agent = subprocess.Popen(
                [str(AGENT), "run", "--config", str(config)],
                stderr=(self.folder / "agent.log").open("wb"),
            )
            self.stack.callback(stop, agent)
            wait_for_agent(self.socket, agent)
            listed = run("ssh-add", "-l", env={"SSH_AUTH_SOCK": str(self.socket)})
            claim(self.fingerprint() in listed, "ssh-add lists the key from the agent")
            family = descendants(agent.pid)
            claim(
                len(family) >= WORKERS, f"at least {WORKERS} processes serve beside the supervisor"
            )
            remarks.append(f"{self.fingerprint()}, {1 + len(family)} processes")

    def fingerprint(self) -> str:
        """The key's SHA256 fingerprint as ssh-keygen says it."""
        return run("ssh-keygen", "-lf", self.key).split()[1]

    # FleetMDM collects through the agent, and judges.

    def start_hosts(self) -> None:
        """Start real sshd processes that trust only the key in the agent."""
        with self.account.step(f"{HOSTS} sshd processes, each with its own host key"):
            sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
            public = self.key.with_suffix(".pub").read_text()
            for index in range(1, HOSTS + 1):
                host = start_host(self.folder, f"web-{index}", public, str(sshd))
                self.hosts.append(host)
                self.stack.callback(host.stop)
            known = "".join(host.known_hosts_line() for host in self.hosts)
            (self.folder / "known_hosts").write_text(known)
            (self.folder / "hosts.yaml").write_text(hosts_file(self.hosts))

    def collect(self) -> None:
        """Gather a document from each host over SSH through the agent."""
        data = self.fleet_json(
            "collect",
            "--hosts",
            self.folder / "hosts.yaml",
            "--known-hosts",
            self.folder / "known_hosts",
            "--agent",
            self.socket,
        )
        reached = sum(1 for result in data["hosts"] if result["ok"])
        claim(reached == HOSTS, f"all {HOSTS} hosts answered, not {reached}")

    def ingest_this_machine(self) -> None:
        """Run the Linux exporter here, directly, and ingest what it prints."""
        exporter = self.folder / "exporter.py"
        exporter.write_text(run(FLEETMDM, "export-collector", "linux"))
        document = self.folder / "this-machine.json"
        document.write_text(run(sys.executable, exporter, "--device-id", "this-machine"))
        self.fleetmdm("ingest", document)

    def first_check(self) -> None:
        """Collect, ingest, add the starter policies and judge the fleet."""
        with self.account.step(f"inventory of {HOSTS} hosts over SSH, one run directly"):
            self.fleetmdm("init")
            self.collect()
            self.ingest_this_machine()
        with self.account.step("the starter policies, and a first check") as remarks:
            self.fleetmdm("policy", "add", "--library", "all")
            data = self.fleet_json("check")
            claim(data["run"]["devices"] == HOSTS + 1, "every device was judged")
            claim(data["run"]["policies"] >= 10, "at least ten policies were used")
            counts = data["run"]["counts"]
            claim(counts.get("pass") and counts.get("fail"), "policies both pass and fail")
            remarks.append(", ".join(f"{count} {state}" for state, count in counts.items()))
        with self.account.step("the report") as remarks:
            remarks.append(self.fleetmdm("report", "--only-failing", "--top", "3"))

    def drift(self) -> None:
        """Change two hosts' sshd_config, collect and check again, and see just those two drift."""
        with self.account.step("two hosts' sshd_config changed, a second collect and check"):
            for host in self.hosts[:2]:
                host.change(WEAKENED)
            self.collect()
            self.fleet_json("check")
        with self.account.step("the drift") as remarks:
            data = self.fleet_json("drift")
            drifted = {row["device_id"] for row in data["rows"]}
            changed = {host.name for host in self.hosts[:2]}
            claim(drifted == changed, f"just {sorted(changed)} drifted, not {sorted(drifted)}")
            remarks.append(self.fleetmdm("drift"))

    # SecretiveX signs, and anyone verifies.

    def evidence(self) -> None:
        """Export a signed pack and verify it with our tool and with stock ones."""
        allowed = self.folder / "allowed_signers"
        public = " ".join(self.key.with_suffix(".pub").read_text().split()[:2])
        allowed.write_text(f'{PRINCIPAL} namespaces="{NAMESPACE}" {public}\n')
        with self.account.step("an evidence pack, signed with the key in the agent") as remarks:
            self.fleetmdm(
                "evidence",
                "export",
                "--output",
                self.pack,
                "--agent-key",
                self.fingerprint(),
                "--agent",
                self.socket,
            )
            files = [path for path in self.pack.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files)
            remarks.append(f"{len(files)} files, {size / 1024:.0f} KiB, redaction profile strict")
        with self.account.step("fleetmdm, ssh-keygen and sha256sum accept the pack"):
            verify_ours(self.pack, allowed)
            for name in ("manifest", "sums"):
                ssh_keygen_verify(self.pack, allowed, name)
            run("sha256sum", "--quiet", "-c", "SHA256SUMS", cwd=self.pack)
        with self.account.step("a byte flipped in any file is refused") as remarks:
            remarks.append(
                every_flip_is_refused(
                    self.pack, self.folder, allowed, verify_ours, ssh_keygen_verify
                )
            )


def hosts_file(hosts: list[Host]) -> str:
    """The collect inventory: each host carries the root below which its exporter reads."""
    rows = [
        f"- name: {host.name}\n  address: 127.0.0.1\n  port: {host.port}\n"
        f"  user: {getpass.getuser()}\n  root: {host.root}\n  device_id: {host.name}\n"
        for host in hosts
    ]
    return "---\n" + "".join(rows)


def verify_ours(pack: Path, allowed: Path, expect: tuple[int, ...] = (0,)) -> None:
    """`fleetmdm evidence verify`, trusting only the given file of allowed signers."""
    run(
        FLEETMDM,
        "evidence",
        "verify",
        pack,
        "--allowed-signers",
        allowed,
        "--signer",
        PRINCIPAL,
        expect=expect,
    )


def ssh_keygen_verify(pack: Path, allowed: Path, name: str, expect: tuple[int, ...] = (0,)) -> None:
    """Stock `ssh-keygen -Y verify` over manifest.json ("manifest") or SHA256SUMS ("sums")."""
    (signature,) = (pack / "signatures").glob(f"*.{name}.sshsig")
    signed = pack / {"manifest": "manifest.json", "sums": "SHA256SUMS"}[name]
    words = ("-Y", "verify", "-f", allowed, "-I", PRINCIPAL, "-n", NAMESPACE, "-s", signature)
    run("ssh-keygen", *words, stdin=signed.read_bytes(), expect=expect)


def wait_for_agent(socket: Path, agent: subprocess.Popen[bytes], timeout_s: float = 10) -> None:
    """Wait until the agent answers and is healthy; its own log says why if it ends instead."""
    deadline = time.monotonic() + timeout_s
    words = [str(CLIENT), "health", "--socket", str(socket)]
    while agent.poll() is None and time.monotonic() < deadline:
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise DemoFailedError(f"the agent does not answer on {socket}")


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, from Linux's /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] + [
        below for child in children for below in descendants(int(child))
    ]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process by SIGTERM, and be sure of it."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def without_ssh(folder: Path, account: Account, lacking: list[str]) -> int:
    """The part that needs no system package: inventory, policies and report of this machine."""
    print(f"missing: {', '.join(lacking)} (Debian: openssh-client, openssh-server, coreutils)")
    print("running only what needs none of them\n")
    db = folder / "fleet.db"
    with account.step("inventory of this machine, policies, check") as remarks:
        exporter = folder / "exporter.py"
        exporter.write_text(run(FLEETMDM, "export-collector", "linux"))
        here = run(sys.executable, exporter, "--device-id", "this-machine")
        (folder / "here.json").write_text(here)
        run(FLEETMDM, "init", "--db", db)
        run(FLEETMDM, "ingest", folder / "here.json", "--db", db)
        run(FLEETMDM, "policy", "add", "--library", "all", "--db", db)
        run(FLEETMDM, "check", "--db", db)
        remarks.append(run(FLEETMDM, "report", "--db", db))
    print("not shown: the agent, collection over SSH, drift, signed evidence")
    return UNAVAILABLE


def on_terminate(_signal: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that everything started is stopped and removed."""
    raise KeyboardInterrupt


def main() -> int:
    """Run every step in a temporary folder that is removed at the end."""
    signal.signal(signal.SIGTERM, on_terminate)
    account = Account()
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    lacking = [name for name in NEEDED if shutil.which(name, path=path) is None]
    with tempfile.TemporaryDirectory(prefix="fleet-demo-") as name, ExitStack() as stack:
        if lacking:
            return without_ssh(Path(name), account, lacking)
        demo = Demo(Path(name), account, stack)
        try:
            for act in (
                demo.start_agent,
                demo.start_hosts,
                demo.first_check,
                demo.drift,
                demo.evidence,
            ):
                act()
        except DemoFailedError as error:
            print(f"\ndemo failed: {error}", file=sys.stderr)
            return 1
    print(f"\nall of it held, in {account.total_s():.1f} s; the temporary folder is removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
