"""Pictures of a release: each says what the view and the table behind it say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from perennial.lineage.ledger import Ledger
from perennial.lineage.release_record import Latency, Limits, Look, Plan, Tally, begin_record, keep_look
from perennial.store import FolderStore
from perennial.views.release import ReleaseView, release_view
from perennial_airflow.console.pictures import release
from perennial_airflow.console.pictures.axes import milliseconds

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
LIMITS = Limits(
    requests=100, seconds=0, longest_seconds=3600, worse={"errors": 2.0, "latency": 3.0}, promotion=1.3, error_ratio=2.0, error_rate=0.01
)
PLAN = Plan(candidate=2, champion=1, steps=(10, 100), limits=LIMITS)


@pytest.fixture
def view(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> ReleaseView:
    """A canary of three looks, ten seconds apart, that was rolled back: the evidence of its errors grew tenfold at each."""
    from perennial import discovery

    monkeypatch.setattr(discovery, "_models", lambda: ({}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    store = FolderStore(str(tmp_path))
    ledger, after = Ledger(store, "churn"), None
    facts: dict[str, Any] = {"champion": 1, "versions": {1: "a" * 64, 2: "b" * 64}, "actor": "perennial", "reason": "So."}
    shares: list[tuple[Any, int, int]] = [("started", 0, 0), ("weights", 1_000, 1), ("rolled_back", 0, 31)]
    for kind, share, second in shares:
        weights = {1: 10_000 - share, **({2: share} if kind != "rolled_back" else {})}
        entry = ledger.append(kind, version=2, weights=weights, after_seq=after, now=BEGIN + timedelta(seconds=second), **facts)
        after = entry.seq
    begin_record(store, "churn", 0, PLAN, BEGIN)
    for at in (1, 2, 3):
        errors = Tally(
            candidate_requests=10 * at, candidate_events=at, champion_requests=90 * at, champion_events=0, evidence=float(at - 1)
        )
        latency = Latency(candidate=((5.0, 0), (25.0, 10 * at)), champion=((5.0, 90 * at),))
        look = Look(
            time=BEGIN + timedelta(seconds=10 * at), step=1, share=0.1, action="roll_back" if at == 3 else "hold", sentence="So.",
            tallies={"errors": errors}, not_worse=-9.0, rare=0.5 if at == 1 else None, latency=latency,
        )  # fmt: skip
        keep_look(store, "churn", 0, PLAN, look)
    return release_view(store, "churn")


def series(option: dict[str, Any], name: str) -> list[Any]:
    return next(list(one["data"]) for one in option["series"] if one["id"] == name)


def at(second: int) -> int:
    return milliseconds(BEGIN + timedelta(seconds=second))


def test_the_share_is_a_staircase_with_what_was_got(view: ReleaseView) -> None:
    """SE-06: nothing, a tenth, nothing; beside it the share of the requests with its interval, and what was decided."""
    option = release.shares(view)
    assert series(option, "wanted") == [[at(0), 0], [at(1), 10], [at(31), 0]]
    assert series(option, "got")[1:] == [[at(10), 10.0], [at(20), 10.0], [at(30), 10.0]]
    assert (series(option, "got from")[0][1], series(option, "got to")[0][1]) == (
        pytest.approx(5.52, abs=0.01),
        pytest.approx(11.92, abs=0.01),
    )
    marks = next(one for one in option["series"] if one["id"] == "wanted")["markLine"]["data"]
    assert [(one["xAxis"], one["label"]["formatter"]) for one in marks] == [(at(31), "rolled back")]


def test_evidence_is_drawn_against_its_own_limit(view: ReleaseView) -> None:
    """SE-10: odds on a log axis that holds every limit; each signal's limit in its colour; what is tiny is drawn at the edge."""
    option = release.worse(view)
    assert series(option, "errors") == [[at(10), 1.0], [at(20), 10.0], [at(30), 100.0]]
    (limit,) = option["series"][0]["markLine"]["data"]
    assert (limit["yAxis"], limit["lineStyle"]["color"]) == (100.0, option["series"][0]["lineStyle"]["color"])
    assert (option["yAxis"]["type"], option["yAxis"]["min"] <= 1, option["yAxis"]["max"] > 1000) == ("log", True, True)
    within = release.better(view)
    assert [value for _, value in series(within, "below 2 times the champion's")] == [1.0, 0.001, 0.001, 0.001]
    assert [value for _, value in series(within, "below 1.0 %")] == [1.0, 3.16, None, None]
    assert within["series"][0]["markLine"]["data"][0]["yAxis"] == pytest.approx(20, rel=0.01)


def test_both_versions_have_their_band(view: ReleaseView) -> None:
    """SE-06, SE-04: errors in percent, their difference in points with what is tolerated, latency in ms."""
    assert series(release.errors(view), "candidate")[-1] == [at(30), 10.0]
    assert series(release.errors(view), "champion")[-1] == [at(30), 0.0]
    assert series(release.difference(view), "difference")[-1] == [at(30), 10.0]
    assert series(release.difference(view), "tolerated")[-1] == [at(30), 0.0]
    assert series(release.latency(view), "candidate")[-1] == [at(30), 24.0]
    assert series(release.latency(view), "champion")[-1] == [at(30), 4.75]
    low, width = series(release.errors(view), "candidate from")[-1][1], series(release.errors(view), "candidate to")[-1][1]
    assert (low, low + width) == (pytest.approx(3.46, abs=0.01), pytest.approx(25.62, abs=0.01))


def test_early_intervals_leave_room_for_what_is_known_by_now(view: ReleaseView) -> None:
    """SE-06: the axis is that of the later looks' intervals, and holds every value."""
    first = view.points[1].candidate_errors
    last = view.points[-1].candidate_errors
    assert first
    assert last
    assert 100 * last.high < release.errors(view)["yAxis"]["max"] < 100 * first.high


def test_each_table_says_what_its_picture_says(view: ReleaseView, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each look, newest first, under as many heads; of many looks the newest, and how many there are more."""
    tables = {
        "share": (release.SHARE_HEAD, release.share_rows), "worse": (release.worse_head(view), lambda points: release.worse_rows(view)),
        "better": (release.BETTER_HEAD, release.better_rows), "errors": (release.ERRORS_HEAD, release.error_rows),
        "difference": (release.DIFFERENCE_HEAD, release.difference_rows), "latency": (release.LATENCY_HEAD, release.latency_rows),
    }  # fmt: skip
    for head, rows in tables.values():
        assert {len(row) for row in rows(view.points)} == {len(head)}
    assert release.worse_rows(view)[0] == ["2026-03-01 12:00:30 UTC", "100 to 1", "", "", ""]
    assert release.share_rows(view.points)[0][1:] == ["10 %", "10 %", "7.09 to 13.9", "roll back"]
    assert release.latency_rows(view.points)[0][1] == "24 ms"
    monkeypatch.setattr(release, "ROWS", 1)
    assert release.error_rows(view.points)[1:] == [["3 older looks: perennial show release --json"]]


def test_all_of_it_is_json(view: ReleaseView) -> None:
    """ECharts is told in JSON, which has no infinity; a release without a look has nothing to draw and breaks nothing."""
    bare = view.model_copy(update={"points": (), "signals": (), "steps": (), "plan": None, "decisions": ()})
    for picture in (release.shares, release.worse, release.better, release.errors, release.difference, release.latency):
        for shown in (view, bare):
            json.dumps(picture(shown), allow_nan=False)
