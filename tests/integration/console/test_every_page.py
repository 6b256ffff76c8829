"""Every page of the console in a real browser: reached by links, drawn, readable by everybody, and no words of a stranger act in it.

The pages are found by following links, so a new page is tested once something leads to it, and a page to which nothing leads fails.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress

import pytest

from ... import browser as browsers
from . import filled
from .conftest import PREFIX, Shown

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]
QUESTIONS = ("/run.json", "/explain-run.json", "/models/{name}/served-at.json", "/models/{name}/prediction.json")  # documents that need one
WIDTHS = (1280, 390)  # px
BLANK = "/started"  # a page of the server that is none of the console
BORDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# Charts that are not drawn, or have no table behind them.
UNDRAWN = """[...document.querySelectorAll("[data-chart]")].filter((place) =>
    !place.querySelector("svg path") || !place.closest("figure").querySelector("details table tbody tr")).map((place) => place.id)"""
# What a stranger's words would have made, were they markup.
FOREIGN = """[...document.querySelectorAll("*")].filter((one) =>
    ["iframe", "object", "embed", "base", "img", "video", "audio", "foreignobject", "marquee", "math"].includes(one.localName)
    && !one.matches("iframe.report[src^='/perennial/reports/']")
    || [...one.attributes].some((at) => at.name.startsWith("on") || /^\\s*(javascript|data|vbscript):/i.test(at.value))
).map((one) => one.outerHTML.slice(0, 300))"""

# The parts that reach farthest to the right without one around them that scrolls.
WIDEST = """[...document.querySelectorAll("main *")].filter((one) =>
    one.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !one.closest(".scroll")
).slice(0, 3).map((one) => `${one.localName}.${one.className.baseVal ?? one.className}`).join(", ")"""


def test_every_page_is_reached_by_links(shown: Shown) -> None:
    """Links from the list of models, and from the pages that Airflow opens, lead to each page there is, and each of them answers, for a
    model in any state."""
    asked = {address: shown.ask(address)[0] for address in shown.pages}
    # Of a broken model without any version it is not known which data it reads: a sentence says so.
    assert {address: status for address, status in asked.items() if status != 200} in ({}, {f"{PREFIX}/models/{filled.BROKEN}/data": 404})
    reached = {shown.route_of(address) for address in asked}
    assert [route for route in shown.routes if route not in reached] == []
    for name in (filled.HOSTILE, filled.CALM, filled.ENDED, filled.EMPTY, filled.BROKEN):
        assert f"{PREFIX}/models/{name}" in asked


def test_every_link_leads_somewhere(shown: Shown) -> None:
    """A link of the console to the console has a page behind it, and a document beside a page is JSON."""
    links = {
        link
        for address in shown.pages
        for link in re.findall(rf"href=[\"']({PREFIX}/[^\"'#]+)", shown.ask(address)[1])
        if "/static/" not in link
    }
    assert {link for link in links if not shown.route_of(link) and not link.split("?")[0].endswith(".json")} == set()
    for route in shown.told("/routes"):
        if route.endswith(".json") and route not in QUESTIONS and re.findall("{(.*?)}", route) in ([], ["name"]):
            assert shown.told(PREFIX + route.replace("{name}", filled.CALM)), route


def test_every_page_is_for_everybody(shown: Shown, page: browsers.Page) -> None:
    """SC-01: On a desk and on a phone, in light and dark, as it came and after it asked again: axe finds nothing serious, nothing is wider
    than the window, each picture is drawn and has a table; neither console nor policy has anything to say, whatever a stranger wrote."""
    wrong = []
    page.by_hand()  # nothing is exchanged while it is looked at
    for address in shown.pages:
        if shown.ask(address)[0] != 200 or (f"/{filled.ENDED}/" in address and not address.endswith("/release")):
            continue  # ENDED differs from CALM in its release alone
        page.size(WIDTHS[0])
        page.media()
        page.go(shown.address + (BLANK if address.startswith(f"{PREFIX}/reports/") else address))
        if address.startswith(f"{PREFIX}/reports/"):  # no script runs in a report, axe neither: it is looked at as a page without a policy
            page.run(f"document.open(); document.write({json.dumps(shown.ask(address)[1])}); document.close()")
        for width in WIDTHS:
            page.size(width)
            page.media()
            if width == WIDTHS[-1]:
                page.tick()
            with suppress(TimeoutError):  # what is not drawn by then is named
                page.until(f"{UNDRAWN}.length === 0")
            wrong += [f"{address}: not drawn {name}" for name in page.run(UNDRAWN)]
            wrong += [f"{address}: foreign {part}" for part in page.run(FOREIGN)]
            if (over := page.run(BORDER)) > 0:
                wrong.append(f"{address}: {over} px wider than {width}, by {page.run(WIDEST)}")
            wrong += [f"{address}, {width}: {line}" for line in page.axe()]
            page.media(dark=True)
            wrong += [f"{address}, {width}, dark: {line}" for line in page.axe(rules=("color-contrast", "link-in-text-block"))]
        wrong += [f"{address}: {problem}" for problem in page.problems]
        page.problems.clear()
    assert wrong == [], "\n".join(wrong)


def test_the_words_of_a_stranger_are_shown(shown: Shown, page: browsers.Page) -> None:
    """SC-01: Each of the forty texts can be read on the pages of the model whose files, columns and people hold them."""
    read = ""
    for address in shown.pages:
        if f"/models/{filled.HOSTILE}" in address:
            page.go(shown.address + address)
            read += page.run("document.body.textContent")
    read = "".join(read.split())
    assert [text for text in shown.texts if "".join(text.split()) not in read] == []
