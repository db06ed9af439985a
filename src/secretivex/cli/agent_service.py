"""`secretive-agent install`, `uninstall` and `status`: the agent as a service of this system."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from clikit.command import Call, standard_options
from secretivex.cli.agent_options import usable_cores
from secretivex.config.settings import ENV_PREFIX
from secretivex.config.source import load_file
from secretivex.errors import SecretiveError
from secretivex.loading import load_setup
from secretivex.service.manage import ServiceManager, find_manager

_user_option = click.option(
    "--system-user",
    "user",
    metavar="NAME",
    help="Use the system's manager, for user NAME; takes root. Linux only.",
)


def _manager(call: Call, user: str | None) -> ServiceManager:
    return find_manager(call.environ, user=user)


@click.command("install")
@standard_options(formats=("text", "json"))
@_user_option
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file that the service uses.",
)
@click.option("--start/--no-start", default=True, show_default=True, help="Start it now too.")
def install(call: Call, *, user: str | None, config: Path | None, start: bool) -> None:
    """Install the agent as a service: systemd on Linux, launchd on macOS, a service of Windows.

    Doing it again renews the files. A file of the same name that this command did not write is left
    alone, with exit 6. A configuration that the agent would not start with is exit 3.
    """
    command = [str(program_path()), "run"]
    if config is not None:
        config = config.resolve()
        if "$" in str(config):
            # `run --config` would take what follows it for a variable.
            raise SecretiveError("usage", f"--config: {config} has a $ in it", hint="move the file")
        command += ["--config", str(config)]
    manager = _manager(call, user)
    _check_config(call, config, user)
    files = manager.install(command, start=start)
    call.emit({"files": files}, lambda: [f"wrote {name}\n" for name in files])


def _check_config(call: Call, config: Path | None, user: str | None) -> None:
    """Refuse what the service would end with: it gets no SECRETIVE_* of this terminal."""
    kept = {name: value for name, value in call.environ.items() if not name.startswith(ENV_PREFIX)}
    user_id = None
    if user is not None:
        import pwd  # not on Windows

        try:
            known = pwd.getpwnam(user)
        except KeyError:
            return  # the manager says so
        user_id = known.pw_uid
        kept = {"HOME": known.pw_dir}
    setup = load_setup(
        config,
        flags={},
        environ=kept,
        cores=usable_cores(),
        base=Path.cwd(),
        load=partial(load_file, user=user_id),
    )
    for warning in setup.config.warnings:
        call.note(f"warning: {warning}")


@click.command("uninstall")
@standard_options(formats=("text", "json"))
@_user_option
def uninstall(call: Call, *, user: str | None) -> None:
    """Stop the service and remove what `install` wrote."""
    files = _manager(call, user).uninstall()
    lines = [f"removed {name}\n" for name in files] or ["nothing was installed\n"]
    call.emit({"files": files}, lambda: lines)


@click.command("status")
@standard_options(formats=("text", "json"))
@_user_option
def status(call: Call, *, user: str | None) -> None:
    """Tell whether the service is installed and runs; exit 1 if it does not."""
    state = _manager(call, user).status()
    found = (
        None
        if state.is_running
        else SecretiveError("unhealthy", f"not running: {state.said}", hint=state.hint)
    )
    installed = "installed" if state.files else "not installed"
    text = f"{state.manager}: {installed}; {state.said}\n"
    call.emit(asdict(state), lambda: [text], found=found)


def program_path() -> Path:
    """The `secretive-agent` program that was run, else the one beside the interpreter."""
    name = "secretive-agent.exe" if sys.platform == "win32" else "secretive-agent"
    # A user's installation may have its program far from the interpreter; links to it stay links,
    # for what they lead to changes with an upgrade.
    called = Path(sys.argv[0]).absolute()
    beside = Path(sys.executable).with_name(name)
    candidates: list[Path] = [called.with_name(name)] if called.stem == "secretive-agent" else []
    for path in (*candidates, beside):
        if path.is_file():
            return path
    raise SecretiveError(
        "service_failed",
        f"{beside} does not exist",
        hint="install the package, so that the service has a program to start",
    )
