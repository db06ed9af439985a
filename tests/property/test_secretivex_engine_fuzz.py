"""Whatever a request holds, the engine answers it, and a change survives its way; see engine_target.

The same target is fuzzed by coverage in tests/fuzz/fuzz_engine.py, here for a minute.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
from engine_target import KEYS, SITUATIONS, WORDS, run_one, seeds
from hypothesis import given
from hypothesis import strategies as st
from ssh_hosts import blob_of

from sshwire.agent.numbers import MAX_FRAME_BYTES, RequestNumber
from sshwire.wire import encode_string, encode_text

FUZZER = Path(__file__).resolve().parents[1] / "fuzz" / "fuzz_engine.py"
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
SEEDS = tuple(seeds())

LENGTHS = st.sampled_from([0, 1, 4, 255, 2**16, MAX_FRAME_BYTES, 2**31 - 1, 2**31, 2**32 - 1]).map(
    lambda number: number.to_bytes(4, "big")
)
FIELDS = st.one_of(
    st.binary(max_size=40).map(encode_string),
    st.sampled_from(WORDS).map(encode_text),
    st.sampled_from(KEYS).map(lambda name: encode_string(blob_of(name))),
    LENGTHS,
    st.binary(max_size=8),
)
NESTED = st.recursive(
    FIELDS,
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: encode_string(b"".join(parts))),
)
NUMBERS = st.sampled_from([*RequestNumber, 0, 1, 5, 200, 255])
SITUATION = st.integers(0, len(SITUATIONS) - 1)


@given(situation=SITUATION, number=NUMBERS, parts=st.lists(NESTED, max_size=9))
def test_fields_nested_in_fields(situation: int, number: int, parts: list[bytes]) -> None:
    run_one(bytes([situation, number]) + b"".join(parts))


@given(seed=st.sampled_from(SEEDS), situation=SITUATION, data=st.data())
def test_real_requests_with_bytes_put_in_taken_out_and_cut(
    seed: bytes, situation: int, data: st.DataObject
) -> None:
    mutated = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(mutated)))
        end = data.draw(st.integers(start, min(start + 8, len(mutated))))
        mutated[start:end] = data.draw(st.one_of(LENGTHS, FIELDS, st.binary(max_size=4)))
    run_one(bytes([situation]) + bytes(mutated[1:]))


def test_every_input_of_the_corpus_does_what_its_kind_can() -> None:
    outcomes = {run_one(seed) for seed in SEEDS}
    assert {"add ok", "sign ok", "change", "malformed", "locked"} <= outcomes
    assert {"remote_connection", "destination_unbound", "not_for_ssh"} <= outcomes


@pytest.mark.parametrize("number", list(RequestNumber))
@pytest.mark.parametrize("length", [MAX_FRAME_BYTES, 2**31, 2**32 - 1])
def test_no_memory_follows_a_length(number: int, length: int) -> None:
    lying = length.to_bytes(4, "big")
    payloads = [
        bytes([situation, number]) + before + lying * 8
        for situation in range(len(SITUATIONS))
        for before in (b"", encode_text("ssh-rsa"), *(encode_text(word) for word in WORDS))
    ]
    for payload in payloads:
        run_one(payload)
    tracemalloc.start()
    for payload in payloads:
        run_one(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024


@pytest.mark.parametrize("number", list(RequestNumber))
@pytest.mark.parametrize(
    "filling", [b"\0", b"\xff", b"\0\0\0\1a", encode_string(encode_string(b""))]
)
def test_the_longest_message_costs_a_few_times_its_length(number: int, filling: bytes) -> None:
    body = (filling * MAX_FRAME_BYTES)[: MAX_FRAME_BYTES - 1]
    run_one(b"\0")  # what is made once
    tracemalloc.start()
    for situation in range(len(SITUATIONS)):
        run_one(bytes([situation, number]) + body)
        run_one((bytes([situation, number]) + encode_string(body[:-4]))[: MAX_FRAME_BYTES + 1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * MAX_FRAME_BYTES


def test_a_minute_of_fuzzing_guided_by_coverage(
    tmp_path: Path, give_up: Callable[[str], NoReturn]
) -> None:
    """`FUZZ_SECONDS` makes it longer or shorter."""
    if find_spec("atheris") is None:
        has_wheel = sys.platform == "linux" and platform.machine() == "x86_64"
        if has_wheel and sys.version_info < (3, 14):
            give_up("atheris")
        pytest.skip("atheris has no wheel for this system")
    found = subprocess.run(
        [sys.executable, str(FUZZER), "--seconds", str(SECONDS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=SECONDS + 120,
    )
    assert found.returncode == 0, found.stderr[-4000:]
    runs = re.search(r"number_of_executed_units: (\d+)", found.stderr)
    assert runs is not None, found.stderr[-4000:]
    assert int(runs[1]) > len(SEEDS)
