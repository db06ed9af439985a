"""What every FleetMDM command starts with: its options, its settings, its store and the time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clikit import logs
from clikit.command import Call, standard_options
from clikit.config.file import Syntax
from clikit.errors import Exit
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for their names alone: a command that needs no store must not load one.
    from clikit.config import Resolved
    from fleetmdm.store.port import FleetStore

CONFIG_NAMES = ("config.yaml", "config.toml")
_SYNTAXES: dict[str, Syntax] = {".toml": "toml", ".json": "json"}


@dataclass(slots=True)
class FleetCall(Call):
    """A FleetMDM command being run."""

    db: Path | None = None
    config: Path | None = None
    _resolved: Resolved | None = None

    def setting(self, key: str, flag: Any = None) -> Any:
        """A setting's effective value; a flag that was given wins."""
        return flag if flag is not None else self.settings().get_value(key)

    def settings(self) -> Resolved:
        """Every effective setting with its origin."""
        if self._resolved is None:
            self._resolved = load_settings(self.config, self.environ, {"db": _text(self.db)})
        return self._resolved

    def store_path(self) -> Path:
        """Where the fleet is kept."""
        return Path(os.path.expandvars(self.setting("db"))).expanduser()

    @contextmanager
    def open_store(self, *, create: bool = False) -> Iterator[FleetStore]:
        """The fleet's store; without `create`, a missing one is `database_not_found`."""
        from fleetmdm.store.sqlite import open_store

        store = open_store(self.store_path(), create=create, now=self.now())
        try:
            yield store
        finally:
            store.close()

    def now(self) -> datetime:
        """The one reading of the clock that a command works with."""
        return datetime.now(UTC)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def load_settings(
    named: Path | None, environ: dict[str, str] | Any, flags: dict[str, Any]
) -> Resolved:
    """Settings from flags, environment and the configuration file; strict."""
    from clikit.config import resolve
    from fleetmdm.config import ENV_PREFIX, SETTINGS

    path = config_path(named, environ)
    file = read_config(path) if path is not None else None
    return resolve(SETTINGS, flags=flags, environ=environ, env_prefix=ENV_PREFIX, file=file)


def config_path(named: Path | None, environ: dict[str, str] | Any) -> Path | None:
    """The configuration file in force: named ones must exist, the user's own may."""
    if named is None and environ.get("FLEETMDM_CONFIG"):
        named = Path(environ["FLEETMDM_CONFIG"])
    if named is not None:
        if not named.is_file():
            raise FleetError(
                "config_not_found",
                f"no such configuration file: {named}",
                hint="check --config and FLEETMDM_CONFIG",
            )
        return named
    home = Path(environ.get("HOME", "~")).expanduser()
    xdg = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    candidates = [
        folder / name for folder in (home / ".fleetmdm", xdg / "fleetmdm") for name in CONFIG_NAMES
    ]
    return next((path for path in candidates if path.is_file()), None)


def read_config(path: Path) -> Any:
    """A file of settings, its syntax by its name; raises `config_not_found` and `config_invalid`."""
    from clikit.config import parse_config

    syntax = _SYNTAXES.get(path.suffix, "yaml")
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FleetError("config_not_found", f"no such configuration file: {path}") from error
    except OSError as error:
        raise FleetError(
            "config_invalid", f"cannot read {path}: {error.strerror}", hint="check its permissions"
        ) from error
    return parse_config(data, name=str(path), syntax=syntax)


def fleet_options(
    formats: Sequence[str] = ("table", "json"), **options: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every FleetMDM command has; the command gets a `FleetCall` first.

    `options` are those of `standard_options`.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(call: FleetCall, **options: Any) -> Any:
            call.db = options.pop("db")
            call.config = options.pop("config")
            level = "debug" if call.debug else "error" if call.quiet else "warning"
            logs.configure(level=level, format="text", stream=call.stderr)
            try:
                return function(call, **options)
            except FleetError as failure:
                if failure.exit_status is not Exit.NOT_FOUND:
                    raise
                from fleetmdm.cli.suggest import with_suggestion

                raise with_suggestion(call.open_store, failure) from failure.__cause__

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
        path = click.Path(path_type=Path)
        click.option("--config", type=path, metavar="FILE", help="Settings file.")(command)
        click.option(
            "--db", type=path, metavar="PATH", help="Database of the fleet [~/.fleetmdm/fleet.db]."
        )(command)
        return standard_options(formats, FleetCall, **options)(command)

    return decorate
