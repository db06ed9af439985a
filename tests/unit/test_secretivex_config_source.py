"""Which file is the configuration, and what becomes of one that is not there or not readable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from secretivex.config.source import access_fault, find_config, load_file
from secretivex.errors import SecretiveError


def make(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def environ(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), **more}


def test_the_option_outweighs_the_variable_and_the_variable_the_folder(tmp_path: Path) -> None:
    option, variable = make(tmp_path / "a.toml"), make(tmp_path / "b.toml")
    folder = make(tmp_path / "home/.config/secretive/agent.toml")
    env = environ(tmp_path, SECRETIVE_CONFIG=str(variable))
    assert find_config(option, env, platform="linux") == option
    assert find_config(None, env, platform="linux") == variable
    assert find_config(None, environ(tmp_path), platform="linux") == folder


def test_a_lone_json_file_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "xdg/secretive/agent.json")
    env = environ(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert find_config(None, env, platform="linux") == path


def test_no_file_is_fine_where_none_was_named(tmp_path: Path) -> None:
    assert find_config(None, environ(tmp_path), platform="linux") is None
    assert find_config(None, {}, platform="linux") is None


def test_each_system_has_its_folder(tmp_path: Path) -> None:
    mac = make(tmp_path / "home/Library/Application Support/secretive/agent.toml")
    windows = make(tmp_path / "roaming/secretive/agent.toml")
    env = environ(tmp_path, APPDATA=str(tmp_path / "roaming"))
    assert find_config(None, env, platform="darwin") == mac
    assert find_config(None, env, platform="win32") == windows


def test_both_forms_at_once_are_an_error(tmp_path: Path) -> None:
    make(tmp_path / "home/.config/secretive/agent.toml")
    make(tmp_path / "home/.config/secretive/agent.json")
    with pytest.raises(SecretiveError, match="both exist") as caught:
        find_config(None, environ(tmp_path), platform="linux")
    assert caught.value.code == "config_invalid"


@pytest.mark.parametrize("named", [True, False])
def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, named: bool) -> None:
    gone = tmp_path / "gone.toml"
    env = environ(tmp_path) if named else environ(tmp_path, SECRETIVE_CONFIG=str(gone))
    with pytest.raises(SecretiveError, match=r"gone\.toml: no such file") as caught:
        find_config(gone if named else None, env, platform="linux")
    assert caught.value.code == "config_not_found"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", "profile = 'pssh'\nmax_signers = = 4\n", 2),
        ("a.toml", "workers = 2\nworkers = 3\n", 2),
        ("a.json", '{\n "profile": }\n', 2),
    ],
)
def test_malformed_text_names_its_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = make(tmp_path / name, text)
    with pytest.raises(SecretiveError) as caught:
        load_file(path)
    assert caught.value.code == "config_invalid"
    assert caught.value.message.startswith(f"{path}:{line}: ")


def test_a_mark_of_byte_order_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbfworkers = 2\n")
    assert load_file(path).values == {"workers": 2}


def test_what_is_not_a_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SecretiveError, match="cannot be read") as caught:
        load_file(tmp_path)
    assert caught.value.code == "config_invalid"


def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.toml", "workers = 2\n")
    path.chmod(0o646)
    with pytest.raises(SecretiveError, match="0646 lets anybody write") as caught:
        load_file(path)
    assert caught.value.code == "config_invalid"
    path.chmod(0o644)
    assert load_file(path).values == {"workers": 2}


@pytest.mark.parametrize(
    ("mode", "owner", "alone", "word"),
    [
        (0o100600, 7, False, ""),
        (0o100644, 0, False, ""),
        (0o100664, 7, True, ""),
        (0o100664, 7, False, "group 8"),
        (0o100660, 0, False, "group 8"),
        (0o100666, 7, True, "anybody"),
        (0o100600, 9, True, "user 9"),
    ],
)
def test_only_the_owner_and_root_may_be_able_to_write_it(
    mode: int, owner: int, alone: bool, word: str
) -> None:
    status = os.stat_result((mode, 1, 1, 1, owner, 8, 10, 0, 0, 0))
    fault = access_fault(status, "it", user=7, is_alone=lambda _: alone)
    assert (fault is None) == (word == "")
    assert fault is None or (word in fault[0] and fault[1])


def test_home_and_variables_are_expanded_in_the_name_of_the_file(tmp_path: Path) -> None:
    path = make(tmp_path / "home/a.toml")
    env = environ(tmp_path, PLACE=str(tmp_path / "home"))
    assert find_config(Path("~/a.toml"), env, platform="linux") == path
    assert find_config(Path("$PLACE/a.toml"), env, platform="linux") == path
    assert find_config(None, {**env, "SECRETIVE_CONFIG": "~/a.toml"}, platform="linux") == path
    with pytest.raises(SecretiveError, match="NOWHERE is not set"):
        find_config(Path("$NOWHERE/a"), env, platform="linux")


def test_a_pipe_is_read_once_and_never_for_a_reload(tmp_path: Path) -> None:
    """A second reading would wait for a writer, or find an empty file: an agent without any rule."""
    pipe = tmp_path / "agent.toml"
    os.mkfifo(pipe)
    with pytest.raises(SecretiveError, match="is no regular file") as caught:
        load_file(pipe, again=True)
    assert caught.value.code == "config_invalid"
    readable, writable = os.pipe()
    os.write(writable, b"max_signers = 3\n")
    os.close(writable)
    try:
        given = Path(f"/dev/fd/{readable}")
        assert load_file(given).values == {"max_signers": 3}
        with pytest.raises(SecretiveError, match="is no regular file"):
            load_file(given, again=True)
    finally:
        os.close(readable)
    assert load_file(Path(os.devnull), again=True).values == {}
