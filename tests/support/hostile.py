"""What inventory and policies may hold to hurt a reader: one list, tried on every format."""

from __future__ import annotations

from datetime import UTC, datetime

from fleetmdm.governance.effective import Effective, EffectiveStatus, JudgedRow
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.report.model import PolicyLine, Report, row_stream, sort_lines
from fleetmdm.report.selection import Selection, SortBy
from fleetmdm.results import Finding, ResultRow, Run, Status

NOW = datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC)

MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></textarea><h1>x",
    "<!--",
    "-->",
    "javascript:alert(1)",
    "&lt;script&gt;&#x3c;b&#62;",
)
XML = (
    "]]>",
    "<![CDATA[x]]>",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    "&e;",
    "<?x?>",
)
MARKDOWN = (
    "[click](javascript:alert(1))",
    "![x](http://127.0.0.1/leak)",
    "| a | b |",
    "# heading",
    "```",
    "* item",
    "<http://127.0.0.1>",
    "~~x~~ **y** _z_ `c`",
)
FORMULAS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://127.0.0.1/?x="&A1,"y")',
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\u00a0=1+1",
    "\uff1d1+1",
    "|calc",
    "%0A=1",
    '";=1+1',
    '",=1+1',
    "'=1+1",
)
TERMINAL = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;AAAA\x07",
    "\x9b2J",
    "\x08\x08\x7f",
    "\x00",
)
LINES = (
    "x\nfleetmdm: all is well",
    "x\r\n2026-01-01T00:00:00.000Z info    fleetmdm: forged",
    "x\x0by\x0cz",
    "a\x85b\u2028c\u2029d",
)
BIDI = ("\u202ecod.exe", "\u2066a\u2069", "\u200fx", "\u061c", "\ufeffx", "\u200bz\u200dz")
PLACEHOLDERS = ("{0}", "%s%n", "${jndi:x}", "{{7*7}}", "$(id)", "`id`")

CORPUS = (*MARKUP, *XML, *MARKDOWN, *FORMULAS, *TERMINAL, *LINES, *BIDI, *PLACEHOLDERS)

UNSAFE = "".join(map(chr, (*range(32), *range(127, 160), 0x2028, 0x2029)))
"""Signs that break lines or speak to terminals."""

DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff\u200b"
"""Signs that turn or hide what is read."""


def hostile_report(words: tuple[str, ...] = CORPUS) -> Report:
    """A report in which every word is a device, a value, a message, and part of the policy."""
    import json

    policies = parse_policies(
        b"".join(
            f"---\nid: p.{number}\nname: {json.dumps('n ' + word)}\n"
            f"description: {json.dumps('d ' + word)}\nremediation: {json.dumps('r ' + word)}\n"
            f"references: [{{framework: {json.dumps('f ' + word)}, control: {json.dumps('c ' + word)}}}]\n"
            "checks: [{key: k, op: eq, value: 1}]\n".encode()
            for number, word in enumerate(words)
            if word.isprintable()
        ),
        name="hostile",
    )
    rows = [
        ResultRow(
            word,
            policies[number % len(policies)].id,
            Status.FAIL,
            (Finding("checks[0]", "k", "eq", word, word, "mismatch", word),),
            1,
            None,
        )
        for number, word in enumerate(words)
    ]
    counts = {policy.id: {Status.FAIL: 5, Status.PASS: 1} for policy in policies}
    judged = [JudgedRow(row, Effective(EffectiveStatus.WAIVED, row.device_id)) for row in rows]
    lines = sort_lines((PolicyLine(each, counts[each.id]) for each in policies), SortBy.NAME)
    selection = Selection(tags=words, device_ids=words)
    run = Run(1, NOW, NOW, NOW, len(words), len(policies), {}, "0.1.0", *("ab" * 32,) * 3, counts)
    return Report(run, lines, row_stream(judged, lines), selection)
