"""The three options that choose one key of the agent: by blob, by fingerprint, by comment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from secretivex.cli.client.keys import (
    ListedKey,
    find_by_blob,
    find_by_comment,
    find_by_fingerprint,
    fingerprint_hint,
    the_one,
)
from secretivex.errors import SecretiveError


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """What the command line says of the key that is meant."""

    key: str | None
    fingerprint: str | None
    comment: str | None

    @property
    def is_made(self) -> bool:
        """Whether any of the three was given."""
        return any(given is not None for given in (self.key, self.fingerprint, self.comment))

    def check(self) -> None:
        """Raise `usage` unless exactly one was given."""
        given = (self.key, self.fingerprint, self.comment)
        if sum(one is not None for one in given) != 1:
            message = "exactly one of --key, --fingerprint and --comment is needed"
            raise SecretiveError("usage", message)

    def find(self, keys: list[ListedKey]) -> ListedKey:
        """The key that is meant; raises `key_not_found` or `key_ambiguous`."""
        if self.key is not None:
            return the_one(find_by_blob(keys, self.key), wanted="this blob")
        if self.fingerprint is not None:
            found = find_by_fingerprint(keys, self.fingerprint)
            wanted = f"fingerprint {self.fingerprint}"
            return the_one(found, wanted=wanted, hint=fingerprint_hint(self.fingerprint))
        return the_one(
            find_by_comment(keys, self.comment or ""), wanted=f"comment {self.comment!r}"
        )


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --key, --fingerprint and --comment; the command gets a `KeyChoice` as `choice`."""

    def command(
        *arguments: Any,
        key: str | None,
        fingerprint: str | None,
        comment: str | None,
        **options: Any,
    ) -> Any:
        return function(*arguments, choice=KeyChoice(key, fingerprint, comment), **options)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
    for option in (
        click.option("--comment", metavar="TEXT", help="The key by its comment."),
        click.option(
            "--fingerprint", metavar="HASH", help="The key by its fingerprint, SHA256:..."
        ),
        click.option("--key", metavar="BLOB", help="The key by its blob, in hex or base64."),
    ):
        option(command)
    return command
