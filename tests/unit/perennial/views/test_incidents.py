"""The incidents of all models or of one: rows a page at a time, alarms a month in all and by kind, months, and what is damaged."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.incidents.incidents import Event, Incidents, alarm_rate
from perennial.incidents.listing import Wanted
from perennial.store import FolderStore
from perennial.views.incidents import MONTHS, PAGE, IncidentsView, incidents_view

NOW = datetime(2026, 3, 15, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models: sixty incidents of drift and one release that was rolled back, and three of a service."""
    root = tmp_path_factory.mktemp("store")
    store = FolderStore(str(root))
    place = dict.fromkeys("ab", 0)

    def write(model: str, **fields: object) -> None:
        store.write(f"incidents/{model}/{place[model]:08d}.json", Event(**fields).model_dump_json().encode())  # type: ignore[arg-type]
        place[model] += 1

    def opens(model: str, number: int, kind: str, days_ago: float, severity: str = "warning") -> str:
        name = f"{number:04d}-{kind}"
        when = NOW - timedelta(days=days_ago)
        write(model, what="opened", id=name, kind=kind, key=name, severity=severity, sentence=f"{model} {name}.", time=when)
        return name

    for number in range(1, 61):
        name = opens("a", number, "drift", 180 - 2 * number)
        if number > 3:
            write("a", what="resolved", id=name, sentence="As before.", time=NOW - timedelta(days=179 - 2 * number))
    write("a", what="judged", id="0060-drift", verdict="false alarm", by="ada", note="A holiday.", time=NOW)
    opens("a", 61, "release", 1, "info")
    for number, days in enumerate((100, 40, 0.5), 1):
        opens("b", number, "service", days, "critical")
    for model in "ab":
        Incidents(store, model).note_anew()
    return root


@pytest.fixture
def store(written: Path, tmp_path: Path) -> FolderStore:
    """A copy of it for each test."""
    shutil.copytree(written, tmp_path / "store")
    return FolderStore(str(tmp_path / "store"))


def test_rows_of_all_models_come_newest_first_a_page_at_a_time(store: FolderStore) -> None:
    """MN-11: No incident is left out or shown twice, whatever the page; a page beyond the last one is the last."""
    pages = [incidents_view(store, ["a", "b"], page=page, now=NOW) for page in (1, 2, 9)]
    assert [len(view.rows) for view in pages] == [PAGE, 14, 14]
    assert [(view.page, view.pages, view.matching) for view in pages] == [(1, 2, 64), (2, 2, 64), (2, 2, 64)]
    rows = [row for view in pages[:2] for row in view.rows]
    assert len({(row.model, row.id) for row in rows}) == 64
    assert [row.opened for row in rows] == sorted((row.opened for row in rows), reverse=True)
    newest = [(row.model, row.kind, row.state, row.seconds) for row in rows[:2]]
    assert newest == [("b", "service", "open", None), ("a", "release", "open", None)]
    assert {row.seconds for row in rows if row.kind == "drift"} == {None, 86_400.0}
    assert IncidentsView.model_validate_json(pages[0].model_dump_json()) == pages[0]


def test_counts_are_of_all_and_rows_of_what_is_wanted(store: FolderStore) -> None:
    """MN-11: Narrowing changes the rows and their number, not the figures above them."""
    whole = incidents_view(store, ["a", "b"], now=NOW)
    assert (whole.count, whole.open, whole.unjudged) == (64, 7, 62)
    assert [(one.kind, one.count, one.open, one.unjudged) for one in whole.kinds] == [
        ("drift", 60, 3, 59),
        ("service", 3, 3, 3),
        ("release", 1, 1, 0),
    ]
    for wanted, many in ((Wanted(state="open"), 7), (Wanted(kind="drift", state="over"), 57), (Wanted(unjudged=True, kind="service"), 3)):
        view = incidents_view(store, ["a", "b"], wanted, now=NOW)
        assert (view.matching, view.count, view.rate) == (many, 64, whole.rate)
        assert len(view.rows) == min(many, PAGE)
        assert all(wanted.state in (None, row.state) and wanted.kind in (None, row.kind) for row in view.rows)


def test_alarms_a_month_are_those_of_the_log(store: FolderStore) -> None:
    """MN-11: In all, by model and by kind: what the incidents themselves give, of which the index knows the newest."""
    view = incidents_view(store, ["a", "b"], now=NOW)
    logs = {name: Incidents(store, name).all() for name in "ab"}
    for model in view.models:
        assert model.rate.sentence == alarm_rate(logs[model.name], NOW).sentence
    assert view.rate.sentence == alarm_rate([*logs["a"], *logs["b"]], NOW).sentence
    drift = next(one for one in view.kinds if one.kind == "drift")
    assert (drift.rate.alarms, drift.rate.judged, drift.rate.false) == (
        sum(1 for i in logs["a"] if i.is_alarm and NOW - i.opened <= timedelta(days=90)),
        1,
        1,
    )
    assert view.rate.alarms == sum(one.rate.alarms for one in view.kinds)


def test_every_month_has_its_alarms(store: FolderStore) -> None:
    """MN-11: One without any is there too; a long past shows the newest two years; what is for the record is no alarm."""
    view = incidents_view(store, ["a", "b"], now=NOW)
    assert [month.month for month in view.months] == ["2025-09", "2025-10", "2025-11", "2025-12", "2026-01", "2026-02", "2026-03"]
    assert sum(sum(month.alarms.values()) for month in view.months) == 63
    assert view.months[-1].alarms == {"service": 1}
    long_ago = Event(
        what="opened", id="0062-drift", kind="drift", key="old", severity="warning", sentence="s", time=NOW - timedelta(days=4000)
    )
    store.write(f"incidents/a/{len(list(store.list('incidents/a'))):08d}.json", long_ago.model_dump_json().encode())
    months = incidents_view(store, ["a", "b"], now=NOW).months
    assert (len(months), months[-1].month, months[0].alarms) == (MONTHS, "2026-03", {})


def test_what_is_damaged_of_one_model_hides_no_other(store: FolderStore) -> None:
    """MN-11: It is a sentence with its place."""
    store.delete("views/incidents/a/index.json")
    store.write("incidents/a/00000000.json", b"{}")
    view = incidents_view(store, ["a", "b"], now=NOW)
    assert ["incidents/a/00000000.json" in sentence for sentence in view.damage] == [True]
    assert [row.model for row in view.rows] == ["b", "b", "b"]
    assert incidents_view(store, [], now=NOW).rate.sentence == "0.0 alarms a month (0 in 30 days); none was judged."
