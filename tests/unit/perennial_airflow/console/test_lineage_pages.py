"""Data, a batch, lineage and the ledger as pages: what the views say, with links between them, and no text of a file or a person acts."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import date, datetime, timedelta, timezone
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from perennial import discovery
from perennial.data.receipts import Receipt, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.lineage.ledger import Ledger
from perennial.lineage.served_windows import ServedWindow
from perennial.settings import Settings
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore
from perennial.views.data import DayOfData
from perennial.views.lineage import LineageView, SourceFile, SourceSnapshot
from perennial_airflow.console import PREFIX, Console
from perennial_airflow.console.pictures import batches, way

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
HOSTILE = "<script>alert(1)</script>'\"&{{7*7}}\u202e" + "x" * 3000 + ".csv"
BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SPEC = ModelSpec(
    name="churn", title="Churn", owner="crm", dataset="d", task="regression", inputs=("a",), label="b",
    gate=GateSpec(metric="rmse", floors={}),
)  # fmt: skip
PAGES = ("data", "data/bad", "lineage", "ledger")


class Guard:
    """The auth manager, as far as the console asks it."""

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], **_: Any) -> set[str]:
        return dag_ids & {"churn_training"}

    def is_authorized_dag(self, **_: Any) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(str(tmp_path))
    for place, (id, facts) in enumerate(
        {
            "good": {"outcome": "appended", "counts": RowCounts(added=5), "since": 1, "version": 1},
            "bad": {"outcome": "refused", "name": HOSTILE, "sentence": f"Refused: {HOSTILE}", "report": f"reports/d/{HOSTILE}",
                    "counts": RowCounts(refused=5)},
        }.items()
    ):  # fmt: skip
        fields = {"name": f"{id}.csv", "digest": id * 16, "sentence": "In.", "rows": 5, "time": BEGIN + timedelta(days=place), **facts}
        write_receipt(store, "d", Receipt(id=id, size=1, **fields))
    digests = {number: f"{number}" * 64 for number in range(1, 4)}
    ledger = Ledger(store, "churn")
    for after in range(60):
        fields = {"weights": {1: 10_000}, "versions": digests, "reason": f"Number {after}: {HOSTILE}", "actor": HOSTILE, "now": BEGIN}
        ledger.append("released", version=1, champion=1, after_seq=after - 1 if after else None, evidence={"a": HOSTILE}, **fields)
    line = {"id": "p-0", "version": 1, "time": BEGIN.isoformat()}
    store.write("predictions/churn/1.jsonl", json.dumps(line).encode() + b"\n")
    return store


@pytest.fixture
def ask(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ask the console as somebody who may read one of two models; with `user=None` as nobody."""
    from airflow.api_fastapi.core_api.security import get_user

    monkeypatch.setattr(discovery, "_models", lambda: ({name: SPEC.model_copy(update={"name": name}) for name in ("churn", "secret")}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    for module in ("website", "buttons"):
        monkeypatch.setattr(f"perennial_airflow.console.{module}.get_auth_manager", Guard)
    pages = Console(Settings.from_environment({"PERENNIAL_STORE": str(store.path)}))

    def ask(path: str, user: Any = "somebody") -> httpx.Response:
        app: Any = pages.app
        app.dependency_overrides = {get_user: lambda: user} if user else {}

        async def answer() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://localhost:8080") as client:
                return await client.get(path)

        return asyncio.run(answer())

    return ask


@pytest.mark.parametrize("page", [*PAGES, *(f"{page}.json" for page in PAGES), "served-at.json?at=2026-03-01", "prediction.json?id=p"])
def test_who_may_not_see_a_model_sees_none_of_its_pages(ask: Any, page: str) -> None:
    """SC-01: Without a login each page is refused; a model that one may not read is as if there were none."""
    assert ask(f"/models/churn/{page}", user=None).status_code == 401
    assert ask(f"/models/secret/{page}").status_code == 404
    assert ask(f"/models/churn/{page}").status_code == 200


@pytest.mark.parametrize("page", [*PAGES, "data?only=refused", "ledger?id=<script>", "ledger?at=<script>"])
def test_hostile_text_is_shown_as_text(ask: Any, page: str) -> None:
    """A file's name, a reason, a person or a query that holds markup is shown as it stands."""
    text = ask(f"/models/churn/{page}").text
    assert {*re.findall("<script[^>]*>", text)} == {
        f'<script src="{PREFIX}/static/{name}.js" defer>' for name in ("echarts", "charts", "console")
    }
    assert "style=" not in text
    assert "{{7*7}}" in text or "?" in page or page == "lineage"  # which has no words of anybody here


def test_the_pages_lead_from_one_to_the_other(ask: Any) -> None:
    """SC-05: From the model's tabs to its files, from a file to what it reached, from a decision to the version's lineage."""
    assert f'href="{PREFIX}/models/churn/data"' in ask("/models/churn").text
    data = ask("/models/churn/data").text
    assert f'href="{PREFIX}/models/churn/data/bad?dataset=d"' in data
    assert data.count('<th scope="row"') == 2
    assert ask("/models/churn/data?only=refused").text.count('<th scope="row"') == 1
    assert "perennial remove-batch d goodgoodgood --reason" in unescape(ask("/models/churn/data/good").text)
    assert f'href="{PREFIX}/models/churn/lineage?version=1"' in ask("/models/churn/ledger").text
    assert "what it learned from is not known" in ask("/models/churn/lineage?version=1").text


def test_the_ledger_is_shown_page_by_page_and_asked(ask: Any) -> None:
    """SC-03: Sixty entries are two pages; a moment and a prediction are answered on the page, or the command is named that can."""
    first = ask("/models/churn/ledger").text
    assert first.count('<th scope="row"') == 50
    (older,) = re.findall(r'href="[^"]*(\?before=\d+)">Older entries', first)
    assert ask(f"/models/churn/ledger{older}").text.count('<th scope="row"') == 10
    assert "version 1 (111111111111) 100\u00a0%" in ask("/models/churn/ledger?at=2026-03-02T12:00").text
    assert "nothing served at 2026-02-01" in ask("/models/churn/ledger?at=2026-02-01T12:00:00").text
    assert "is no time: write it like" in ask("/models/churn/ledger?at=soon").text
    assert "version 1 answered it" in ask("/models/churn/ledger?id=p").text
    assert "perennial served-at --model churn --prediction old" in ask("/models/churn/ledger?id=old").text
    assert ask("/models/churn/ledger?kind=nothing").status_code == 422


@pytest.mark.parametrize("page", ["data/none", "lineage?version=9", "data?before=x"])
def test_what_there_is_not_is_a_sentence(ask: Any, page: str) -> None:
    """A file, a version or a place that there is not: a page with the next step, not a trace."""
    answer = ask(f"/models/churn/{page}")
    assert answer.status_code == 404
    assert 'class="verdict alarm"' in answer.text


DAYS = [
    DayOfData(day=date(2026, 3, day), files=day, accepted=10 * day, late=day, corrected=0, refused=3 - day, unreadable=0) for day in (1, 2)
]


def test_rows_by_day_are_stacked_bars() -> None:
    """DM-10: A bar for each day, of accepted, late, corrected and refused rows; the table has the same, newest first."""
    option = batches.option(DAYS)
    assert option["xAxis"]["data"] == ["2026-03-01", "2026-03-02"]
    assert {one["name"]: one["data"] for one in option["series"]} == {
        "accepted": [10, 20],
        "late": [1, 2],
        "corrected": [0, 0],
        "refused": [2, 1],
    }
    assert {one["stack"] for one in option["series"]} == {"rows"}
    assert [row[1:] for row in batches.rows(DAYS)] == [["2", "20", "2", "0", "1", "0"], ["1", "10", "1", "0", "2", "0"]]


def test_a_file_that_could_not_be_read_has_its_mark() -> None:
    """DM-10: It has no rows that a bar could show: a mark stands above the bars of its day, with how many such files there were."""
    bare = DayOfData(day=date(2026, 3, 3), files=2, accepted=0, late=0, corrected=0, refused=0, unreadable=2)
    option = batches.option([*DAYS, bare, DAYS[0].model_copy(update={"unreadable": 1})])
    (marks,) = (one for one in option["series"] if one["type"] == "scatter")
    assert marks["data"] == [[2, 0, 2], [3, 13, 1]]
    assert marks["name"] in option["legend"]["data"]
    assert {one["type"] for one in batches.option(DAYS)["series"]} == {"bar"}
    assert len(batches.option(DAYS)["legend"]["data"]) == 4


def lineage(files: int, windows: int) -> LineageView:
    """A version of some files that served for some windows."""
    return LineageView(
        model="churn", version=2, digest="b" * 64, versions=(2, 1), rows={}, run_key="r" * 24, cause="drift", reason="", parents=(1,),
        trained=BEGIN, sentence="", remark="", damage=(), days={"train": (date(2026, 1, 1), date(2026, 1, 9))},
        files=tuple(
            SourceFile(id=f"f{place}", name=HOSTILE, dataset="d", time=BEGIN, rows=2, days=None, how="learned", removed=False)
            for place in range(files)
        ),
        reads={}, read_by=(), snapshots=(SourceSnapshot(dataset="d", version=7, digest="c", files=files, rows=2 * files),),
        windows=tuple(ServedWindow(begin=BEGIN, end=None, share=0.1, shadow=False) for _ in range(windows)),
    )  # fmt: skip


@pytest.mark.parametrize(("files", "windows", "boxes"), [(2, 1, 6), (300, 40, 9 + 3 + 8), (0, 0, 3)])
def test_the_way_of_a_version_is_drawn_from_left_to_right(files: int, windows: int, boxes: int) -> None:
    """DM-07: A box for each file, the snapshot, the training, the version and each window, at most so many of each, with lines from left
    to right; each leads to its page."""
    (series,) = way.option(lineage(files, windows), "/m")["series"]
    assert len(series["data"]) == boxes
    places = {node["name"]: node["value"][0] for node in series["data"]}
    assert all(places[link["target"]] - places[link["source"]] == 1 for link in series["links"])
    assert all(node["link"].startswith("/m") for node in series["data"])
    assert max(len(line) for node in series["data"] for line in node["label"]["formatter"].split("\n")) <= way.LETTERS
    assert len(way.rows(lineage(files, windows))) == boxes - (min(windows, way.SHOWN) or 1)


@pytest.mark.parametrize(("files", "windows", "longest"), [(1, 1, 1), (2, 5, 5), (300, 40, 9), (0, 0, 1)])
def test_the_way_is_as_tall_as_its_longest_column(files: int, windows: int, longest: int) -> None:
    """DM-07: One file takes one line of boxes, many at most nine; no two boxes touch."""
    assert way.height(lineage(files, windows)) == longest * 60
    assert way.height(lineage(files, windows)) / longest > way.HEIGHT
