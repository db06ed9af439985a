"""The HTML report in Chromium: complete, accessible, quiet on the network, small."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from hostile import hostile_report
from playwright.sync_api import sync_playwright

from fleetmdm.report import to_html

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Request

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def context(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Iterator[BrowserContext]:
    """A new Chromium with an empty profile."""
    chromium = require_program("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=chromium,
            args=FLAGS,
            viewport={"width": 1200, "height": 900},
            timeout=PATIENCE_MS,
        )
        opened.set_default_timeout(PATIENCE_MS)
        yield opened
        opened.close()


@pytest.fixture
def page(context: BrowserContext, tmp_path: Path) -> Iterator[tuple[Page, list[str], list[str]]]:
    """The page of the hostile corpus, what it asked the network for, and what it said."""
    path = tmp_path / "report.html"
    path.write_text("".join(to_html.render(hostile_report(), data_url="rows.csv")))
    page = context.new_page()
    requested: list[str] = []
    said: list[str] = []

    def note(request: Request) -> None:
        requested.append(request.url)

    page.on("request", note)
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert requested.pop(0) == path.as_uri()
    yield page, requested, said
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_silent(
    page: tuple[Page, list[str], list[str]], scheme: str
) -> None:
    opened, requested, said = page
    opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 22, 28)") == (scheme == "dark")
    found = Axe().run(opened).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
    assert (requested, said) == ([], [])
    if folder := os.environ.get("SCREENSHOTS"):
        opened.screenshot(path=Path(folder) / f"report-{scheme}.png", full_page=True)


def test_every_link_within_the_page_leads_somewhere(
    page: tuple[Page, list[str], list[str]],
) -> None:
    opened, _, _ = page
    assert (
        opened.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')]"
            ".filter(a => !document.getElementById(a.hash.slice(1))).length"
        )
        == 0
    )
    assert opened.locator("a[href='rows.csv']").count() > 0


def test_on_paper_the_tables_are_whole_and_the_ground_is_white(
    page: tuple[Page, list[str], list[str]],
) -> None:
    opened, _, _ = page
    opened.emulate_media(media="print", color_scheme="dark")
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    assert opened.evaluate(
        "[...document.querySelectorAll('.wide')].every(e => getComputedStyle(e).overflowX"
        " === 'visible')"
    )
    assert not opened.locator(".up").first.is_visible()
    assert opened.pdf(format="A4").startswith(b"%PDF")
