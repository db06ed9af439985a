"""Sheets of signatures: what a worker put on them is what the writer reads, however it is cut."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from secretivex.audit.record import PIPE_BYTES, encode_line
from secretivex.audit.sheet import MOST_IN_A_RUN, Clock, Sheet, cut_pieces, render_piece

MOMENTS = st.integers(0, 4 * 10**15)
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
SPANS = st.integers(0, 10**15)
WORDS = st.text(st.characters(codec="ascii", exclude_characters="\x01\n"), max_size=400)

Run = tuple[str, int, list[tuple[int, int]]]
"""Words, moment, and for each signature its wait and its making, in nanoseconds."""
RUNS: st.SearchStrategy[Run] = st.tuples(
    st.one_of(st.sampled_from(["a", "b", "%s%d", "x" * 2700]), WORDS),
    MOMENTS,
    st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=MOST_IN_A_RUN),
)
LINES = st.dictionaries(st.sampled_from(["event", "outcome"]), st.text(max_size=20), max_size=2)


def words_of(text: str) -> bytes:
    return f'"words":{json.dumps(text)},"request":"7.'.encode()


def fill(runs: list[Run | dict[str, str]]) -> tuple[bytes, list[dict[str, Any]]]:
    """What a worker writes, and what the records are to say."""
    parts: list[bytes] = []
    wanted: list[dict[str, Any]] = []
    sheet, number = Sheet(), 0

    def end() -> None:
        nonlocal sheet, number
        if sheet.records:
            data, records = sheet.encode(number)
            assert len(data) <= PIPE_BYTES
            parts.append(data)
            number += records
            sheet = Sheet()

    for one in runs:
        if isinstance(one, dict):
            end()
            parts.append(encode_line(one))
            wanted.append(one)
            continue
        text, at_us, figures = one
        times_ns = [wait for wait, _ in figures], [wait + making for wait, making in figures]
        if not sheet.add(words_of(text), at_us, *times_ns):
            end()
            assert sheet.add(words_of(text), at_us, *times_ns)
        first = number + sheet.records - len(figures) + 1
        for at, (wait_ns, sign_ns) in enumerate(figures):
            spans = {"wait_us": wait_ns // 1000, "sign_us": sign_ns // 1000}
            wanted.append({"words": text, "request": f"7.{first + at}", "at_us": at_us, **spans})
    end()
    return b"".join(parts), wanted


def read(pieces: list[bytes]) -> list[dict[str, Any]]:
    clock = Clock()
    told = []
    for piece in pieces:
        lines, records = render_piece(piece, clock)
        assert lines.count(b"\n") == records
        told += [json.loads(line) for line in lines.splitlines()]
    return told


@given(runs=st.lists(st.one_of(RUNS, LINES), max_size=12), data=st.data())
@example(runs=[("x" * 2700, 0, [(0, 0)] * MOST_IN_A_RUN)] * 2, data=None)
def test_what_is_put_on_sheets_is_read_whole_in_its_order(
    runs: list[Run | dict[str, str]], data: Any
) -> None:
    written, wanted = fill(runs)
    told = read(cut_pieces(written))
    for record, one in zip(told, wanted, strict=True):
        if "at_us" in one:
            said = datetime.fromisoformat(record.pop("time")) - EPOCH
            assert said // MICROSECOND == one.pop("at_us")
        assert record == one
    if data is None:
        return
    # However much of it has come, what is whole is read, and nothing else.
    at = data.draw(st.integers(0, len(written)))
    pieces = cut_pieces(written[:at])
    rest = written[sum(map(len, pieces)) :]
    assert b"".join(pieces) + rest == written
    assert read(pieces + cut_pieces(rest)) == read(cut_pieces(written))


@given(st.binary(max_size=200))
def test_a_damaged_sheet_is_an_error_and_nothing_else(noise: bytes) -> None:
    try:
        for piece in cut_pieces(b"\x01" + noise):
            render_piece(piece, Clock())
    except (ValueError, IndexError, struct.error, OverflowError, OSError):
        pass


def test_a_run_too_many_is_left() -> None:
    sheet = Sheet()
    words = b'"a":1,"request":"1.'
    taken = 0
    while sheet.add(words, 1, [0], [0]):
        taken += 1
    assert taken == sheet.records
    assert PIPE_BYTES - 64 < len(sheet.encode(0)[0]) <= PIPE_BYTES
