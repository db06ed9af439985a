"""A store's process runs our code wherever the agent found it, and nothing that lies about."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secretivex.stores.hosting.process import command_of


def test_a_module_is_found_where_this_process_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, near = tmp_path / "told", tmp_path / "near"
    for folder in (told, near):
        folder.mkdir()
        text = f"import sys\nif __name__ == '__main__': print({folder.name!r}, *sys.argv[1:])\n"
        (folder / "somewhere.py").write_text(text)
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(told)])
    done = subprocess.run(
        command_of("somewhere", "a", "b c"),
        cwd=near,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "told a b c\n"
