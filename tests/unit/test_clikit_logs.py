"""Logs of a process without a terminal: datagrams for the system's log, lines for the journal."""

from __future__ import annotations

import io
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from clikit.logs import configure, configure_syslog, leads_to_journal


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_line_with_its_level_and_process(tmp_path: Path) -> None:
    address = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(address)
        log.settimeout(60)
        configure_syslog(level="info", ident="agent", address=address)
        logger = logging.getLogger("test")
        logger.debug("too little")
        logger.warning("a\nb", extra={"fields": {"key": "x y"}})
        assert log.recv(4096).decode() == f"<36>agent[{os.getpid()}]: a\\nb key=x y"


def test_without_a_log_and_with_a_full_one_nobody_waits(tmp_path: Path) -> None:
    address = str(tmp_path / "log")
    configure_syslog(level="info", ident="agent", address=address)
    logging.getLogger("test").warning("nobody hears")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(address)
        for _ in range(2000):
            logging.getLogger("test").warning("nobody reads")


@pytest.mark.parametrize("form", ["text", "json"])
def test_to_the_journal_each_line_has_its_severity_before_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log"
    with path.open("w") as stream:
        status = path.stat()
        assert leads_to_journal(stream, f"{status.st_dev}:{status.st_ino}")
        for other in ("", "1:2", f"{status.st_ino}:{status.st_dev}"):
            assert not leads_to_journal(stream, other)
        configure(level="info", format=form, stream=stream, is_journal=True)
        logger = logging.getLogger("test")
        logger.error("bad")
        logger.warning("so so")
        logger.info("well")
        try:
            raise KeyError("gone")
        except KeyError:
            logger.exception("worse")
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines[:3]] == ["<3>", "<4>", "<6>"]
    assert all(line.startswith("<3>") for line in lines[3:])
    assert not leads_to_journal(io.StringIO(), "1:2")
