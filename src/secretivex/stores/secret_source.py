"""Where a PIN or a passphrase comes from: a variable, a file, a program, a person, the keyring.

Rule for editors: a secret is read when it is needed and not before, is never logged, and stands in
no argument and in no child's environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from secretivex.stores.token.askpass import ask
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.tools import find_tools

COMMAND_S = 60.0
"""How long a program may take to print a secret; some of them ask a person."""

MAX_SECRET_BYTES = 4096


@dataclass(frozen=True, slots=True)
class SecretSource:
    """Sources in the order in which they are tried; `secrets` are the values of named variables."""

    env: str = ""
    file: str = ""
    command: tuple[str, ...] = ()
    keyring: str = ""
    askpass: bool = False
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @classmethod
    def from_table(
        cls, table: Mapping[str, Any], environ: Mapping[str, str], secrets: Mapping[str, bytes]
    ) -> Self:
        """The source that settings name."""
        return cls(
            env=table.get("env") or "",
            file=table.get("file") or "",
            command=tuple(table.get("command") or ()),
            keyring=table.get("keyring") or "",
            askpass=bool(table.get("askpass")),
            environ=environ,
            secrets=secrets,
        )

    @property
    def words(self) -> str:
        """What a person calls it; "" for none."""
        named = (
            (self.env, f"the variable {self.env}"),
            (self.file, f"the file {self.file}"),
            (self.command, f"the program {self.command[0] if self.command else ''}"),
            (self.keyring, "the keyring"),
            (self.askpass, "the person asked"),
        )
        return ", ".join(words for is_set, words in named if is_set)

    def readers(self, prompt: str, account: str) -> tuple[Callable[[], bytes], ...]:
        """One function a source; each raises `TokenError` if it has nothing."""
        rows: tuple[tuple[object, Callable[[], bytes]], ...] = (
            (self.env, lambda: _from_variable(self.env, self.secrets)),
            (self.file, lambda: _from_file(self.file)),
            (self.command, lambda: _from_command(self.command, self.environ)),
            (self.keyring, lambda: _from_keyring(self.keyring, account)),
            (self.askpass, lambda: _from_person(prompt, self.environ)),
        )
        return tuple(read for is_set, read in rows if is_set)

    def read(self, prompt: str, account: str) -> bytes:
        """The secret of the first source that has one; raises `TokenError` of the last."""
        failure = TokenError("pin_required", "no source of the PIN is configured")
        for read in self.readers(prompt, account):
            try:
                return read()
            except TokenError as error:
                failure = error
        raise failure


class RefusedSecrets:
    """Which secrets were refused, as digests under a salt that no file ever holds."""

    def __init__(self, memory: bytes) -> None:
        document = json.loads(memory or b"{}")
        self._salt = bytes.fromhex(document.get("salt", "")) or os.urandom(16)
        self._digests: set[str] = set(document.get("refused", ()))

    def add(self, secret: bytes) -> None:
        """This one was refused."""
        self._digests.add(self._digest(secret))

    def __contains__(self, secret: bytes) -> bool:
        """Whether it was."""
        return self._digest(secret) in self._digests

    def _digest(self, secret: bytes) -> str:
        return hashlib.sha256(self._salt + secret).hexdigest()

    def encode(self) -> bytes:
        """For whoever goes on after this process."""
        return json.dumps({"salt": self._salt.hex(), "refused": sorted(self._digests)}).encode()


def _from_variable(name: str, secrets: Mapping[str, bytes]) -> bytes:
    secret = secrets.get(name)
    if not secret:
        raise TokenError("secret_missing", f"the variable {name} is not set", "set it and restart")
    return secret


def _from_file(path: str) -> bytes:
    """The first line of a file that nobody else can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TokenError("secret_missing", f"{path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TokenError("secret_refused", f"{path} is not a regular file")
        if status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0):
            raise TokenError(
                "secret_refused", f"{path} can be reached by others", f"chmod 600 {path}"
            )
        return _first_line(os.read(descriptor, MAX_SECRET_BYTES + 1), path)
    finally:
        os.close(descriptor)


def _first_line(data: bytes, where: str) -> bytes:
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line or len(line) > MAX_SECRET_BYTES:
        raise TokenError("secret_missing", f"{where} gives no secret in its first line")
    return line


def _from_command(command: tuple[str, ...], environ: Mapping[str, str]) -> bytes:
    """The first line that a program prints; what it says on stderr is thrown away."""
    try:
        process = subprocess.Popen(
            command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise TokenError("secret_missing", f"cannot run {command[0]}: {error.strerror}") from error
    try:
        output, _ = process.communicate(timeout=COMMAND_S)
    except subprocess.TimeoutExpired as error:
        raise TokenError("secret_missing", f"{command[0]} did not end in time") from error
    finally:
        if process.poll() is None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode:
        raise TokenError("secret_missing", f"{command[0]} ended with {process.returncode}")
    return _first_line(output, command[0])


def _from_keyring(service: str, account: str) -> bytes:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        hint = "install the extra [keyring]"
        raise TokenError("missing_extra", "the keyring library is not installed", hint) from error
    try:
        secret = keyring.get_password(service, account)
    except (KeyringError, RuntimeError) as error:
        message = f"the keyring does not open ({type(error).__name__})"
        raise TokenError("secret_missing", message) from error
    if not secret:
        raise TokenError(
            "secret_missing",
            f"the keyring has no secret for {account} of {service}",
            f"keyring set {service} {account}",
        )
    return secret.encode()


def _from_person(prompt: str, environ: Mapping[str, str]) -> bytes:
    return ask(find_tools(environ), prompt, lambda: True)
