"""The audit log's file, its writer's way through what is done to it, and a reader that follows it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from secretivex.audit.chain import Chain
from secretivex.audit.check import check_log
from secretivex.audit.record import encode_line
from secretivex.audit.report import Report
from secretivex.server.audit.cells import AuditCells
from secretivex.server.audit.file_sink import FileSink
from secretivex.server.audit.follow import follow_lines, read_newest, read_whole_lines
from secretivex.server.audit.sinks import DatagramSink, StreamSink
from secretivex.server.audit.writer import AuditWriter, WriterRules

ROOT = bytes(range(32))
TIME = "2026-01-01T00:00:00.000000Z"


class Log:
    """A writer on a thread of its own, fed line by line; each line is written before the next."""

    def __init__(self, path: Path, name: str = "aa", **limits: int) -> None:
        self.path = path
        self.name = name
        self.cells = AuditCells(1)
        self._source, self._pipe = os.pipe()
        sink = self._sink = FileSink(path, **{"max_bytes": 1 << 30, "keep": 50, **limits})
        chain = name, Chain(ROOT)
        rules = WriterRules("none", 0.0)
        self.writer = AuditWriter(
            self._source, sink, chain, self.cells, rules, now=lambda: TIME, random=os.urandom
        )
        self._thread = threading.Thread(target=self.writer.run)
        self._thread.start()
        self._put = 0

    def put(self, *, is_awaited: bool = True) -> None:
        before = self.cells.seals
        self._put += 1
        line = encode_line({"event": "sign", "request": f"{self.name}.{self._put}"})
        os.write(self._pipe, line)
        while is_awaited and self.cells.seals == before:
            self._thread.join(0.001)

    def close(self) -> None:
        os.close(self._pipe)
        self._thread.join()
        os.close(self._source)
        self._sink.close()


def read(*paths: Path) -> list[bytes]:
    return [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]


def check(*paths: Path) -> Report:
    return check_log(read(*paths), keys={"aa": ROOT, "bb": ROOT})


def requests(*paths: Path) -> list[str]:
    values = [json.loads(line) for line in read(*paths)]
    return [value["request"] for value in values if value["event"] == "sign"]


def older(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda one: -int(one.suffix[1:]))


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_over_many_rotations_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", max_bytes=1500, keep=1000)
    for number in range(300):
        log.put(is_awaited=number % 7 == 0)
    log.close()
    files = [*older(log.path), log.path]
    assert len(files) > 5
    assert requests(*files) == [f"aa.{number}" for number in range(1, 301)]
    report = check(*files)
    assert (report.findings, report.unclosed, report.begins_midway) == ([], [], False)
    assert report.signed_heads == len(files)
    for missing in range(1, len(files) - 1):
        assert codes(check(*files[:missing], *files[missing + 1 :])) >= {"file_missing"}
    assert check(*files[1:]).begins_midway
    assert codes(check(*files[:3], *files[2:]))
    assert codes(check(files[1], files[0], *files[2:]))
    assert codes(check(*files, files[0]))


def test_so_many_files_are_kept(tmp_path: Path) -> None:
    log = Log(tmp_path / "log", max_bytes=1500, keep=3)
    for _ in range(100):
        log.put()
    log.close()
    assert [path.name for path in older(log.path)] == ["log.3", "log.2", "log.1"]
    assert not check(*older(log.path), log.path).findings


def test_a_file_that_is_renamed_is_gone_on_with_under_the_name(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.put()
    log.path.rename(tmp_path / "taken")
    log.put()
    log.put()
    log.close()
    files = tmp_path / "taken", log.path
    assert requests(*files) == ["aa.1", "aa.2", "aa.3"]
    assert requests(log.path) == ["aa.2", "aa.3"]
    assert not check(*files).findings
    assert check(log.path).begins_midway
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_an_emptied_file_is_gone_on_with_from_its_beginning(tmp_path: Path) -> None:
    """As logrotate's copytruncate does it."""
    log = Log(tmp_path / "log")
    log.put()
    shutil.copyfile(log.path, tmp_path / "copy")
    os.truncate(log.path, 0)
    log.put()
    log.close()
    files = tmp_path / "copy", log.path
    assert requests(*files) == ["aa.1", "aa.2"]
    assert not check(*files).findings
    os.truncate(tmp_path / "copy", tmp_path.joinpath("copy").stat().st_size // 2)
    assert check(*files).findings


def test_a_removed_file_is_made_again_and_the_gap_is_told(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.put()
    log.path.unlink()
    log.put()
    log.put()
    log.close()
    assert requests(log.path) == ["aa.2", "aa.3"]
    report = check(log.path)
    assert (report.findings, report.begins_midway) == ([], True)


def test_lines_cut_off_while_the_agent_runs_are_told(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for _ in range(3):
        log.put()
    lines = read(log.path)
    os.truncate(log.path, len(b"".join(lines[:-2])))
    log.put()
    log.close()
    assert codes(check(log.path)) == {"file_missing"}


def test_a_name_that_cannot_be_written_to_stops_the_log_until_it_can(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    log = Log(folder / "log")
    log.put()
    log.path.rename(tmp_path / "taken")
    os.mkfifo(log.path)
    log.put(is_awaited=False)
    while not log.cells.failures:
        pass
    assert log.cells.is_stuck
    log.path.unlink()
    log.put()
    log.close()
    files = tmp_path / "taken", log.path
    assert requests(*files) == ["aa.1", "aa.2", "aa.3"]
    assert not check(*files).findings


def test_the_next_writer_tells_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = Log(path)
    first.put()
    first.close()
    whole = path.read_bytes()
    for cut in (1, 100, 400, len(whole) - 10):
        path.write_bytes(whole[:-cut])
        path.chmod(0o600)
        second = Log(path, "bb")
        second.put()
        second.close()
        assert not check(path).findings, cut
        lines = read(path)
        opened = next(
            number for number, line in enumerate(lines) if b"opened" in line and b'"bb"' in line
        )
        for victim in range(opened):
            assert check_log(lines[:victim] + lines[victim + 1 :]).findings, (cut, victim)
            assert check_log([*lines[:victim], b"{}\n", *lines[victim:]]).findings, (cut, victim)


def test_only_a_regular_file_of_our_own_is_written_to(tmp_path: Path) -> None:
    def refused(path: Path) -> int:
        with pytest.raises(OSError, match=r".") as raised:
            FileSink(path, max_bytes=1, keep=1)
        return raised.value.errno or 0

    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "loose").touch()
    (tmp_path / "loose").chmod(0o620)
    assert refused(tmp_path / "fifo") == errno.EINVAL
    assert refused(tmp_path / "link") == errno.ELOOP
    assert refused(tmp_path / "loose") == errno.EPERM
    assert refused(tmp_path) == errno.EISDIR
    assert refused(tmp_path / "none" / "log") == errno.ENOENT
    assert not (tmp_path / "elsewhere").exists()


# A reader that follows.


def followed(path: Path, count: int, act: Callable[[list[bytes]], Any]) -> list[bytes]:
    """So many lines of a log that `act` writes to once its reader is at its end; it sees them come."""
    log = path.open("rb")
    log.seek(0, os.SEEK_END)
    found: list[bytes] = []
    acting = threading.Thread(target=act, args=(found,))
    acting.start()
    with closing(follow_lines(path, log)) as lines:
        found.extend(islice(lines, count))
    acting.join()
    return found


def test_a_reader_follows_through_several_rotations_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()

    def write(_found: list[bytes]) -> None:
        for number in range(60):
            with path.open("ab") as file:
                file.write(b"%d\n" % number)
            if number % 3 == 2:
                for older_number in range(20, 0, -1):
                    one = path.with_name(f"log.{older_number}")
                    if one.exists():
                        one.rename(path.with_name(f"log.{older_number + 1}"))
                path.rename(path.with_name("log.1"))
                path.touch()

    assert followed(path, 60, write) == [b"%d\n" % number for number in range(60)]


def test_a_reader_waits_for_the_end_of_a_line_and_for_what_comes_after_a_cut(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")

    def write(found: list[bytes]) -> None:
        waits = threading.Event()
        for part in (b"a", b"b", b"c\nd\n"):
            with path.open("ab") as file:
                file.write(part)
            waits.wait(0.3)
        deadline_s = time.monotonic() + 60
        while len(found) < 2 and time.monotonic() < deadline_s:
            waits.wait(0.01)
        os.truncate(path, 0)
        waits.wait(0.6)
        with path.open("ab") as file:
            file.write(b"e\n")

    assert followed(path, 3, write) == [b"abc\n", b"d\n", b"e\n"]


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    with path.open("rb") as log:
        assert list(read_whole_lines(log)) == [b"one\n"]
        assert log.read() == b"tw"


# Sinks whose files are somebody else's.


class Logger(DatagramSink):
    """One whose socket hears nothing of some lines."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.is_heard = True

    def frame(self, line: bytes) -> bytes:
        if not self.is_heard and b"2" in line:
            raise OSError(errno.ECONNREFUSED, "nobody there")
        return line


def test_a_batch_that_is_given_up_takes_nothing_from_the_next(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as source:
        source.bind(str(tmp_path / "log"))
        sink = Logger(str(tmp_path / "log"))
        sink.is_heard = False
        for _ in range(2):
            with pytest.raises(OSError, match="nobody there"):
                sink.write(b"1\n2\n3\n")
        sink.is_heard = True
        sink.write(b"4\n5\n")
        sink.write(b"4\n5\n")
        sink.close()
        assert [source.recv(100) for _ in range(5)] == [b"1", b"4", b"5", b"4", b"5"]


def test_a_stream_that_nobody_reads_is_not_waited_for() -> None:
    source, end = os.pipe()
    batch = b"".join(b"%07d\n" % number for number in range(20_000))
    sink = StreamSink(end)
    with pytest.raises(TimeoutError, match="nobody reads"):
        sink.write(batch)
    parts: list[bytes] = []

    def read_all() -> None:
        with os.fdopen(source, "rb") as file:
            parts.append(file.read())

    reading = threading.Thread(target=read_all)
    reading.start()
    sink.write(batch)
    sink.close()
    reading.join()
    assert parts == [batch]


@pytest.mark.parametrize("width", [3, 1000, 100_000])
def test_the_newest_lines_are_those_at_the_end_however_far_back_they_are(
    tmp_path: Path, width: int
) -> None:
    path = tmp_path / "log"
    lines = [b"%d %s\n" % (number, b"x" * width) for number in range(300)]
    path.write_bytes(b"".join(lines) + b"torn")

    def wanted(found: Iterable[bytes]) -> list[bytes]:
        return [line for line in found if line.startswith((b"2", b"7 "))]

    of_all = wanted(read_whole_lines(BytesIO(path.read_bytes())))
    for most in (0, 1, 2, 20, 111, 112, 113, 400):
        with path.open("rb") as log:
            assert list(read_newest(log, most, wanted)) == of_all[max(0, len(of_all) - most) :]
            assert log.read() == b"torn"
    assert list(read_newest(BytesIO(b""), 5, wanted)) == []
