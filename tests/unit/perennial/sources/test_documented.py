"""What docs/sources.md shows works as it stands there."""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from perennial import specs
from perennial.sources.pages import Page
from perennial.testing.collecting import Collecting

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[4] / "docs/sources.md").read_text(), re.DOTALL)


def _shown(word: str) -> dict[str, Any]:
    """The names that the block with this word defines."""
    (block,) = [block for block in BLOCKS if word in block]
    names: dict[str, Any] = {name: getattr(specs, name) for name in specs.__all__}
    exec(block, names)
    return names


def test_every_source_that_is_shown_is_one() -> None:
    """DM-01: Each block that stands for a part of a dataset's file runs."""
    shown = [_shown(block) for block in BLOCKS if "SOURCE =" in block]
    assert sorted(names["SOURCE"].kind for names in shown) == ["function", "http", "pages"]


def test_the_parse_that_is_shown() -> None:
    """DM-01: It takes rows out of a page, and follows its links."""
    page = Page("https://news.example/archive", '<a href="/2"></a><ul><li data-id="1" data-at="2026-03-01">One &amp; all</ul>', {}, b"")
    assert list(_shown("class Headlines")["parse"](page)) == [{"id": "1", "at": "2026-03-01", "title": "One & all"}]
    assert page.followed == ["https://news.example/2"]


class Readings:
    """A double of Cassandra's cluster and session with readings each hour: it takes what cassandra-driver 3.30.1 takes."""

    def __init__(self, first: datetime, count: int) -> None:
        self.rows = [{"sensor": f"s{n}", "at": (first + timedelta(hours=n)).replace(tzinfo=None), "celsius": n / 2} for n in range(count)]
        self.open = 0
        self.row_factory: Any = None

    def cluster(self, contact_points: list[str], port: int, auth_provider: tuple[str, str]) -> Readings:
        """In the place of Cluster."""
        assert (contact_points, port, auth_provider) == (["plant.example"], 9042, ("reader", "geheim"))
        self.open += 1
        return self

    def connect(self, keyspace: str) -> Readings:
        """A session."""
        assert keyspace == "plant"
        return self

    def execute(self, query: str, parameters: tuple[date, datetime, datetime], timeout: float) -> list[dict[str, Any]]:
        """Rows of a day between two moments; times are without a zone, in UTC, as the driver gives them."""
        assert (query.count("%s"), timeout, self.row_factory) == (3, 60, "dicts")
        day, since, until = parameters
        within = [row for row in self.rows if since <= row["at"].replace(tzinfo=timezone.utc) < until]
        return [row for row in within if row["at"].date() == day]

    def shutdown(self) -> None:
        """Close it."""
        self.open -= 1


def test_the_reader_of_cassandra_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-01: Against a double of the driver: every reading once, day by day, killed before writes in turn; one that is
    written later than the example allows, to a day that was read, is not seen."""
    shown = _shown("PlainTextAuthProvider")
    begin = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=3)
    plant = Readings(begin, 60)
    cluster, auth, query, file = (ModuleType(name) for name in ("cassandra.cluster", "cassandra.auth", "cassandra.query", "readings"))
    cluster.Cluster = plant.cluster  # type: ignore[attr-defined]
    auth.PlainTextAuthProvider = lambda username, password: (username, password)  # type: ignore[attr-defined]
    query.dict_factory = "dicts"  # type: ignore[attr-defined]
    file.collect = shown["collect"]  # type: ignore[attr-defined]
    for module in (cluster, auth, query):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "perennial_datasets.readings", file)
    columns = (
        specs.Column(name="sensor", type="string"),
        specs.Column(name="at", type="timestamp"),
        specs.Column(name="celsius", type="float"),
    )
    spec = specs.DatasetSpec(
        name="readings", title="Readings", owner="plant", columns=columns, key=("sensor",), event_time="at", source=shown["SOURCE"],
    )  # fmt: skip
    known = {"plant": {"host": "plant.example", "login": "reader", "password": "geheim", "database": "plant"}}
    before = 1
    while True:
        (folder := tmp_path / str(before)).mkdir()
        readings = Collecting(spec, folder / "store", known)
        killed = readings.collect_killed(before)
        readings.collect()
        assert not readings.take_in().refused
        assert readings.keys() == {row["sensor"]: 1 for row in plant.rows}
        if not killed:
            break
        before += 4
    plant.rows += Readings(begin + timedelta(hours=61), 3).rows
    assert readings.collect().rows == 0
    assert plant.open == 0
