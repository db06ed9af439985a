"""Writes the generated tables of docs/policy-language.md: operators, examples, finding codes.

Usage: policy_doc.py [--check]; with --check nothing is written and a difference is exit 1.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from fleetmdm.evaluate import OPERATORS  # noqa: E402 - the path above comes first
from fleetmdm.evaluate.mutations import MUTATION_CODES  # noqa: E402 - same
from fleetmdm.evaluate.semantics import CELLS, MISSING, Cell  # noqa: E402 - same
from fleetmdm.lint import LINT_CODES  # noqa: E402 - same

DOCUMENT = ROOT / "docs" / "policy-language.md"


def render_operators() -> Iterator[str]:
    """One line for each operator."""
    yield "| operator | facts it judges | operand | true where |"
    yield "| --- | --- | --- | --- |"
    for row in OPERATORS.values():
        yield f"| `{row.name}` | {row.facts} | {row.operand or 'none'} | {row.meaning} |"


def render_examples() -> Iterator[str]:
    """One line for each operand: the facts by what comes of them."""
    yield "| check | facts and what comes of them |"
    yield "| --- | --- |"
    lines: dict[str, list[str]] = {}
    for cell in CELLS:
        lines.setdefault(_check(cell), []).append(f"{_code(cell.fact)} {cell.outcome}")
    for check, facts in lines.items():
        yield f"| {check} | {'; '.join(facts)} |"


def _check(cell: Cell) -> str:
    operand = "" if cell.operand is None else f" {json.dumps(cell.operand, ensure_ascii=False)}"
    scheme = f" ({cell.scheme})" if cell.scheme else ""
    return f"`{cell.op}{operand}`{scheme}"


def _code(fact: Any) -> str:
    if fact is MISSING:
        return "(missing)"
    return f"`{json.dumps(fact, ensure_ascii=False)}`"


def render_codes(codes: Mapping[str, str]) -> Iterator[str]:
    """One line for each code of `policy lint` or of `policy test --mutate`."""
    yield "| code | meaning |"
    yield "| --- | --- |"
    for code in sorted(codes):
        yield f"| `{code}` | {codes[code]} |"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "operators": render_operators,
    "examples": render_examples,
    "mutations": lambda: render_codes(MUTATION_CODES),
    "codes": lambda: render_codes(LINT_CODES),
}


def main(arguments: list[str]) -> int:
    """Write the document, or say that it is out of date."""
    text = wanted = DOCUMENT.read_text()
    for name, render in PARTS.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        body = "\n".join(render())
        wanted = re.sub(
            f"({begin}\n).*({end})",
            lambda found, body=body: f"{found[1]}\n{body}\n\n{found[2]}",  # type: ignore[misc] # mypy loses the default's type
            wanted,
            flags=re.DOTALL,
        )
    if wanted == text:
        return 0
    if "--check" in arguments:
        print("docs/policy-language.md is out of date: run tools/policy_doc.py")
        return 1
    DOCUMENT.write_text(wanted)
    print("wrote docs/policy-language.md")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
