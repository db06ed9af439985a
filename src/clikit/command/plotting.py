"""`--plot FILE`: which names it takes, and how the picture gets there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from clikit.command import Call
from clikit.errors import Failure
from clikit.output import write_atomic

SUFFIXES: Final = (".svg", ".png")


def plot_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --plot FILE; `what` says what is drawn."""
    return click.option(
        "--plot",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Also draw {what}, as .svg or .png.",
    )


def check_plot(path: Path, *, output: Path | None = None) -> None:
    """Raise before the work what would only be found after it: `usage` or `missing_extra`.

    `output` is where the command's result goes; the picture cannot go there too.
    """
    from clikit.plot import drawing_library

    if path.suffix not in SUFFIXES:
        message = f"--plot {path}: the name must end in {' or '.join(SUFFIXES)}"
        raise Failure("usage", message)
    if output is not None and path.absolute() == output.absolute():
        raise Failure("usage", f"--plot and --output both name {path}")
    drawing_library()


def write_plot(call: Call, path: Path, picture: bytes) -> None:
    """Keep the picture, whole or not at all, and say so."""
    write_atomic(path, [picture], mode=0o644)
    call.note(f"drawn: {path}")
