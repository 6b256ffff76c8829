"""The page of a model's drift: features over windows in the order in which they matter, findings, incidents; bounded, and never silent."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.monitoring.report.sizes import LARGEST, MOST_COLUMNS, MOST_WINDOWS, note_sizes, relative_size, sizes_of
from perennial.monitoring.report.timeline import MOST_CHANGES, note_windows, point_of
from perennial.monitoring.verdict import ColumnDrift
from perennial.settings import Settings
from perennial.specs import EffectLimits
from perennial.store import FolderStore
from perennial.testing import small_model
from perennial.views.drift import DriftView, WindowView, drift_view, window_view

from ....window_reports import window_report

NAME = "small_delays"
NOW = datetime(2026, 3, 1, 11, 45, tzinfo=timezone.utc)
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model()}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def finding(column: str, effect: float, *, drifted: bool = True, alarms: bool = False, **more: Any) -> ColumnDrift:
    """A finding of the drift test."""
    return ColumnDrift(
        column=column,
        drifted=drifted,
        alarms=alarms,
        effect=effect,
        usual=0.01,
        p_value=0.01,
        sentence=f"`{column}` moved.",
        bins=(),
        **more,
    )


def write(store: FolderStore, day: int, *findings: ColumnDrift, **changes: Any) -> str:
    """Store the report of a day, and note it as the stage does."""
    report = window_report(NAME, BEGIN + timedelta(days=day), findings, **changes)
    store.write(f"reports/{NAME}/windows/{report.name}/report.json", report.encoded())
    return report.name


def noted(store: FolderStore) -> FolderStore:
    note_windows(store, NAME)
    note_sizes(store, NAME)
    return store


def test_what_is_confirmed_comes_first_then_what_drifted_farthest(store: FolderStore) -> None:
    """MN-01: A large effect that chance explains stands behind a small one that it does not, and what lasts before both."""
    write(store, 0, finding("lasts", 0.02), finding("chance", 0.9, drifted=False), finding("far", 0.3, alarms=True))
    write(store, 1, finding("lasts", 0.03), finding("chance", 0.8, drifted=False), confirmed=("lasts",))
    features = drift_view(noted(store), NAME).features
    assert [one.column for one in features] == ["lasts", "far", "chance"]
    assert [one.confirmed for one in features] == [True, False, False]
    assert (features[0].sizes, features[0].marks) == ((0.2, 0.3), ("drifted", "drifted"))
    assert (features[1].sizes, features[1].marks) == ((3.0, None), ("alarms", ""))
    assert [(one.largest, one.largest_in, one.drifted, one.alarmed) for one in features] == [
        (0.3, "2026-01-02_2026-01-03", 2, 0),
        (3.0, "2026-01-01_2026-01-02", 1, 1),
        (9.0, "2026-01-01_2026-01-02", 0, 0),
    ]


@pytest.mark.parametrize(
    ("effect", "limits", "size"),
    [
        (0.05, {"shift": EffectLimits(0.01, 0.2)}, 0.25),
        (0.05, {}, 0.5),  # the default
        (0.05, {"nulls": EffectLimits(0.01, 0.2)}, 0.5),
        (0.0, {"shift": EffectLimits(0.0, 0.0)}, 0.0),
        (1e-9, {"shift": EffectLimits(0.0, 0.0)}, LARGEST),
        (5.0, {"shift": EffectLimits(0.0, 1e-6)}, LARGEST),
    ],
)
def test_a_size_is_the_effect_over_the_one_that_alarms(effect: float, limits: Any, size: float) -> None:
    """MN-01: By the limits that the report keeps; a limit of nothing makes no infinite figure."""
    assert relative_size(finding("a", effect), limits) == pytest.approx(size)


def test_of_a_columns_findings_the_one_that_matters_stands_for_it(store: FolderStore) -> None:
    """MN-01: What drifted stands before what did not, however large; then the larger in units of its own limit."""
    nulls = finding("a", 0.05, kind="nulls")  # five times the effect that alarms
    report = window_report(NAME, BEGIN, (finding("a", 0.4, drifted=False), finding("a", 0.2), nulls))
    assert (sizes_of(report).kinds, sizes_of(report).sizes) == (("nulls",), (5.0,))
    assert [(one.column, one.kind, one.size) for one in point_of(report).changes] == [("a", "nulls", 5.0)]


def test_a_feature_that_goes_with_the_loss_says_so(store: FolderStore) -> None:
    """MN-03: Rank correlation with the realised loss from eight windows on; of fewer, and of what never changes, none."""
    for day in range(8):
        up, down, flat = finding("up", 0.01 * 1.5**day), finding("down", 0.5 - 0.05 * day), finding("flat", 0.2)
        write(store, day, up, down, flat, *([finding("late", 0.3)] if day else []), realised=0.3 + 0.01 * day)
    features = {one.column: one.with_loss for one in drift_view(noted(store), NAME).features}
    assert features == {"up": 1.0, "down": -1.0, "flat": None, "late": None}


def test_without_outcomes_the_estimated_loss_is_gone_with(store: FolderStore) -> None:
    """MN-03: Where too few windows have outcomes, what the scores expect of all rows stands for them."""
    for day in range(8):
        write(store, day, finding("a", 0.01 + 0.02 * (day % 3)), estimated=0.4 + 0.1 * (day % 3), realised=0.5 if day == 1 else None)
    assert drift_view(noted(store), NAME).features[0].with_loss == 1.0


def test_versions_and_incidents_stand_at_their_windows(store: FolderStore) -> None:
    """MN-18: Where another version began to serve; incidents at the window that opened them, with the one that found them over; those that
    others opened while a window lasted, and are open."""
    opened = {"id": "0001-drift", "kind": "drift", "severity": "warning", "sentence": "It moved."}
    first = write(store, 0, opened=[opened], version=1)
    second = write(store, 1, resolved=["0001-drift"], version=2)
    view = drift_view(noted(store), NAME)
    assert [(one.window, one.before, one.version) for one in view.version_changes] == [(second, 1, 2)]
    assert [(one.window, one.id, one.severity, one.over_in) for one in view.incidents] == [(first, "0001-drift", "warning", second)]
    now = datetime.now(timezone.utc)
    today = window_report(NAME, now.replace(hour=0, minute=0, second=0, microsecond=0), ())
    store.write(f"reports/{NAME}/windows/{today.name}/report.json", today.encoded())
    Incidents(store, NAME).open("service", "1", "critical", "It does not answer.")
    assert [(one.window, one.kind) for one in drift_view(store, NAME).incidents] == [(first, "drift"), (today.name, "service")]


def test_much_is_bounded_and_said(store: FolderStore) -> None:
    """MN-18: Of more than 400 columns and 90 windows the farthest and the newest are shown, and how many more there are."""
    many = [finding(f"c{number:03d}", 0.001 * number) for number in range(MOST_COLUMNS + 7)]
    for day in range(MOST_WINDOWS + 3):
        write(store, day, *(many if day == MOST_WINDOWS + 2 else many[:1]))
    view = drift_view(noted(store), NAME)
    assert (len(view.features), view.more_columns) == (MOST_COLUMNS, 7)
    assert (len(view.windows), view.older_windows) == (MOST_WINDOWS, 3)
    assert (view.features[0].column, len(view.features[0].sizes)) == ("c406", MOST_WINDOWS)
    newest = view.windows[-1]
    assert (len(newest.changes), newest.more_changes) == (MOST_CHANGES, len(many) - MOST_CHANGES)
    told = window_view(store, NAME, newest.name)
    assert (len(told.columns), told.more_columns) == (MOST_COLUMNS, 7)


def test_a_damaged_report_is_one_sentence(store: FolderStore) -> None:
    """MN-18: Every other window is shown, the next look notes them all the same, and the damaged window's own page says what to do."""
    for day in range(3):
        name = write(store, day, finding("a", 0.2))
    place = f"reports/{NAME}/windows/{name}/report.json"
    store.write(place, b"{}")
    view = drift_view(noted(store), NAME)
    assert [one.name for one in view.windows] == ["2026-01-01_2026-01-02", "2026-01-02_2026-01-03"]
    assert [place in sentence for sentence in view.damage] == [True]
    with pytest.raises(StoredDataDamaged, match="look at the window again"):
        window_view(store, NAME, name)
    assert len(window_view(store, NAME, view.windows[0].name, "a").history) == 2


def test_where_nothing_was_judged_the_next_look_and_what_it_needs_are_said(store: FolderStore) -> None:
    """MN-19: When monitoring looks next; what a window needs, or that something must serve first."""
    view = drift_view(store, NAME, NOW)
    assert (view.windows, view.features, view.next_look) == ((), (), datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc))
    assert "Nothing serves yet" in view.needs
    facts = {"champion": 1, "weights": {1: 10_000}, "versions": {1: "a" * 64}}
    Ledger(store, NAME).append("released", version=1, reason="", actor="", after_seq=None, **facts)
    assert "at least 30 predictions" in drift_view(store, NAME, NOW).needs


def test_a_finding_has_its_limits_its_history_and_its_neighbours(store: FolderStore) -> None:
    """MN-18: All that was found about one column, what it is measured against, and how it was before and after."""
    limits = {"shift": EffectLimits(0.02, 0.4)}
    first = write(store, 0, finding("a", 0.1), limits=limits)
    second = write(store, 1, finding("a", 0.2), finding("b", 0.3), finding("a", 0.001, kind="nulls", drifted=False), limits=limits)
    third = write(store, 2, finding("b", 0.3), limits=limits, skipped={"a": "follows the calendar"})
    noted(store)
    view = window_view(store, NAME, second, "a")
    assert [(one.found.kind, one.drift_limit, one.alarm_limit, one.size) for one in view.findings] == [
        ("shift", 0.02, 0.4, 0.5),
        ("nulls", 0.001, 0.01, 0.1),
    ]
    assert (view.before, view.after, view.report) == (first, third, "")
    assert [(one.window, one.size) for one in view.history] == [(first, 0.25), (second, 0.5), (third, None)]
    assert [one.column for one in view.columns] == ["b", "a"]
    assert window_view(store, NAME, third, "a").not_tested == "follows the calendar"
    assert window_view(store, NAME, third, "nobody").findings == ()
    assert WindowView.model_validate_json(view.model_dump_json()) == view


@pytest.mark.parametrize("window", ["2020-01-01_2020-01-02", "..", "../../../etc", "", "2026-01-01_2026-01-02/../2026-01-01_2026-01-02"])
def test_a_window_that_nobody_judged_is_none(store: FolderStore, window: str) -> None:
    """A name that is no window's leads nowhere, whatever path it spells."""
    write(store, 0)
    with pytest.raises(UnknownName, match="no report on the window"):
        window_view(store, NAME, window)


def test_reports_from_before_limits_were_kept_say_so(store: FolderStore) -> None:
    """MN-18: Their sizes rest on the defaults, which is said; a report with its limits says nothing."""
    write(store, 0, finding("a", 0.2), limits={"shift": EffectLimits(0.1, 0.1)})
    assert drift_view(store, NAME).notes == ()
    name = write(store, 1, finding("a", 0.2))
    assert "1 of 2" in drift_view(store, NAME).notes[0]
    assert "1 of 1" in window_view(store, NAME, name).notes[0]


def test_the_terminal_says_what_the_page_says(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """`perennial show drift` prints windows, features, incidents and slices; JSON reads back."""
    opened = {"id": "0001-drift", "kind": "drift", "severity": "warning", "sentence": "It moved."}
    part = {"column": "carrier", "name": "AA", "realised": 0.5, "low": 0.4, "high": 0.6, "labelled": 40}
    write(store, 0, finding("a", 0.2, alarms=True), opened=[opened], slices=[part])
    show.run(Settings.from_environment({}), store, what="drift")
    told = capsys.readouterr().out
    for words in (
        "a: 2 in 2026-01-01",
        "alarmed in 1 of 1",
        "warning drift, 2026-01-01",
        "carrier AA: 0.5 (0.4 to 0.6) on 40",
        "next look",
    ):
        assert words in told
    show.run(Settings.from_environment({}), store, what="drift", name=NAME, json=True)
    assert DriftView.model_validate_json(capsys.readouterr().out).features == drift_view(store, NAME).features


def test_a_jump_has_its_limit_in_the_line_of_its_window(store: FolderStore) -> None:
    """MN-03: The loss above which it is a jump is what the scores expect and the limit on the excess; none where none can be told."""
    alarms = [
        point_of(window_report(NAME, BEGIN, (), expected=expected, above=above)).alarm
        for expected, above in ((0.4, 0.1), (None, 0.1), (0.4, None))
    ]
    assert alarms == [pytest.approx(0.5), None, None]


def test_metrics_are_printed(store: FolderStore) -> None:
    """MN-03: `perennial show drift` has a line for each window with outcomes, `show model` one for the newest of them."""
    known = {"labelled": 80, "units": "days", "metrics": {"mae": {"value": 9.25}, "rmse": {"value": 12.5, "low": 11, "high": 14}}}
    write(store, 0, metrics=known, realised=0.5)
    write(store, 1)
    line = "  2026-01-01 to 2026-01-02, version 1, 80 outcomes: RMSE 12.5 (11 to 14), MAE 9.25"
    for what in ("drift", "model"):
        _, lines = show.shown(store, what, NAME)
        assert line in lines
    assert window_view(store, NAME, "2026-01-01_2026-01-02").metrics.metrics["rmse"].high == 14
    assert drift_view(store, NAME).windows[1].metrics == {}
