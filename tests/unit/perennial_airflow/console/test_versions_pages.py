"""The pages of a model's versions: the list, one of them, two side by side; who may see them, hostile text, hundreds of them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from perennial.lineage.version_notes import card_key, evaluation_key, note_versions
from perennial.store import FolderStore
from perennial_airflow.console import PREFIX
from perennial_airflow.console.cards import as_html

from ....judged import store_judged
from . import test_pages
from .test_pages import HOSTILE

pytestmark = test_pages.pytestmark
ask = test_pages.ask
LONG = "x" * 10_000


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A version 1, a version 2 measured beside it, and a refused candidate, of the model that the person may read."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    store = FolderStore(str(tmp_path))
    one = store_judged(store, "churn", number=1, loss=0.6, parameters={"batch_size": 64, "patience": 3})
    beside = {"champion": (1, one), "champion_loss": 0.6}
    two = store_judged(store, "churn", number=2, at=1, parameters={"batch_size": 128, "patience": 3}, **beside)
    bad = store_judged(store, "churn", passed=False, sentence=f"Worse {HOSTILE}", loss=0.9, at=2, **beside)
    return {"one": one, "two": two, "bad": bad}


PAGES = ("versions", "versions/2", "versions/1/2", "versions.json", "versions/2.json", "versions/1/2.json", "versions/compare")


@pytest.mark.parametrize("page", PAGES)
def test_only_who_may_read_a_model_sees_its_versions(ask: Any, digests: dict[str, str], page: str) -> None:
    """DM-09: Without a login 401, of a model that one may not read 404, and the page itself to who may."""
    assert ask(f"/models/churn/{page}", user=None).status_code == 401
    assert ask(f"/models/secret/{page}").status_code == 404
    assert ask(f"/models/churn/{page}").status_code == (303 if page == "versions/compare" else 200)


def test_a_comparison_is_two_clicks_from_the_list(ask: Any, digests: dict[str, str]) -> None:
    """MO-10, MO-13: The list leads to the model, the model to the comparison of its champion with what is newest, refused or not."""
    assert f'href="{PREFIX}/models/churn"' in ask("/models").text
    assert f'href="{PREFIX}/models/churn/versions/compare"' in ask("/models/churn").text
    assert ask("/models/churn/versions/compare").headers["Location"] == f"{PREFIX}/models/churn/versions/2/{digests['bad'][:12]}"
    asked = ask("/models/churn/versions/compare?a=1&b=2")
    assert asked.headers["Location"] == f"{PREFIX}/models/churn/versions/1/2"
    odd = ask("/models/churn/versions/compare?a=1&b=//evil.example/%0d%0aX")
    assert odd.headers["Location"].startswith(f"{PREFIX}/models/churn/versions/1/%2F%2Fevil")


def test_every_other_version_leads_to_its_comparison_with_the_champion(ask: Any, digests: dict[str, str]) -> None:
    """MO-10: From the list of versions that is one click, whatever is newest; the champion itself is compared with none."""
    page = ask("/models/churn/versions").text
    pairs = ["2/1", f"{digests['bad'][:12]}/1"]
    assert sorted(re.findall(r'versions/(\w+/\w+)">compare with version 1, the champion', page)) == sorted(pairs)


def test_two_versions_stand_side_by_side(ask: Any, digests: dict[str, str]) -> None:
    """MO-10, MO-13: The gate's verdict of both comes first; then figures with differences, the parameters that differ and all of them."""
    page = ask("/models/churn/versions/1/2").text
    assert page.index("The gate let it in") < page.index("<h2>Figures</h2>") < page.index("<h2>Parameters</h2>")
    assert "Both were measured on the same 200 test rows" in page
    differing, rest = page.split("<h2>Parameters</h2>")[1].split("<details>")[:2]
    assert "batch_size" in differing
    assert "patience" not in differing
    assert "patience" in rest
    assert "-0.1 (-0.12 to -0.08)" in page
    selects = re.findall(r'<select name="(\w)" id="version-\w">.*?<option value="(\w+)" selected>', page, re.DOTALL)
    assert selects == [("a", "1"), ("b", "2")]
    drawn = json.loads(re.search(r"id='chart-figures' data-chart='([^']*)'", page)[1].replace("&#34;", '"'))  # type: ignore[index]
    assert len(drawn["grid"]) == 2  # a scale for each metric
    assert {one["name"] for one in drawn["series"]} == {"A, version 1", "B, version 2"}


def test_a_refused_candidate_has_a_page_and_a_comparison(ask: Any, digests: dict[str, str]) -> None:
    """MO-13: By its digest, of which some signs are enough; the gate's reason is on top."""
    for address in (f"/models/churn/versions/{digests['bad']}", f"/models/churn/versions/1/{digests['bad'][:8]}"):
        page = ask(address).text
        assert "The gate refused it" in page
        assert "Worse &lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("where", ["versions", "versions/2", "versions/1/2"])
def test_text_of_people_and_files_is_shown_as_text(ask: Any, digests: dict[str, str], tmp_path: Path, where: str) -> None:
    """MO-12: Markup in a card, a slice, a parameter, a metric's name; ten thousand signs; right-to-left marks and control signs."""
    store = FolderStore(str(tmp_path))
    strange = f"{HOSTILE}\u202e\x07 {LONG}"
    store.write(card_key("churn", digests["two"]), f"# {strange}\n\n[press](javascript:alert(1)) ![](http://evil) <b>bold</b>".encode())
    document = json.loads(store.read(evaluation_key("churn", digests["two"])))
    measured = document["parts"]["test"]["candidate"]
    measured["slices"] = {strange: {strange: {"rows": 40, "log_loss": 0.4}}}
    measured["metrics"][strange] = 0.5
    store.write(evaluation_key("churn", digests["two"]), json.dumps(document).encode())
    page = ask(f"/models/churn/{where}").text
    assert len(re.findall("<script[^>]*>", page)) == 3  # the console's own
    assert "<script>alert" not in page
    assert "<b>bold" not in page
    assert "javascript:" not in "".join(re.findall(r"<[^>]*>", page))
    assert not re.findall(r"<[a-z][^>]* style=", page)


def test_a_card_keeps_its_form_and_cannot_act() -> None:
    """MO-12: Headings go below the page's own, tables stay; links lead to the web or are none, pictures are none."""
    html = str(
        as_html("# Title\n\n| a | b |\n| :-- | --: |\n| 1 | 2 |\n\n* one\n\n[web](https://example.org) [not](data:text/html,x) ![p](x.png)")
    )
    assert "<h3>Title</h3>" in html
    assert html.count('<th scope="col">') == 2
    assert "<li>one</li>" in html
    assert re.findall(r"href=\"([^\"]*)\"", html) == ["https://example.org"]
    assert "<img" not in html
    assert " style=" not in html
    assert "&lt;script&gt;" in as_html("<script>alert(1)</script>")


def test_three_hundred_versions_are_paged(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has thirty; the next and the one before are links; any of the newest three hundred can be chosen to compare."""
    monkeypatch.setattr(os, "fsync", lambda file: None)
    store = FolderStore(str(tmp_path))
    for at in range(310):
        store_judged(store, "churn", number=at + 1, at=at)
    note_versions(store, "churn")
    page = ask("/models/churn/versions?page=2").text
    assert page.count("<li>\n<h3>") == 30
    assert re.findall(r'<a href="\?page=(\d+)" rel="(\w+)"', page) == [("1", "prev"), ("3", "next")]
    assert page.count("<option") == 2 * 300
    assert "The newest 300 can be chosen here" in page
    assert ask("/models/churn/versions?page=99999999999").status_code == 200


def test_what_there_is_not_is_said(ask: Any, tmp_path: Path, digests: dict[str, str]) -> None:
    """MN-18: An unknown version is a sentence; a version without evaluation, with a damaged manifest, or a model without any has a page."""
    assert "has no version 77" in ask("/models/churn/versions/77").text
    assert ask("/models/churn/versions/1/77").status_code == 404
    store = FolderStore(str(tmp_path))
    store.delete(evaluation_key("churn", digests["two"]))
    store.write(f"models/churn/versions/{digests['two']}/manifest.json", b"{")
    assert "There are no figures of it" in ask("/models/churn/versions/2").text
    page = ask("/models/churn/versions/1/2").text
    assert "There are no figures of version 2" in page
    assert "cannot be read: restore models/churn/versions/" in page
    for place in list(store.list("models/churn")):
        store.delete(place.key)
    for place in list(store.list("reports/churn")):
        store.delete(place.key)
    assert "No version is registered yet" in ask("/models/churn/versions").text
    assert "there are not two to compare" in ask("/models/churn/versions/compare").text
