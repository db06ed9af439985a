"""Fuzz the engine as a function, guided by coverage.

    python tests/fuzz/fuzz_engine.py --runs 1000000
    python tests/fuzz/fuzz_engine.py --seconds 3600 --found FOLDER
    python tests/fuzz/fuzz_engine.py --keep FOLDER

Seeds are the lines of `corpus/engine.txt` and the requests of the conformance vectors in every
situation. `--found` is where inputs go that reached code which none before them did; `--keep` adds
them to the corpus. A defect ends the process with a status other than 0 and leaves its input, named
on stderr, in the working folder.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MAX_INPUT_BYTES = 4096
MAX_KEPT_BYTES = 1024
"""What is kept has to be read by people."""

MEMORY_MIB = 1024
INPUT_SECONDS = 5

sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support")]

with atheris.instrument_imports(include=["secretivex", "sshwire"], enable_loader_override=False):
    from engine_target import CORPUS, WORDS, run_one, seeds

    from sshwire.wire import encode_text


def write_words(path: Path) -> None:
    """Names that no mutation finds by itself, as a dictionary of libFuzzer's."""
    encoded = [encode_text(name) for name in WORDS]
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in encoded]
    path.write_text("".join(lines))


def write_seeds(folder: Path) -> None:
    """One file a seed, as libFuzzer wants them."""
    for seed in seeds():
        (folder / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


def keep(folder: Path) -> None:
    """Add to the corpus what the fuzzer found worth keeping."""
    known = set(seeds())
    found = sorted(
        data
        for data in (path.read_bytes() for path in folder.iterdir())
        if data not in known and len(data) <= MAX_KEPT_BYTES
    )
    with CORPUS.open("a") as corpus:
        corpus.writelines(f"{data.hex()}\n" for data in found)


def test_one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    run_one(data)


def main() -> None:
    """Run to the end of the runs or the time; the fuzzer itself ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--found", type=Path, help="folder for inputs that reached new code")
    parser.add_argument("--keep", type=Path, help="add the inputs of a folder to the corpus")
    options = parser.parse_args()
    if options.keep:
        keep(options.keep)
        return
    with tempfile.TemporaryDirectory() as folder:
        begin, words = Path(folder, "seeds"), Path(folder, "words")
        begin.mkdir()
        write_seeds(begin)
        write_words(words)
        found = options.found or Path(folder, "found")
        found.mkdir(exist_ok=True)
        limits = [
            f"-runs={options.runs}",
            f"-max_total_time={options.seconds}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={MEMORY_MIB}",
            f"-timeout={INPUT_SECONDS}",
            f"-dict={words}",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *limits, str(found), str(begin)], test_one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
