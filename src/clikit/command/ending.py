"""How a command line is run, and how whatever happens becomes an exit status.

Rule for editors: `run` is the one border; a failure is told once, in JSON only while nothing else is
on its way out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import click

from clikit.command.interrupts import again_where_lost, held_back
from clikit.command.streams import ClosedOutputError, prepare_streams
from clikit.command.wanted import wanted_format
from clikit.envelope import failed, render_json
from clikit.errors import Exit, Failure
from clikit.output import FULL, write_failure
from clikit.table import show_text

BROKEN_PIPE = 141
"""128 + SIGPIPE, what a shell reports for a program whose reader went away."""


class Output:
    """Where the result of this run stands: once it is on its way out, nothing else may follow."""

    has_begun = False
    told: Exit | None = None
    """The exit status that goes with a result or a failure that is out whole."""
    preferred: Callable[[Sequence[str]], str] = staticmethod(lambda _argv: "")

    def is_json(self, argv: Sequence[str]) -> bool:
        """Whether a failure is to be told in JSON."""
        return (wanted_format(argv) or self.preferred(argv)) == "json"


OUTPUT = Output()


class Found(Exception):  # noqa: N818 - not an error: the work was done
    """Raised after the data is out, to end the command with the status of what was found."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


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
    with again_where_lost():
        try:
            return _run_whole(group, argv, prog, failure, translate, preferred)
        except KeyboardInterrupt:
            return _interrupted(argv, prog, failure)
        finally:
            _drop_talk()


def _run_whole(
    group: click.Command,
    argv: Sequence[str],
    prog: str,
    failure: type[Failure],
    translate: Callable[[Exception], Failure | None],
    preferred: Callable[[Sequence[str]], str],
) -> int:
    OUTPUT.has_begun, OUTPUT.told = False, None
    OUTPUT.preferred = preferred
    with held_back():  # a stream that was half reconfigured takes nothing any more
        prepare_streams()
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
    return Exit.OK


def _end(error: Exception, argv: Sequence[str], prog: str, failure: type[Failure]) -> int:
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, Found):
        _say(error.failure, prog)
        return error.failure.exit_status
    # Python 3.11 tells of Ctrl-C while a class is made as a RuntimeError.
    if isinstance(error, click.Abort) or isinstance(error.__cause__, KeyboardInterrupt):
        return _interrupted(argv, prog, failure)
    if isinstance(error, BrokenPipeError):
        return _drop_output(BROKEN_PIPE)
    return _fail(_as_failure(error, argv, failure), argv, prog)


def _interrupted(argv: Sequence[str], prog: str, failure: type[Failure]) -> int:
    """What was told before Ctrl-C came stays what it was."""
    if OUTPUT.told is not None:
        return OUTPUT.told
    return _fail(failure("interrupted", "interrupted"), argv, prog)


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
    if OUTPUT.is_json(argv) and not OUTPUT.has_begun:
        text = render_json(failed(error))
        try:
            with held_back():
                OUTPUT.has_begun = True
                sys.stdout.write(text)
                sys.stdout.flush()
                OUTPUT.told = error.exit_status
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


def _drop_talk() -> None:
    """Let go of what stderr does not take: a full disk behind it is no other end of the work."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _say(error: Failure, prog: str) -> None:
    hint = f"  hint: {show_lines(error.hint)}\n" if error.hint else ""
    with suppress(OSError):
        sys.stderr.write(f"{prog}: {show_lines(error.message)}\n{hint}")


def show_lines(text: str) -> str:
    """`show_text`, but line breaks stay; indented, so that no text can pass for a line of ours."""
    return "\n  ".join(show_text(line) for line in text.split("\n"))


def _usage_hint(error: click.ClickException, prog: str) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else prog
    return f"see `{path} --help`"
