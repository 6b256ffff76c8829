"""The suite of flights against real days and broken ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from perennial.data.readers import schema
from perennial.errors import SettingMissing, UnknownName
from perennial.quality import data_docs, suites
from perennial.quality.validation import validate, validate_snapshot
from perennial.specs import DatasetSpec
from perennial.store import FolderStore
from perennial_datasets.flights import land


def test_the_suite_is_rich() -> None:
    """DM-15: At least eighteen expectations of at least twelve kinds, each with a severity and a reason, over all that a batch can get
    wrong."""
    written = json.loads((suites.folder() / "expectations" / "flights.json").read_text())["expectations"]
    kinds = {e["type"] for e in written}
    assert len(written) >= 18
    assert len(kinds) >= 12
    assert {e["severity"] for e in written} == {"critical", "warning"}
    assert all(e["meta"]["notes"]["content"][0] for e in written)
    assert len({json.dumps([e["type"], e["kwargs"]], sort_keys=True) for e in written}) == len(written)


def test_the_suite_speaks_of_columns_that_exist(flights: DatasetSpec) -> None:
    """DM-15: A renamed column is renamed in the suite too."""
    named = set()
    for e in json.loads((suites.folder() / "expectations" / "flights.json").read_text())["expectations"]:
        kwargs = e["kwargs"]
        named |= (
            {kwargs.get(k) for k in ("column", "column_A", "column_B")}
            | set(kwargs.get("column_list", ()))
            | set(kwargs.get("column_set", ()))
        )
    assert named - {None} == {c.name for c in flights.columns} or named - {None} <= {c.name for c in flights.columns}


@pytest.mark.parametrize("when", [date(2013, 2, 9), date(2013, 11, 28), date(2013, 7, 27), date(2013, 9, 12), date(2013, 12, 31)])
def test_real_days_pass(flights: DatasetSpec, when: date) -> None:
    """DM-10, DM-15: The February storm (57 % without arrival), the quietest day, a 17-mile flight, late nights: none is refused."""
    (name, rows), *_ = land(when, when)
    verdict = validate(rows.cast(schema(flights)), flights, name)
    assert verdict.passed, verdict.failures


def test_a_storm_is_reported_not_refused(flights: DatasetSpec) -> None:
    """DM-10: Warnings name their reason and leave the batch alone."""
    (name, rows), *_ = land(date(2013, 2, 9), date(2013, 2, 9))
    verdict = validate(rows.cast(schema(flights)), flights, name)
    assert verdict.worst_severity == "warning"
    assert verdict.sentence("http://r").startswith(
        "Suite flights passed batch flights-2013-02-09.csv.gz with a warning: arr_delay is null in 393 of 684 rows; at most 20 % may be"
    )


def _nulls(day: pd.DataFrame) -> pd.DataFrame:
    day["distance"] = day["distance"].astype("float64")
    day.loc[:311, "distance"] = None
    return day


def _kilometres(day: pd.DataFrame) -> pd.DataFrame:
    return day.assign(distance=(day["distance"] * 1.609).round().astype("int64"))


def _seconds(day: pd.DataFrame) -> pd.DataFrame:
    return day.assign(air_time=day["air_time"] * 60)


def _doubled(day: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([day, day.head(40)], ignore_index=True)


def _half(day: pd.DataFrame) -> pd.DataFrame:
    return day.head(len(day) // 2)


def _unknown_carrier(day: pd.DataFrame) -> pd.DataFrame:
    day.loc[5:9, "carrier"] = "ZZ"
    return day


def _before_departure(day: pd.DataFrame) -> pd.DataFrame:
    flown = day.index[day["arrival"].notna()][:4]
    day.loc[flown, "arrival"] = day.loc[flown, "departure"] - timedelta(minutes=5)
    return day


def _stale(day: pd.DataFrame) -> pd.DataFrame:
    times = ["scheduled_departure", "scheduled_arrival", "departure", "arrival"]
    return day.assign(**{name: day[name] - timedelta(days=365) for name in times})


def _future(day: pd.DataFrame) -> pd.DataFrame:
    times = ["scheduled_departure", "scheduled_arrival", "departure", "arrival"]
    return day.assign(**{name: day[name] + timedelta(days=365 * 90) for name in times})


def _one_airport(day: pd.DataFrame) -> pd.DataFrame:
    return day.assign(origin="JFK")


def _no_outcomes(day: pd.DataFrame) -> pd.DataFrame:
    return day.assign(arr_delay=float("nan"), arrival=pd.NaT, air_time=float("nan"))


def _celsius_lost_its_point(day: pd.DataFrame) -> pd.DataFrame:
    return day.assign(temp=day["temp"] * 10)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_nulls, "distance is null in 312 of {n} rows"),
        (_kilometres, "the mean of distance is 1,"),
        (_seconds, "the mean of air_time is"),
        (_doubled, "the key (carrier, flight, origin, scheduled_departure) is repeated in 80 of {n} rows"),
        (_half, "it has 465 rows, below 600"),
        (_unknown_carrier, "carrier has unknown values in 5 of {n} rows (such as ZZ)"),
        (_before_departure, "arrival is not greater than departure in 4 of "),
        (_stale, "the smallest scheduled_departure is 2012-02-09 0"),
        (_future, "the largest scheduled_departure is 2103-01-18"),
        (_one_airport, "origin lacks EWR, LGA; it should have exactly EWR, JFK, LGA"),
        (_no_outcomes, "arr_delay is null in {n} of {n} rows; at most 80 % may be"),
        (_celsius_lost_its_point, "temp is outside -30 to 120 in "),
    ],
)
def test_broken_days_are_refused(flights: DatasetSpec, day: pd.DataFrame, harm: Callable[[pd.DataFrame], pd.DataFrame], said: str) -> None:
    """DM-10, SY-19: Each harm is refused, and the reason a person needs is among the critical ones."""
    broken = harm(day)
    verdict = validate(broken, flights, "day.csv", newest=datetime(2013, 2, 7), now=datetime(2026, 1, 1))
    assert not verdict.passed
    assert verdict.worst_severity == "critical"
    critical = [f.sentence for f in verdict.failures if f.severity == "critical"]
    assert any(said.format(n=len(broken)) in sentence for sentence in critical), critical


def test_the_refusal_is_one_sentence_with_its_report(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """DM-10: Suite, batch, worst reason, how many more, and where the page is; reasons tell rows by number."""
    verdict = validate(_unknown_carrier(_nulls(day)), flights, "2013-02-08.csv", digest="0123456789abcdef", store=store)
    assert (
        verdict.sentence("http://r/p")
        == f"Suite flights refused batch 2013-02-08.csv: distance is null in 312 of {len(day)} rows (1 more reason). Report: http://r/p"
    )
    carrier = next(r for r in verdict.reasons() if r["column"] == "carrier")
    assert carrier["row_numbers"] == (6, 7, 8, 9, 10)
    assert carrier["note"] == "the airlines that the model knows"
    assert verdict.report_key == "reports/flights/docs/validations/2013-02-08.csv~0123456789ab~930~refused.html"


def test_fresh_enough_depends_on_the_table(flights: DatasetSpec, day_of_flights) -> None:
    """DM-10: The bound is the spec's, counted from the newest row of the table; without rows there is none."""
    assert validate(day_of_flights, flights, "d").passed
    assert validate(day_of_flights, flights, "d", newest=datetime(2013, 5, 1)).passed
    assert not validate(day_of_flights, flights, "d", newest=datetime(2013, 12, 1)).passed
    assert validate(day_of_flights, flights.model_copy(update={"freshness_days": None}), "d", newest=datetime(2013, 12, 1)).passed


def test_a_snapshot_is_held_against_what_is_not_about_one_batch(flights: DatasetSpec, day: pd.DataFrame) -> None:
    """DM-10: Ten rows of three airports are no whole day, but may be a snapshot; a null where none may be is refused all the same."""
    few = pd.concat([day[day["origin"] == origin].head(40) for origin in ("EWR", "JFK", "LGA")])
    assert not validate(few, flights, "few").passed
    verdict = validate_snapshot(few, flights, "snapshot 3")
    assert verdict.passed, verdict.failures
    few.loc[few.index[0], "dest"] = None
    assert (
        validate_snapshot(few, flights, "snapshot 3").sentence() == "Suite flights refused batch snapshot 3: dest is null in 1 of 120 rows."
    )


def test_validating_writes_nothing_into_the_suites_folder(flights: DatasetSpec, day: pd.DataFrame) -> None:
    """DM-10: The folder may be read-only, and two stages may use it at once."""
    before = {path: path.stat().st_mtime_ns for path in suites.folder().rglob("*")}
    validate(day, flights, "d")
    assert {path: path.stat().st_mtime_ns for path in suites.folder().rglob("*")} == before


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "great_expectations"
    (folder / "expectations").mkdir(parents=True)
    (folder / "great_expectations.yml").write_text((suites.folder() / "great_expectations.yml").read_text())
    monkeypatch.setattr(suites, "folder", lambda: folder)
    return folder


def test_a_dataset_without_a_suite_is_told(own_folder: Path) -> None:
    """DM-10: The sentence names the file to write."""
    with pytest.raises(UnknownName, match=r"no suite: write .*/great_expectations/expectations/sales.json, at least .*suite suggest"):
        suites.load_suite("sales")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"name": "sales", "expectations": [{"type": "expect_the_moon", "kwargs": {}}]}',
        '{"name": "sales", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"colum": "a"}}]}',
    ],
)
def test_a_malformed_suite_is_told(own_folder: Path, text: str) -> None:
    """DM-10, DM-15: Broken JSON, an unknown expectation and a wrong argument name the file."""
    (own_folder / "expectations" / "sales.json").write_text(text)
    with pytest.raises(SettingMissing, match=r"expectations/sales.json cannot be read: .* Correct it there"):
        suites.load_suite("sales")


def test_an_expectation_that_cannot_be_evaluated_refuses(own_folder: Path, flights: DatasetSpec, day: pd.DataFrame) -> None:
    """DM-10: A rule that breaks is not a rule that holds, and an expectation without a sentence of its own is still named."""
    expectations = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "no_such_column", "min_value": 1}, "severity": "critical"},
        {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "carrier", "value": 3}, "severity": "info"},
    ]
    (own_folder / "expectations" / "flights.json").write_text(json.dumps({"name": "flights", "expectations": expectations}))
    verdict = validate(day, flights, "d")
    assert not verdict.passed
    assert "expect_column_values_to_be_between on no_such_column could not be evaluated" in verdict.failures[0].sentence
    assert verdict.failures[1].sentence == "expect_column_value_lengths_to_equal on carrier does not hold in 930 of 930 rows"


def _all_wind(day: pd.DataFrame, value: float, nulls: int = 0) -> pd.DataFrame:
    wind = pd.Series(value, index=day.index)
    wind.iloc[:nulls] = float("nan")
    return day.assign(wind_speed=wind)


@pytest.mark.parametrize(
    ("rows", "nulls", "value", "passed"),
    [(930, 0, -9999.0, False), (930, 920, -9999.0, False), (930, 921, -9999.0, True), (930, 0, 5.0, True)],
)
def test_a_column_that_is_lost_whole_is_refused(
    flights: DatasetSpec, day: pd.DataFrame, rows: int, nulls: int, value: float, passed: bool
) -> None:
    """DM-10: A bound that only warns refuses when every one of at least ten values is outside; of nine it warns."""
    verdict = validate(_all_wind(day, value, nulls), flights, "d")
    assert verdict.passed == passed
    if not passed:
        assert f"wind_speed is outside 0 to 120 in {rows - nulls} of {rows} rows (such as -9,999): no value is as it should be" in (
            verdict.sentence()
        )


def test_a_suite_may_say_that_a_warning_stays_one(own_folder: Path, flights: DatasetSpec, day: pd.DataFrame) -> None:
    """DM-10: `every_value` in the meta of an expectation."""
    kwargs = {"column": "wind_speed", "min_value": 0}
    rule = {"type": "expect_column_values_to_be_between", "kwargs": kwargs, "severity": "warning", "meta": {"every_value": "warning"}}
    (own_folder / "expectations" / "flights.json").write_text(json.dumps({"name": "flights", "expectations": [rule]}))
    verdict = validate(_all_wind(day, -9999.0), flights, "d")
    assert (verdict.passed, verdict.worst_severity) == (True, "warning")


@pytest.mark.parametrize(("distance", "said"), [(2475, "passed"), (6000, "passed with a warning"), (-1, "refused")])
def test_a_page_says_one_thing(
    own_folder: Path, flights: DatasetSpec, day: pd.DataFrame, store: FolderStore, distance: int, said: str
) -> None:
    """DM-10: The status among Great Expectations' own lines is the verdict: a warning is no failure."""
    bounds = {"critical": {"min_value": 0}, "warning": {"max_value": 5000}}
    rules = [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", **bound}, "severity": severity}
        for severity, bound in bounds.items()
    ]
    (own_folder / "expectations" / "flights.json").write_text(json.dumps({"name": "flights", "expectations": rules}))
    day.loc[3, "distance"] = distance
    page = store.read(validate(day, flights, "d", store=store).report_key).decode()
    status = page.partition("Status:</span>")[2].partition("</span>")[0]
    assert status.rpartition(">")[2] == said


class _Addresses(HTMLParser):
    """Every address that a browser would fetch or offer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


def test_pages_need_no_network(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """DM-10: No page names another host; links lead to pages that exist; the page shows verdict, reasons and Great Expectations' tables."""
    verdict = validate(_nulls(day), flights, "über <day>.csv", digest="ab" * 32, store=store)
    data_docs.write_index(store, "flights")
    for item in store.list("reports"):
        text = store.read(item.key).decode()
        parser = _Addresses()
        parser.feed(text)
        here = Path(store.root, item.key).parent
        for address in parser.found:
            assert address.startswith("#") or (here / address).resolve().is_file(), f"{item.key} leads to {address}"
        assert "url(" not in text
    page = store.read(verdict.report_key).decode()
    assert "über &lt;day&gt;.csv" in page
    assert "distance is null in 312 of 930 rows (known of every scheduled flight)" in page
    assert "Table of Contents" in page


def test_the_index_lists_every_validation_newest_first(flights: DatasetSpec, day: pd.DataFrame, store: FolderStore) -> None:
    """DM-10: Also those of earlier runs, from the listing alone; the same content with the same verdict is listed once."""
    for number in range(3):
        store.write(data_docs.Page("flights", f"old-{number}.csv", "0" * 64, 900 + number, "passed").key, b"an earlier page")
    for _ in range(2):
        validate(_half(day), flights, "new.csv", digest="f" * 64, store=store)
    index = store.read(data_docs.write_index(store, "flights")).decode()
    assert "4 in all: 3 passed, 0 warning, 1 refused" in index
    assert index.index("new.csv") < index.index("old-2.csv") < index.index("old-0.csv")
