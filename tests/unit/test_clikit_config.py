"""Layered settings: precedence, origin, and every problem at once with its line."""

from __future__ import annotations

import time
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
        "f.toml:1: limit: must be a whole number, not 'many' (1 to 100)",
        "environment APP_WATCH: watch: must be true or false, not 'maybe' (on or off, true or false)",
        "f.toml:4: report.top: must be at least 0, not -1 (0 or more)",
    ]
    assert caught.value.code == "config_invalid"


@pytest.mark.parametrize(
    ("syntax", "text", "where"),
    [
        ("toml", b"a = 1\nb = \n", "f:2"),
        ("toml", b"a = 1\na = 2\n", "f:2"),
        ("json", b'{"a": 1,\n "b" 2}', "f:2"),
        ("json", b'{"a": 1,\n "b": {"a": 1,\n "a": 2}}', "f:3"),
        ("json", b'{"a": 1,\n "b": -Infinity}', "f:2"),
        ("json", b'{"a": 1,\n "b": "\\ud800"}', "f:2"),
        ("json", b'{"a": 1,\n "b": ' + b"1" * 5000 + b"}", "f:2"),
        ("toml", b"a = 1\nb = " + b"1" * 5000, "f:2"),
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


def test_a_mistake_is_told_also_where_a_stronger_layer_hides_it() -> None:
    with pytest.raises(ConfigError) as caught:
        effective(b"limit = 0\n", environ={"APP_LIMIT": "x"}, flags={"limit": 5})
    assert [problem.where for problem in caught.value.problems] == [
        "environment APP_LIMIT",
        "f.toml:1",
    ]


def test_a_table_does_not_fit_into_a_variable() -> None:
    with pytest.raises(ConfigError, match="cannot stand in a variable"):
        effective(environ={"APP_STORES": "x"})


LINES = b"""\
a = 1 # = [
"q r".b.'c' = \"\"\"
] = 3 ""
\"\"\"
[t.u]   # ]
x = [ 1,
  [2, "]", '''#'''],
  { y = 1, z = [ "p",
    "q" ] },
]
d = 1979-05-27 07:32:00
[[s]]
k = 1.5
[[s]]
[[s.in]]
[s.in.deep]
m = {}
n = "last\\""
"""


def test_every_key_and_element_of_toml_has_its_line() -> None:
    lines = parse_config(LINES, name="f", syntax="toml").lines
    wanted: dict[tuple[str | int, ...], int] = {
        ("a",): 1,
        **{("q r", "b", "c")[:size]: 2 for size in (1, 2, 3)},
        ("t", "u"): 5,
        ("t", "u", "x"): 6,
        ("t", "u", "x", 0): 6,
        ("t", "u", "x", 1): 7,
        **{("t", "u", "x", 1, index): 7 for index in range(3)},
        ("t", "u", "x", 2): 8,
        ("t", "u", "x", 2, "y"): 8,
        ("t", "u", "x", 2, "z"): 8,
        ("t", "u", "x", 2, "z", 0): 8,
        ("t", "u", "x", 2, "z", 1): 9,
        ("t", "u", "d"): 11,
        ("s",): 12,
        ("s", 0): 12,
        ("s", 0, "k"): 13,
        ("s", 1): 14,
        ("s", 1, "in"): 15,
        ("s", 1, "in", 0): 15,
        ("s", 1, "in", 0, "deep"): 16,
        ("s", 1, "in", 0, "deep", "m"): 17,
        ("s", 1, "in", 0, "deep", "n"): 18,
    }
    assert lines == wanted


@pytest.mark.parametrize("syntax", ["toml", "json"])
def test_the_time_to_read_a_file_grows_with_its_length_alone(syntax: Any) -> None:
    before_s = time.process_time()
    if syntax == "toml":
        text = "keys = [\n" + '  "an entry of a usual length",\n' * 20_000 + "]\nlast = 1\n"
    else:
        members = ",\n".join(f'"key{number}": ["x"]' for number in range(20_000))
        text = "{" + members + ',\n"last": 1}'
    file = parse_config(text.encode(), name="f", syntax=syntax)
    assert file.where("last") == f"f:{20_003 if syntax == 'toml' else 20_001}"
    # It took minutes when each row was parsed together with all rows before it.
    assert time.process_time() - before_s < 30
