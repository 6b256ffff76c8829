"""Pages of a web site read into a table by a function of the dataset's file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perennial.errors import SourceRefused, SourceUnreachable
from perennial.sources import pages
from perennial.sources.pages import Page
from perennial.specs import Column, DatasetSpec, PagesSource, Pagination
from perennial.testing.collecting import Collecting
from perennial.testing.service import Asked, Reply, Service

HTML = {"Content-Type": "text/html"}


class Headlines(HTMLParser):
    """Rows of `<li data-id=… data-at=…>title</li>`, and the links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "li":
            self.rows.append({"id": given["data-id"], "at": given["data-at"], "title": ""})
        if tag == "a":
            self.links.append(str(given["href"]))

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1]["title"] += data.strip()


def parse(page: Page) -> Iterator[dict[str, Any]]:
    """What a dataset's file would define."""
    found = Headlines(page.text)
    yield from found.rows
    for link in found.links:
        page.follow(link)


@pytest.fixture
def service() -> Iterator[Service]:
    """A site with an index of three pages with headlines."""
    with Service() as service:
        service.answers["/robots.txt"] = lambda asked: Reply(
            "User-agent: Perennial\nDisallow: /private\nCrawl-delay: 3\n\nUser-agent: *\nDisallow: /\n"
        )
        service.answers["/"] = lambda asked: Reply(
            '<a href="/n/1#top">1</a><a href="n/2">2</a><a href="/n/3">3</a><a href="/n/1">1</a>', headers=HTML
        )
        for number in (1, 2, 3):
            service.answers[f"/n/{number}"] = lambda asked, number=number: Reply(
                f'<meta charset="latin-1"><ul><li data-id={number} data-at="2026-03-0{number}">Züge &amp; {number}</ul>'.encode("latin-1"),
                headers=HTML,
            )
        yield service


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between requests take no time; what they would take is told."""
    pauses: list[float] = []
    monkeypatch.setattr(pages, "time", type("Clock", (), {"sleep": staticmethod(pauses.append)}))
    return pauses


def _news(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch, function: Any = parse, **source: Any) -> Collecting:
    file = ModuleType("perennial_datasets.news")
    if function:
        file.parse = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, file.__name__, file)
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="title", type="string"))
    spec = DatasetSpec(
        name="news", title="News", owner="press", columns=columns, key=("id",), event_time="at",
        source=PagesSource(**{"url": f"{service.url}/", "pause": 2, **source}),
    )  # fmt: skip
    return Collecting(spec, tmp_path / "store")


def test_rows_of_pages_that_lead_to_each_other(
    tmp_path: Path, service: Service, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-01: An index leads to three pages, each is read once, in its own encoding, with pauses and a name; the next look finds nothing
    new, and a link that leads nowhere costs nothing."""
    news = _news(tmp_path, service, monkeypatch)
    assert news.collect().rows == 3
    assert [asked.path for asked in service.asked] == ["/robots.txt", "/", "/n/1", "/n/2", "/n/3"]
    assert all(asked.headers["user-agent"].startswith("Perennial/") for asked in service.asked)
    assert pauses == [3.0] * 3
    del service.answers["/n/2"]
    second = news.collect()
    assert (second.outcome, "1 page that others lead to is not there" in second.sentence) == ("skipped", True)
    assert not news.take_in().refused
    assert [(row["id"], row["title"]) for row in news.rows()] == [(1, "Züge & 1"), (2, "Züge & 2"), (3, "Züge & 3")]


def test_a_kill_before_any_write_costs_nothing(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DE-22: Killed before each of its writes in turn: pages that are still to be read are known, every row is in once."""
    before = 1
    while True:
        news = Collecting(_news(tmp_path, service, monkeypatch, piece_pages=2).spec, tmp_path / f"store-{before}")
        killed = news.collect_killed(before)
        news.collect()
        assert news.collect().outcome == "skipped"
        assert not news.take_in().refused
        assert news.keys() == {1: 1, 2: 1, 3: 1}
        if not killed:
            break
        before += 1
    assert before > 8


def test_robots_are_honoured(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: What robots.txt does not allow is not read, nor behind a redirect; without the file all is, with a locked one nothing."""
    service.answers["/private/n"] = service.answers["/n/1"]
    private = _news(tmp_path, service, monkeypatch, url=f"{service.url}/private/n")
    with pytest.raises(SourceRefused, match=r"robots.txt does not allow Perennial to read .*/private/n: ask its owner"):
        private.collect()
    service.answers["/moved"] = lambda asked: Reply("", 302, {"Location": "/private/n"})
    with pytest.raises(SourceRefused, match="does not allow Perennial"):
        _news(tmp_path, service, monkeypatch, url=f"{service.url}/moved").collect()
    other = _news(tmp_path, service, monkeypatch, url=f"{service.url}/n/1", headers={"User-Agent": "Others/1"})
    with pytest.raises(SourceRefused, match="does not allow Others to read"):
        other.collect()
    asked_owner = _news(tmp_path / "a", service, monkeypatch, url=f"{service.url}/private/n", robots=False)
    assert asked_owner.collect().rows == 1
    for status, allowed in ((404, True), (403, False)):
        service.answers["/robots.txt"] = lambda asked, status=status: Reply("", status)
        open_site = _news(tmp_path / str(status), service, monkeypatch, url=f"{service.url}/private/n")
        if allowed:
            assert open_site.collect().rows == 1
        else:
            with pytest.raises(SourceRefused, match="does not allow Perennial"):
                open_site.collect()


def test_pages_that_are_numbered(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Any pagination goes with parse; of numbered pages the first without rows is the last."""

    def numbered(asked: Asked) -> Reply:
        number = int(asked.parameters["page"])
        return Reply(f"<li data-id={number} data-at=2026-03-01>x</li>" if number < 4 else "<p>no more", headers=HTML)

    service.answers["/list"] = numbered
    news = _news(tmp_path, service, monkeypatch, url=f"{service.url}/list", pagination=Pagination(by="page"))
    assert news.collect().rows == 3


def test_a_parse_that_breaks_or_finds_nothing(tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01, DE-15: No parse, one that breaks, gives no rows, or finds none since the site has changed: a sentence, and nothing is lost."""

    def breaks(page: Page) -> Iterator[dict[str, Any]]:
        raise KeyError("data-id")
        yield {}

    for function, error, why in (
        (None, SourceRefused, r"perennial_datasets/news.py defines no parse\(page\): write it there"),
        (breaks, SourceUnreachable, "parse of news broke with KeyError: 'data-id'. What was read before is safe"),
        (lambda page: ["x"], SourceRefused, r"parse of news gives what is no row at .*let it yield dicts"),
        (lambda page: [{"id": object()}], SourceRefused, "a object, which JSON does not have"),
        (lambda page: None, SourceRefused, "gives nothing that can be gone through: let it yield"),
        (lambda page: [], SourceRefused, "parse of news found no row at .*has the site changed"),
        (lambda page: [{"id": 1, "at": "2026-03-01"}], SourceRefused, "No record of .* has title; they have at, id"),
    ):
        with pytest.raises(error, match=why):
            _news(tmp_path, service, monkeypatch, function).collect()
    assert _news(tmp_path, service, monkeypatch).collect().rows == 3
