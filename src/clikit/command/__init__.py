"""What every command shares: its standard options, where its data goes, and how it ends.

stdout carries data, stderr carries talk. In JSON mode exactly one document reaches stdout, also
for a usage error. Only `run` chooses an exit status.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import click

from clikit.command.streams import ClosedOutputError, prepare_streams
from clikit.command.wanted import wanted_format
from clikit.envelope import failed, render_json, success
from clikit.envelope import found as found_document
from clikit.errors import Exit, Failure
from clikit.output import FULL, atomic_file, write_failure
from clikit.progress import Progress
from clikit.table import show_text

_SPOOL_BYTES = 8 * 1024 * 1024
"""A document up to this size waits in memory until it is complete; a longer one on disk."""

BROKEN_PIPE = 141
"""128 + SIGPIPE, what a shell reports for a program whose reader went away."""


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
            self._write((render_json(document),))
        else:
            self._write(text())
        if found is not None:
            raise Found(found)

    def emit_chunks(self, chunks: Iterable[str], *, found: Failure | None = None) -> None:
        """A result in a format of its own (csv, sarif, ...), written as it is."""
        self._write(chunks)
        if found is not None:
            raise Found(found)

    def note(self, message: str) -> None:
        """Talk for a person, on stderr; silent under --quiet."""
        if not self.quiet:
            self.stderr.write(show_text(message) + "\n")

    def progress(self, label: str, total: int | None = None) -> Progress:
        """Progress of long work; draws only on a terminal and not under --quiet."""
        enabled = self.stderr.isatty() and not self.quiet
        return Progress(label, total, self.stderr, enabled=enabled)

    def _write(self, chunks: Iterable[str]) -> None:
        if self.output is not None:
            with atomic_file(self.output, mode=0o644) as file:
                for chunk in chunks:
                    file.write(chunk.encode(errors="backslashreplace"))
            return
        with tempfile.SpooledTemporaryFile(
            _SPOOL_BYTES, "w+", encoding="utf-8", errors="backslashreplace", newline=""
        ) as spool:
            for chunk in chunks:
                spool.write(chunk)
            spool.seek(0)
            _OUTPUT.has_begun = True
            shutil.copyfileobj(spool, self.stdout)
        self.stdout.flush()


class _Output:
    """Where the result of this run stands: once it is on its way out, nothing else may follow."""

    has_begun = False
    preferred: Callable[[Sequence[str]], str] = staticmethod(lambda _argv: "")

    def is_json(self, argv: Sequence[str]) -> bool:
        """Whether a failure is to be told in JSON."""
        return (wanted_format(argv) or self.preferred(argv)) == "json"


_OUTPUT = _Output()


class Found(Exception):  # noqa: N818 - not an error: the work was done
    """Raised after the data is out, to end the command with the status of what was found."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


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


def run(
    group: click.Command,
    argv: Sequence[str],
    *,
    prog: str,
    failure: type[Failure],
    translate: Callable[[Exception], Failure | None] = lambda _error: None,
    preferred: Callable[[Sequence[str]], str] = lambda _argv: "",
) -> int:
    """Run a command line and answer its exit status; nothing but `SystemExit` is left to escape.

    `translate` turns a foreign exception into a `Failure`, or None if it is a bug of ours.
    `preferred` tells which format settings choose where the words name none.
    """
    prepare_streams()
    _OUTPUT.preferred = preferred
    status = _run(group, argv, prog, failure, translate)
    try:
        sys.stdout.flush()
    except ClosedOutputError:
        return status
    except BrokenPipeError:
        return _drop_output(BROKEN_PIPE)
    except OSError as error:
        return _drop_output(_fail(_as_failure(error, (), failure), (), prog))
    return status


def _run(
    group: click.Command,
    argv: Sequence[str],
    prog: str,
    failure: type[Failure],
    translate: Callable[[Exception], Failure | None],
) -> int:
    streams = sys.stdout, sys.stderr
    _OUTPUT.has_begun = False
    try:
        try:
            group.main(args=list(argv), prog_name=prog, standalone_mode=False)
        except (Failure, Found, click.exceptions.Exit, click.Abort):
            raise
        except click.ClickException as error:
            raise failure("usage", error.format_message(), hint=_usage_hint(error, prog)) from error
        except BrokenPipeError:
            raise
        except SystemExit:
            # click wraps the streams and exits with 1 when the reader is gone; 1 is a finding here.
            if sys.stdout is streams[0]:
                raise
            sys.stdout, sys.stderr = streams
            raise BrokenPipeError from None
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            raise known from error
    except Exception as error:  # noqa: BLE001 - the one border where every end becomes a status
        return _end(error, argv, prog, failure)
    except KeyboardInterrupt:
        return _fail(failure("interrupted", "interrupted"), argv, prog)
    return Exit.OK


def _end(error: Exception, argv: Sequence[str], prog: str, failure: type[Failure]) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, Found):
        _say(error.failure, prog)
        return error.failure.exit_status
    if isinstance(error, click.Abort):
        return _fail(failure("interrupted", "interrupted"), argv, prog)
    if isinstance(error, BrokenPipeError):
        return _drop_output(BROKEN_PIPE)
    return _fail(_as_failure(error, argv, failure), argv, prog)


def _as_failure(error: Exception, argv: Sequence[str], failure: type[Failure]) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, ClosedOutputError):
        return failure("output_failed", "stdout is closed", hint="nothing can take the result")
    if isinstance(error, UnicodeEncodeError):
        hint = "use a UTF-8 locale, such as LC_ALL=C.UTF-8"
        return failure("usage", f"not UTF-8: {show_text(error.object)[:80]}", hint=hint)
    if isinstance(error, OSError) and error.errno in FULL:
        return write_failure(Path(error.filename or "output"), error)
    if "--debug" in argv:
        import traceback

        traceback.print_exception(error)
    hint = "run it again with --debug and report what it prints"
    return failure("internal", f"{type(error).__name__}: {error}", hint=hint)


def _fail(error: Failure, argv: Sequence[str], prog: str) -> int:
    _say(error, prog)
    if _OUTPUT.is_json(argv) and not _OUTPUT.has_begun:
        try:
            sys.stdout.write(render_json(failed(error)))
            sys.stdout.flush()
        except BrokenPipeError:
            return _drop_output(BROKEN_PIPE)
        except OSError:
            return _drop_output(error.exit_status)
    return error.exit_status


def _drop_output(status: int) -> int:
    """Let go of what stdout does not take: Python would complain again when it flushes at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _say(error: Failure, prog: str) -> None:
    hint = f"  hint: {show_lines(error.hint)}\n" if error.hint else ""
    sys.stderr.write(f"{prog}: {show_lines(error.message)}\n{hint}")


def show_lines(text: str) -> str:
    """`show_text`, but line breaks stay; indented, so that no text can pass for a line of ours."""
    return "\n  ".join(show_text(line) for line in text.split("\n"))


def _usage_hint(error: click.ClickException, prog: str) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else prog
    return f"see `{path} --help`"
