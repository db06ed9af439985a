"""Layered settings: precedence, origin, and every problem at once with its line."""

from __future__ import annotations

from typing import Any

import pytest

from clikit.config import ConfigError, Setting, parse_config, resolve

SETTINGS = (
    Setting("limit", "int", 10, "a number", minimum=1, maximum=100),
    Setting("name", "text", "x", "a text", choices=("alpha", "beta")),
    Setting("watch", "bool", True, "a switch"),
    Setting("report.top", "int", 0, "rows", minimum=0),
    Setting("keys", "list", (), "paths"),
    Setting("stores", "tables", [], "stores"),
)

TOML = b"""# comment
limit = 20
name = "alpha"

[report]
top = 5

[[stores]]
type = "file"
paths = [
  "a",   # with a comment
  "b",
]
[[stores]]
type = "tpm"
"""


def effective(text: bytes = b"", **layers: Any) -> Any:
    file = parse_config(text, name="f.toml", syntax="toml") if text else None
    return resolve(
        SETTINGS,
        flags=layers.get("flags", {}),
        environ=layers.get("environ", {}),
        env_prefix="APP_",
        file=file,
        preset=layers.get("preset"),
        preset_name="fast",
    )


def test_each_layer_wins_over_the_next_and_says_so() -> None:
    preset = {"limit": 30}
    environ = {"APP_LIMIT": "40"}
    assert effective()["limit"].origin == "default"
    assert (effective(preset=preset)["limit"].value, effective(preset=preset)["limit"].origin) == (
        30,
        "profile fast",
    )
    assert effective(TOML, preset=preset)["limit"].origin == "file f.toml:2"
    assert effective(TOML, preset=preset, environ=environ)["limit"].value == 40
    from_flag = effective(TOML, environ=environ, flags={"limit": 50})["limit"]
    assert (from_flag.value, from_flag.origin) == (50, "flag")


def test_lines_of_keys_in_tables_arrays_and_after_long_values() -> None:
    file = parse_config(TOML, name="f.toml", syntax="toml")
    assert file.where("report", "top") == "f.toml:6"
    assert file.where("stores", 0, "paths") == "f.toml:10"
    assert file.where("stores", 1, "type") == "f.toml:15"
    assert file.where("stores", 1, "absent") == "f.toml:14"


def test_json_and_yaml_give_the_same_values_and_lines() -> None:
    json = parse_config(
        b'{\n "limit": 20,\n "stores": [\n  {"type": "file"},\n  {"type": "tpm"}\n ]\n}',
        name="f.json",
        syntax="json",
    )
    yaml = parse_config(
        b"---\nlimit: 20\nstores:\n  - type: file\n  - type: tpm\n", name="f.yaml", syntax="yaml"
    )
    assert json.values == yaml.values
    assert json.where("stores", 1, "type") == "f.json:5"
    assert yaml.where("stores", 1, "type") == "f.yaml:5"


def test_all_problems_are_reported_at_once_with_where_and_hint() -> None:
    text = b'limit = "many"\nlimt = 3\n[report]\ntop = -1\n'
    with pytest.raises(ConfigError) as caught:
        effective(text, environ={"APP_WATCH": "maybe"})
    lines = caught.value.message.splitlines()
    assert lines == [
        "f.toml:2: limt: unknown key (did you mean 'limit'?)",
        "f.toml:1: limit: must be a whole number, not 'many'",
        "environment APP_WATCH: watch: must be true or false, not 'maybe'",
        "f.toml:4: report.top: must be at least 0, not -1",
    ]
    assert caught.value.code == "config_invalid"


@pytest.mark.parametrize(
    ("syntax", "text", "where"),
    [
        ("toml", b"a = 1\nb = \n", "f:2"),
        ("toml", b"a = 1\na = 2\n", "f:2"),
        ("json", b'{"a": 1,\n "b" 2}', "f:2"),
        ("json", b'{"a": 1, "a": 2}', "f"),
        ("json", b'{"a": NaN}', "f"),
        ("json", b"[1]", "f:1"),
        ("yaml", b"a: 1\na: 2\n", "f:2"),
        ("yaml", b"a: [1\n", "f:2"),
        ("toml", b"a = '\xff'\n", "f:1"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(syntax: Any, text: bytes, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, name="f", syntax=syntax)
    assert caught.value.problems[0].where == where


def test_a_number_is_not_a_switch_and_a_switch_not_a_number() -> None:
    with pytest.raises(ConfigError):
        effective(b"limit = true\n")
    with pytest.raises(ConfigError):
        effective(b"watch = 1\n")
    assert effective(environ={"APP_WATCH": "off", "APP_KEYS": "a,b"})["keys"].value == ["a", "b"]
