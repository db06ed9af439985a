"""The policies in Rego, run by rego-cpp: one document at a time, as Rego is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from regopy import Interpreter

from peers.rules import POLICIES, Check

_KINDS: Final = {
    "bool": "is_boolean(v)",
    "number": "is_number(v)",
    "text": "is_string(v)",
    "moment": "is_string(v)",
    "list": "is_array(v)",
    "sized": "sized(v)",
}

_HEAD: Final = """package fleet
import rego.v1

fact(path) := object.get(input.facts, path, "(missing)")
size(v) := count(v)
sized(v) if is_string(v)
sized(v) if is_array(v)
sized(v) if is_object(v)
range_holds(v, low, high) if { v >= low; v <= high }
"""


def load(source: Path) -> tuple[Interpreter, list[Any]]:
    """The interpreter with its module, and the documents."""
    rules: list[str] = []
    states: list[str] = []
    for name, checks in POLICIES.items():
        numbers = []
        for one in checks:
            numbers.append(f"c{len(rules)}(fact({json.dumps(one.path.split('.'))}))")
            rules.append(_rule(f"c{len(rules)}", one))
        states.append(f"{json.dumps(name)}: min([{', '.join(numbers)}])")
    interpreter = Interpreter()
    interpreter.add_module(
        "fleet", _HEAD + "\n".join(rules) + f"\nstates := {{{', '.join(states)}}}"
    )
    return interpreter, [json.loads(line) for line in source.read_text().splitlines()]


def check(loaded: tuple[Interpreter, list[Any]]) -> dict[str, list[int]]:
    """By device, the code of its state under each policy."""
    interpreter, documents = loaded
    said = {}
    for document in documents:
        interpreter.set_input(document)
        answer = json.loads(str(interpreter.query("data.fleet.states")))
        found = answer["expressions"][0]
        said[document["device_id"]] = [found[name] for name in POLICIES]
    return said


def _rule(name: str, one: Check) -> str:
    missing = 0 if one.kind == "any" else 2
    rule = f'{name}(v) := {missing} if v == "(missing)"\n'
    if one.kind != "any":
        rule += f"else := 1 if not {_KINDS[one.kind]}\n"
    return rule + f"else := 3 if {{ {one.rego} }}\nelse := 0\n"
