"""What every command shares: its standard options, where its data goes, and how it ends.

stdout carries data, stderr carries talk. In JSON mode exactly one document reaches stdout, also
for a usage error and for Ctrl-C. Only `run` chooses an exit status.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TextIO

import click

from clikit.command.ending import OUTPUT, Found, run, show_lines
from clikit.command.interrupts import held_back
from clikit.envelope import found as found_document
from clikit.envelope import render_json, success
from clikit.errors import Exit, Failure
from clikit.output import atomic_file
from clikit.progress import Progress
from clikit.table import show_text

__all__ = ["Call", "Found", "examples", "run", "show_lines", "standard_options"]

_READ_CHARS = 64 * 1024
_SPOOL_CHARS = 4 * 1024 * 1024
"""A document up to this size waits in memory until it is complete; a longer one on disk."""


def examples(*lines: str) -> str:
    """The end of a command's help: examples, each on a line of its own."""
    # click keeps the lines of a paragraph apart that begins with a backspace.
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))


@dataclass(slots=True)
class Call:
    """One command being run: its standard options and the streams that it may use."""

    format: str = "table"
    output: Path | None = None
    quiet: bool = False
    debug: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def width(self) -> int | None:
        """Columns of the terminal that tables must fit; None in a pipe or a file."""
        if self.output is not None or not self.stdout.isatty():
            return None
        import shutil  # for a terminal only: it brings every compressor with it

        return shutil.get_terminal_size().columns

    def emit(
        self,
        data: Any,
        text: Callable[[], Iterable[str]],
        *,
        found: Failure | None = None,
    ) -> None:
        """The command's result: the envelope in JSON mode, else what `text` gives.

        `found` says that the work was done and something is wrong; it sets the exit status.
        """
        if self.format == "json":
            document = success(data) if found is None else found_document(data, found)
            chunks: Iterable[str] = (render_json(document),)
        else:
            chunks = text()
        self._write(chunks, Exit.OK if found is None else found.exit_status)
        if found is not None:
            raise Found(found)

    def emit_chunks(
        self, chunks: Iterable[str], *, found: Failure | None = None, more: bool = False
    ) -> None:
        """A result in a format of its own (csv, sarif, ...), written as it is.

        `more` says that it is not whole yet: the command goes on writing to `stdout`.
        """
        whole = Exit.OK if found is None else found.exit_status
        self._write(chunks, None if more else whole)
        if found is not None:
            raise Found(found)

    def note(self, message: str) -> None:
        """Talk for a person, on stderr; silent under --quiet."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                self.stderr.write(show_text(message) + "\n")

    def progress(self, label: str, total: int | None = None) -> Progress:
        """Progress of long work; draws only on a terminal and not under --quiet."""
        enabled = self.stderr.isatty() and not self.quiet
        return Progress(label, total, self.stderr, enabled=enabled)

    def _write(self, chunks: Iterable[str], status: Exit | None) -> None:
        if self.output is not None:
            with atomic_file(self.output, mode=0o644) as file:
                for chunk in chunks:
                    file.write(chunk.encode(errors="backslashreplace"))
            OUTPUT.told = status
            return
        with contextlib.ExitStack() as stack:
            spool = _spool(chunks, stack)
            spool.seek(0)
            with held_back():
                OUTPUT.has_begun = True
                while text := spool.read(_READ_CHARS):
                    self.stdout.write(text)
                self.stdout.flush()
                OUTPUT.told = status


def _spool(chunks: Iterable[str], stack: contextlib.ExitStack) -> IO[str]:
    """All of a document: in memory if it is short, which needs nothing imported, else on disk."""
    rest, kept = iter(chunks), 0
    short = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", newline="")
    for chunk in rest:
        short.write(chunk)
        kept += len(chunk)
        if kept > _SPOOL_CHARS:
            break
    else:
        return short
    import tempfile

    long = stack.enter_context(
        tempfile.TemporaryFile(  # noqa: SIM115 - the stack closes it
            "w+", encoding="utf-8", errors="backslashreplace", newline=""
        )
    )
    short.seek(0)
    long.write(short.read())
    long.writelines(rest)
    return long


def standard_options(
    formats: Sequence[str] = ("table", "json"),
    call_type: type[Call] = Call,
    *,
    output: tuple[str, str] = ("FILE", "Write the result to FILE, whole or not at all."),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add --format, --output, --quiet and --debug; the command gets a `call` as first argument.

    `output` is the placeholder and the help of --output.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def command(**options: Any) -> Any:
            chosen = options.pop("format")
            call = call_type(
                format="table" if chosen == "text" and "table" in formats else chosen,
                output=options.pop("output"),
                quiet=options.pop("quiet"),
                debug=options.pop("debug"),
            )
            return function(call, **options)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
        for option in _standard(formats, output):
            option(command)
        return command

    return decorate


def _standard(formats: Sequence[str], output: tuple[str, str]) -> Iterable[Callable[..., Any]]:
    choices = [*formats, *(["text"] if "table" in formats else [])]
    return (
        click.option("--debug", is_flag=True, help="Show tracebacks and debug logs."),
        click.option("--quiet", "-q", is_flag=True, help="Say nothing on stderr but errors."),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            metavar=output[0],
            help=output[1],
        ),
        click.option(
            "--format",
            type=click.Choice(choices, case_sensitive=False),
            default=formats[0],
            show_default=True,
            help="How the result is written.",
        ),
    )
