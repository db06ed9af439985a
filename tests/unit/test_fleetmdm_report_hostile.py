"""One corpus of hostile words through every form of a report: nothing of it is obeyed."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from importlib import import_module

import pytest
from hostile import CORPUS, DIRECTIONS, UNSAFE, hostile_report

from clikit.command import show_lines
from fleetmdm.config import REPORT_FORMATS
from fleetmdm.report.samples import safe_url

TAME = tuple(f"word{number}" for number in range(len(CORPUS)))


def rendered(form: str, words: tuple[str, ...] = CORPUS) -> str:
    module = import_module(f"fleetmdm.report.to_{form}")
    options = {"width": None} if form == "table" else {}
    return "".join(module.render(hostile_report(words), **options))


@pytest.mark.parametrize("form", REPORT_FORMATS)
def test_no_sign_that_speaks_to_a_terminal_or_breaks_a_line(form: str) -> None:
    text = rendered(form)
    allowed = "\r\n" if form == "csv" else "\n"
    found = {char for char in UNSAFE if char in text} - set(allowed)
    # JSON strings hold data as it is, but for what JSON escapes: everything below a blank.
    data = set(map(chr, (*range(127, 160), 0x2028, 0x2029)))
    assert found <= (data if form in {"json", "sarif", "oscal"} else set())


@pytest.mark.parametrize("form", [f for f in REPORT_FORMATS if f not in {"json", "sarif"}])
def test_no_sign_that_turns_or_hides_what_is_read(form: str) -> None:
    text = rendered(form)
    assert [char for char in DIRECTIONS if char in text] == []


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in {"href", "src"}}


def test_the_page_has_the_elements_of_a_tame_one_and_links_within_itself() -> None:
    hostile, tame = _Page(), _Page()
    hostile.feed(rendered("html"))
    tame.feed(rendered("html", TAME))
    assert set(hostile.tags) == set(tame.tags)
    assert hostile.attributes == tame.attributes
    assert all(link.startswith("#") for link in hostile.links)


def test_junit_holds_every_word_as_text() -> None:
    hostile = ET.fromstring(rendered("junit"))  # noqa: S314 - our own text
    tame = ET.fromstring(rendered("junit", TAME))  # noqa: S314 - our own text
    assert {each.tag for each in hostile.iter()} == {each.tag for each in tame.iter()}
    assert "<!DOCTYPE x" in "".join(hostile.itertext())


def test_no_cell_begins_like_a_formula_and_none_splits() -> None:
    rows = list(csv.reader(io.StringIO(rendered("csv"), newline="")))
    assert len(rows) == len(CORPUS) + 1
    assert {len(row) for row in rows} == {len(rows[0])}
    starts = {cell.lstrip()[:1] for row in rows for cell in row}
    assert starts.isdisjoint(set("=+-@|%\t\r\n\uff1d\uff0b\uff0d\uff20"))


@pytest.mark.parametrize("form", ["json", "sarif", "oscal"])
def test_json_forms_are_one_document(form: str) -> None:
    assert isinstance(json.loads(rendered(form)), dict)


def test_sarif_messages_have_no_link() -> None:
    for result in json.loads(rendered("sarif"))["runs"][0]["results"]:
        assert "](" not in result["message"]["text"]
        assert result["message"]["text"].isprintable()


def test_markdown_has_no_markup_of_theirs() -> None:
    text = rendered("markdown")
    bare = re.sub(r"\\[\\`*_{}\[\]<>()#+!|~&:@-]", "", text)
    assert not re.search(r"[\[\]<>~]|\]\(|!\[", re.sub(r"`fleetmdm report [^`]*`", "", bare))
    marks = {line[:2] for line in bare.splitlines() if line}
    assert marks <= {"# ", "##", "| ", "- ", "As", "Sh", "r ", "r"}


def test_oscal_texts_have_no_markup_of_theirs() -> None:
    result = json.loads(rendered("oscal"))["assessment-results"]["results"][0]
    for each in (*result["observations"], *result["findings"]):
        for name in ("title", "description"):
            bare = re.sub(r"\\[\\`*_{}\[\]<>()#+!|~&:@-]", "", each[name])
            assert not re.search(r"[<>\[\]`*]", bare)


def test_a_forged_line_of_a_message_is_indented() -> None:
    for word in CORPUS:
        first, *more = show_lines(f"no device {word}").split("\n")
        assert first.isprintable()
        assert all(line.startswith("  ") for line in more)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("rows.csv", "rows.csv"),
        ("https://example.org/a?b=c&d#e", "https://example.org/a?b=c&d#e"),
        ("javascript:alert(1)", "./javascript:alert%281%29"),
        ('x" onclick="y', "x%22%20onclick=%22y"),
        ("data:text/html,<b>", "./data:text/html,%3Cb%3E"),
        ("a/b:c", "a/b:c"),
    ],
)
def test_an_address_can_only_be_followed(given: str, written: str) -> None:
    assert safe_url(given) == written


def test_a_cell_is_no_longer_than_a_spreadsheet_takes() -> None:
    # Those that cannot be printed are in no policy, where a name is shorter.
    words = ("tame", "\n" + "x" * 40_000, "=\n" + "y" * 40_000, "\t\n" * 20_000)
    text = rendered("csv", words)
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert max(map(len, cells)) == 32_767
    assert sum(cell.endswith("…") for cell in cells) >= 3
