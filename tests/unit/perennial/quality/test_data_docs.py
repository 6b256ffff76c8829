"""The pages of Data Docs, whatever the data say."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

import pandas as pd
import pytest

from perennial.quality import data_docs
from perennial.quality.validation import validate
from perennial.reports import sandbox
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
    """SC-01: Name, columns and values are text: no element, handler or address comes from them."""
    assert refused.elements.count("script") == 1  # ours
    assert not {"img", "iframe", "object", "embed", "base", "form", "svg", "meta "} & set(refused.elements)
    assert refused.elements.count("meta") == 2  # ours
    assert not [name for name, _ in refused.attributes if name.startswith("on")]
    assert not [value for name, value in refused.attributes if name in ("href", "src") and ":" in (value or "")]


def test_what_a_refused_batch_says_can_be_read(refused: _Page) -> None:
    """DM-10: Every text stands in the page as it was written, and the verdict's own sentence too."""
    said = "".join(refused.text.split())
    assert not [text for text in TEXTS if said.count("".join(text.split())) < 2]


def test_a_text_may_hold_every_letter(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """DM-10: The signs that stand for markup while a page is made are never those that the data hold."""
    day.loc[0, "carrier"] = "\U00010600<\U00010601&\U00010602"
    page = _Page(store.read(validate(day, flights, "d", store=store).report_key).decode())
    assert "\U00010600<\U00010601&\U00010602" in page.text


def test_the_script_of_a_page_is_named_by_what_it_is(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """SC-01: A browser may run what has this digest: exactly the text between the tags, of today's pages and of earlier ones."""
    text = store.read(validate(day, flights, "d", store=store).report_key).decode()
    script = text.partition("<script>")[2].partition("</script>")[0]
    earlier = script.replace(*NEWER[0]).replace(*NEWER[1])
    named = [f"sha256-{base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()}" for found in (script, earlier)]
    assert list(sandbox.script_hashes()) == named


def test_a_refusal_cannot_write_into_its_page(flights: DatasetSpec, store: FolderStore) -> None:
    """SC-01: A file that no suite saw has a page and a row in the index, whatever its name and the sentence say; rows that nobody could
    count are unknown."""
    for number, text in enumerate(TEXTS):
        key = data_docs.Page("flights", text, f"{number:064x}"[::-1], None, "refused")
        data_docs.write_refusal(store, key, f"{text} is refused.")
        page = _Page(store.read(key.key).decode())
        assert f"{text} is refused." in page.text
        assert page.elements.count("script") == 1  # ours
        assert not {"img", "iframe", "object", "embed", "base", "form", "svg"} & set(page.elements)
        assert not [name for name, _ in page.attributes if name.startswith("on")]
    index = _Page(store.read(data_docs.write_index(store, "flights")).decode())
    assert f"{len(TEXTS)} in all: 0 passed, 0 warning, {len(TEXTS)} refused" in index.text
    assert index.text.count("unknown") == len(TEXTS)
    assert not {"img", "iframe", "object", "embed", "base", "form", "svg"} & set(index.elements)


@pytest.mark.parametrize("earlier", ["passed", "warning"])
def test_a_file_that_the_table_refused_is_not_listed_as_passed(flights: DatasetSpec, store: FolderStore, earlier: data_docs.Status) -> None:
    """DM-10: Its page has the reason and leads to what the suite said; once it is validated anew, the index says that instead. Snapshots
    have no digest: each keeps its row."""
    validated = data_docs.Page("flights", "a.csv", "a" * 64, 9, earlier)
    store.write(validated.key, b"the suite's page")
    for status in ("passed", "warning"):
        store.write(data_docs.Page("flights", "snapshot 3", "", 9, status).key, b"a page")
    refused = data_docs.Page("flights", "a.csv", "a" * 64, 9, "refused")
    data_docs.write_refusal(store, refused, "Its keys are in already.", validated.key)
    page, index = (_Page(store.read(key).decode()) for key in (refused.key, data_docs.write_index(store, "flights")))
    assert "Its keys are in already." in page.text
    assert ("href", validated.key.rsplit("/", 1)[1]) in page.attributes
    assert "3 in all: 1 passed, 1 warning, 1 refused" in index.text
    store.write(validated.key, b"the suite's page, anew")
    assert "3 in all: " in (text := _Page(store.read(data_docs.write_index(store, "flights")).decode()).text)
    assert "0 refused" in text
