"""The pages of Data Docs, whatever the data say."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

import pandas as pd
import pytest

from perennial.quality import data_docs
from perennial.quality.validation import validate
from perennial.specs import DatasetSpec
from perennial.store import FolderStore

from ....payloads import payloads

TEXTS = payloads("http://stranger.example")
# What data_docs.js says now, and what it said in the pages of earlier times.
NEWER = (
    (
        'document.addEventListener("click"',
        "function showAllValidations() { showValidations(false); }\nfunction hideSucceededValidations() { showValidations(true); }\n"
        'document.addEventListener("click"',
    ),
    (
        '  const filter = event.target.closest(".btn-group .btn");\n'
        '  if (filter) showValidations(filter.textContent.includes("Failed"));\n',
        "",
    ),
)


class _Page(HTMLParser):
    """Elements, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep both."""
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        """Keep it."""
        self.text += data


@pytest.fixture
def refused(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> _Page:
    """The page of a batch whose name, columns and categories are markup."""
    day["carrier"] = (TEXTS * 30)[: len(day)]
    day["dest"] = (TEXTS[20:] * 60)[: len(day)]
    verdict = validate(day.assign(**dict.fromkeys(TEXTS, 1)), flights, " ".join(TEXTS), store=store)
    assert not verdict.passed
    return _Page(store.read(verdict.report_key).decode())


def test_a_refused_batch_cannot_write_into_its_page(refused: _Page) -> None:
    """Name, columns and values are text: no element, handler or address comes from them."""
    assert refused.elements.count("script") == 1  # ours
    assert not {"img", "iframe", "object", "embed", "base", "form", "svg", "meta "} & set(refused.elements)
    assert refused.elements.count("meta") == 2  # ours
    assert not [name for name, _ in refused.attributes if name.startswith("on")]
    assert not [value for name, value in refused.attributes if name in ("href", "src") and ":" in (value or "")]


def test_what_a_refused_batch_says_can_be_read(refused: _Page) -> None:
    """Every text stands in the page as it was written, and the verdict's own sentence too."""
    said = "".join(refused.text.split())
    assert not [text for text in TEXTS if said.count("".join(text.split())) < 2]


def test_a_text_may_hold_every_letter(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """The signs that stand for markup while a page is made are never those that the data hold."""
    day.loc[0, "carrier"] = "\U00010600<\U00010601&\U00010602"
    page = _Page(store.read(validate(day, flights, "d", store=store).report_key).decode())
    assert "\U00010600<\U00010601&\U00010602" in page.text


def test_the_script_of_a_page_is_named_by_what_it_is(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """The reports server lets run what has this digest: exactly the text between the tags, of today's pages and of earlier ones."""
    text = store.read(validate(day, flights, "d", store=store).report_key).decode()
    script = text.partition("<script>")[2].partition("</script>")[0]
    earlier = script.replace(*NEWER[0]).replace(*NEWER[1])
    named = [f"sha256-{base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()}" for found in (script, earlier)]
    assert list(data_docs.script_hashes()) == named
