"""Remake the vectors of `agent` and `sshsig` with OpenSSH's own tools (Debian 12: OpenSSH 9.2p1).

usage: make_agent_vectors.py [FOLDER]

Standard library only, so that the vectors owe nothing to the code they test. A relay stands before
a real ssh-agent and keeps what the tools ask and what the agent answers; the keys are thrown away.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEYS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa521": ["-t", "ecdsa", "-b", "521"],
    "rsa2048": ["-t", "rsa", "-b", "2048"],
}
Words = list["str | Path"]
NOW = "20260601000000Z"
RAW = {
    "list-with-trailing-bytes": ("ok", b"\x0bmore"),
    "query": ("ok", b"\x1b\0\0\0\x05query"),
    "unknown-extension": ("ok", b"\x1b\0\0\0\x05x@y.z"),
    "session-bind-garbage": ("ok", b"\x1b\0\0\0\x18session-bind@openssh.comgarbage"),
    "unknown-number": ("ok", b"\xc8"),
    "ssh1-list": ("ok", b"\x01"),
    "ssh1-remove-all": ("ok", b"\x09"),
    "sign-unknown-key": ("ok", b"\x0d\0\0\0\x01k\0\0\0\x01d\0\0\0\0"),
    "sign-truncated": ("truncated", b"\x0d\0\0\0\x01k\0\0\0\x05d"),
    "remove-unknown-key": ("ok", b"\x12\0\0\0\x01k"),
    "remove-truncated": ("truncated", b"\x12\0\0\0\x09k"),
    "unlock-when-unlocked": ("ok", b"\x17\0\0\0\x01p"),
    "lock-with-nothing": ("ok", b"\x16\0\0\0\0"),
    "add-unknown-type": ("unsupported", b"\x11\0\0\0\x03new\0\0\0\0"),
    "smartcard-unknown-constraint": ("unsupported", b"\x1a\0\0\0\x02/p\0\0\0\0\x03\0\0\0\x01"),
}


def run(*command: str | Path, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """One tool; some are expected to fail."""
    return subprocess.run(
        [str(word) for word in command],
        input=stdin,
        env={**os.environ, "TZ": "UTC", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write(path: Path, headers: dict[str, str], payload: str) -> None:
    """A block of headers, an empty line, the payload."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "".join(f"{name}: {value}\n" for name, value in headers.items())
    path.write_text(f"{head}\n{payload}")


class Relay:
    """Stands before the agent and keeps pairs of request and reply."""

    def __init__(self, address: str, upstream: str) -> None:
        self.address, self._upstream = address, upstream
        self.pairs: list[tuple[bytes, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client, socket.socket(socket.AF_UNIX) as agent, suppress(OSError, struct.error):
                agent.connect(self._upstream)
                while True:
                    request = read_frame(client)
                    agent.sendall(struct.pack(">I", len(request)) + request)
                    reply = read_frame(agent)
                    self.pairs.append((request, reply))
                    client.sendall(struct.pack(">I", len(reply)) + reply)


def read_frame(stream: socket.socket) -> bytes:
    """One payload; a struct.error at the end of the stream."""
    (length,) = struct.unpack(">I", stream.recv(4, socket.MSG_WAITALL))
    return stream.recv(length, socket.MSG_WAITALL)


def record(out: Path, work: Path, relay: Relay) -> None:
    """What OpenSSH's tools say to an agent, and what it says to bytes of our own."""
    askpass = work / "askpass"
    askpass.write_text("#!/bin/sh\necho passphrase\n")
    askpass.chmod(0o700)
    environ = {
        "SSH_AUTH_SOCK": relay.address,
        "SSH_ASKPASS": str(askpass),
        "SSH_ASKPASS_REQUIRE": "force",
    }

    def keep(name: str, *command: str | Path) -> None:
        before = len(relay.pairs)
        run(*command, stdin="message", **environ)
        for index, (request, reply) in enumerate(relay.pairs[before:]):
            made = " ".join(Path(word).name if "/" in str(word) else str(word) for word in command)
            suffix = f"-{index + 1}" if index else ""
            write(
                out / f"{name}{suffix}.txt",
                {"outcome": "ok", "made-by": made},
                f"> {request.hex()}\n< {reply.hex()}\n",
            )

    for name in KEYS:
        keep(f"add-{name}", "ssh-add", "-q", work / name)
    keep("add-constrained", "ssh-add", "-q", "-c", "-t", "3600", work / "ed25519")
    known_hosts: Words = ["-H", work / "known_hosts"]
    destination = ["-h", "user@host.example", "-h", "host.example>other.example"]
    keep("add-restricted", "ssh-add", "-q", *known_hosts, *destination, work / "ecdsa256")
    keep("add-certificate", "ssh-add", "-q", work / "certified")
    keep("list", "ssh-add", "-l")
    keep("sign", "ssh-keygen", "-Y", "sign", "-f", work / "rsa2048.pub", "-n", "file")
    keep("smartcard", "ssh-add", "-q", "-s", "/nonexistent.so")
    keep("lock", "ssh-add", "-x")
    keep("list-when-locked", "ssh-add", "-l")
    keep("unlock", "ssh-add", "-X")
    keep("remove", "ssh-add", "-q", "-d", work / "ecdsa384")
    keep("remove-all", "ssh-add", "-q", "-D")
    for name, (outcome, request) in RAW.items():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(relay.address)
            client.sendall(struct.pack(">I", len(request)) + request)
            reply = read_frame(client)
        headers = {"outcome": outcome, "made-by": "these bytes, sent to ssh-agent"}
        write(out / f"raw-{name}.txt", headers, f"> {request.hex()}\n< {reply.hex()}\n")


def sign(out: Path, work: Path, agent: str) -> None:
    """Signatures of `ssh-keygen -Y sign`, each tried with `ssh-keygen -Y verify` first."""

    def vector(
        name: str,
        outcome: str,
        key: str,
        *,
        options: str = "",
        hash_name: str = "sha512",
        namespace: str = "file",
        signed: str = "a message",
        edit: tuple[str, str] = ("", ""),
        listed: str = "",
    ) -> None:
        command: Words = ["ssh-keygen", "-Y", "sign", "-f", work / f"{key}.pub", "-n", namespace]
        command += ["-O", f"hashalg={hash_name}"]
        armored = run(*command, stdin=signed, SSH_AUTH_SOCK=agent).stdout.replace(*edit)
        public = (work / f"{listed or key}.pub").read_text().rsplit(" ", 1)[0]
        allowed = f"me@example.org {options} {public}".replace("  ", " ")
        (work / "allowed").write_text(allowed + "\n")
        (work / "signature").write_text(armored)
        verify: Words = [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            work / "allowed",
            "-I",
            "me@example.org",
        ]
        verify += ["-n", "file", "-s", work / "signature", "-O", f"verify-time={NOW}"]
        accepted = run(*verify, stdin="a message").returncode == 0
        if accepted != (outcome == "ok"):
            sys.exit(f"{name}: ssh-keygen accepts it: {accepted}")
        made = f"ssh-keygen -Y sign -f {key}.pub -n {namespace} -O hashalg={hash_name}"
        if edit[0]:
            made += f", then {edit[0]!r} made {edit[1]!r}"
        headers = {"outcome": outcome, "made-by": made, "now": NOW, "allowed": allowed}
        write(out / f"{name}.txt", headers, armored)

    for name in KEYS:
        for hash_name in ("sha256", "sha512"):
            vector(f"{name}-{hash_name}", "ok", name, hash_name=hash_name)
    limits = 'namespaces="fi*",valid-after="20260601Z",valid-before="20260602Z"'
    vector("within-limits", "ok", "ed25519", options=limits)
    vector("certified", "ok", "certified-cert", options="cert-authority", listed="ecdsa521")
    vector("other-message", "signature_invalid", "ed25519", signed="other")
    vector("other-namespace", "wrong_namespace", "ed25519", namespace="git")
    vector("unknown-signer", "unknown_signer", "ed25519", listed="ecdsa256")
    vector(
        "unknown-authority",
        "unknown_signer",
        "certified-cert",
        options="cert-authority",
        listed="ecdsa256",
    )
    vector("not-an-authority", "unknown_signer", "certified-cert", listed="ecdsa521")
    vector("namespace-not-allowed", "namespace_not_allowed", "ed25519", options='namespaces="git"')
    vector("expired", "key_expired", "ed25519", options='valid-before="20260531Z"')
    vector("not-yet-valid", "key_not_yet_valid", "ed25519", options='valid-after="20260602Z"')
    vector("indented", "bad_armor", "ed25519", edit=("-----BEGIN", " -----BEGIN"))
    vector("not-base64", "bad_armor", "ed25519", edit=("U1NI", "U1N-"))
    vector("other-magic", "bad_armor", "ed25519", edit=("U1NIU0lH", "U1NIU0lX"))
    vector("later-version", "unsupported", "ed25519", edit=("U1NIU0lHAAAAAQ", "U1NIU0lHAAAAAg"))


def main() -> None:
    """Make everything anew."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "vectors"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name, options in KEYS.items():
            run("ssh-keygen", "-q", *options, "-N", "", "-C", name, "-f", work / name)
        shutil.copy(work / "ed25519", work / "certified")
        shutil.copy(work / "ed25519.pub", work / "certified.pub")
        certify: Words = ["-s", work / "ecdsa521", "-I", "id", "-n", "me@example.org"]
        run("ssh-keygen", "-q", *certify, work / "certified.pub")
        hosts = zip(("host.example", "other.example"), ("ecdsa384", "rsa2048"), strict=True)
        lines = [f"{host} {(work / f'{key}.pub').read_text()}" for host, key in hosts]
        (work / "known_hosts").write_text("".join(lines))
        upstream = str(work / "agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", upstream], stdout=subprocess.DEVNULL)
        try:
            while not Path(upstream).exists():
                time.sleep(0.01)
            for kind in ("agent", "sshsig"):
                shutil.rmtree(out / kind, ignore_errors=True)
            record(out / "agent", work, Relay(str(work / "relay"), upstream))
            for name in (*KEYS, "certified"):
                run("ssh-add", "-q", work / name, SSH_AUTH_SOCK=upstream)
            sign(out / "sshsig", work, upstream)
        finally:
            agent.terminate()
            agent.wait()


if __name__ == "__main__":
    main()
