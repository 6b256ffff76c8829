"""The dataset remarks: every remark is landed once, by the rule that its text states, and its suite agrees with its spec."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from perennial.errors import UnknownName
from perennial_datasets import remarks
from perennial_datasets.remarks import DATASET, DAYS, FILE, FIRST, land

SUITE = Path(__file__).parents[3] / "great_expectations" / "expectations" / "remarks.json"


def test_every_remark_is_landed_once_on_its_day() -> None:
    """MO-25, DM-01: 3,708 of them, with the licence of their source beside them; each day has remarks on every product."""
    assert "MIT License" in FILE.with_name("remarks-LICENSE").read_text()
    days = list(land(FIRST, FIRST + timedelta(days=DAYS - 1)))
    assert [name for name, _ in days] == [f"remarks-{FIRST + timedelta(days=day)}.csv" for day in range(DAYS)]
    rows = [row for _, table in days for row in table.to_pylist()]
    assert len({(row["review"], row["sentence"]) for row in rows}) == len(rows) == 3708
    for (name, table), day in zip(days, range(DAYS), strict=True):
        assert {row["written"].date() for row in table.to_pylist()} == {FIRST + timedelta(days=day)}, name
        reviews = table["review"].to_pylist()
        assert {number % DAYS for number in reviews} == {day}
        assert min(reviews) < 60 and max(reviews) > 250  # noqa: PT018
    assert set(rows[0]) == {column.name for column in DATASET.columns}


def test_what_stands_for_an_ampersand_is_one() -> None:
    """DM-01: Remarks are as a customer would write them."""
    text = " ".join(row["remark"] for _, table in land(FIRST, FIRST + timedelta(days=DAYS - 1)) for row in table.to_pylist())
    assert "&amp;" not in text
    assert "&#" not in text
    assert "at & t" in text


def test_days_without_remarks_are_refused() -> None:
    """DM-01: With the days that there are."""
    with pytest.raises(UnknownName, match="2024-01-01 to 2024-01-30, not 2024-01-30 to 2024-01-31"):
        next(land(date(2024, 1, 30), date(2024, 1, 31)))


def test_remarks_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """DM-01: With the command that fetches them."""
    monkeypatch.setattr(remarks, "FILE", tmp_path / "remarks.txt")
    with pytest.raises(UnknownName, match=r"remarks\.txt is missing. `make setup` fetches it"):
        next(land(FIRST, FIRST))


def test_every_column_that_the_suite_names_exists() -> None:
    """An expectation on a column that is not there could never be met."""
    named, expectations = set(), json.loads(SUITE.read_text())["expectations"]
    for expectation in expectations:
        kwargs = expectation["kwargs"]
        named |= {kwargs[word] for word in ("column", "column_A", "column_B") if word in kwargs} | set(kwargs.get("column_list", ()))
    assert expectations
    columns = {column.name for column in DATASET.columns}
    assert {name if name in columns else name.partition("[")[0] for name in named} <= columns  # review[words] is measured of review
