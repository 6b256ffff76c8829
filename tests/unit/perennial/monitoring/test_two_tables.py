"""Two tables compared: by days, by rows, and what is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.report.comparison import comparison_page, headline, text
from perennial.monitoring.two_tables import compare_tables

Make = Callable[..., pa.Table]


@pytest.fixture
def make() -> Make:
    """Tables of rows that are independent of each other."""
    rng = np.random.default_rng(7)

    def table(rows: int, mean: float = 0.0, share: float = 0.5, **more: object) -> pa.Table:
        words = np.where(rng.random(rows) < share, "AA", "UA")
        return pa.table({"x": rng.normal(mean, 1, rows), "word": words, **more})

    return table


def days(rows: int, number: int) -> pa.Array:
    return pa.array([date(2024, 1, 1) + timedelta(row * number // rows) for row in range(rows)])


@pytest.mark.parametrize(("before", "after"), [(300, 300), (30, 30), (3000, 100), (100, 3000)])
def test_what_moved_is_found_and_nothing_else(make: Make, before: int, after: int) -> None:
    """MN-01: By rows, however many more one table has; the other column stays out of it."""
    verdict = compare_tables(make(before), make(after, mean=1.5)).verdict
    assert "x" in verdict.alarming
    assert "word" not in verdict.drifted


def test_alike_tables_of_unequal_size_are_alike(make: Make) -> None:
    """MN-01: Rows of the larger one are drawn, so that its bundles are no larger: those scatter less."""
    comparisons = [compare_tables(make(sizes[0]), make(sizes[1]), seed=seed) for seed in range(2) for sizes in ((100, 4000), (4000, 100))]
    assert sum(comparison.verdict.significant for comparison in comparisons) <= 1
    assert comparisons[0].rows_used == (100, 800)


def test_days_that_differ_by_themselves_are_no_drift() -> None:
    """MN-01: Rows of a day are alike: exchanged one by one they would be told apart for certain, by whole days they are not."""
    rng = np.random.default_rng(3)

    def table(number: int) -> pa.Table:
        weather = np.repeat(rng.normal(0, 1, number), 30)
        return pa.table({"day": days(len(weather), number), "temperature": weather + rng.normal(0, 0.1, len(weather))})

    before, after = table(12), table(6)
    by_day, by_row = compare_tables(before, after), compare_tables(before.drop(["day"]), after.drop(["day"]))
    assert (by_day.blocks, by_day.time, by_day.verdict.drifted) == ("days", "day", ())
    assert (by_row.blocks, "temperature" in by_row.verdict.alarming) == ("rows", True)


def test_larger_days_of_the_second_are_no_drift(make: Make) -> None:
    """MN-01: They scatter less than those of the first by that alone."""
    comparison = compare_tables(make(200, day=days(200, 20)), make(4000, day=days(4000, 20)))
    assert comparison.rows_used[1] < 400
    assert not comparison.verdict.drifted


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"day": days(60, 1)}, r"The days of day \(1 and 1\) are too few"),
        ({"day": days(60, 30), "other": days(60, 30)}, r"several columns of times \(day, other\), and none was named"),
    ],
)
def test_days_that_cannot_be_blocks_are_told(make: Make, more: dict[str, pa.Array], words: str) -> None:
    """MN-01: Rows are taken instead, and the report says so and what that rests on."""
    comparison = compare_tables(make(60, **more), make(60, **more))
    assert comparison.blocks == "rows"
    told = text(comparison)
    assert re.search(words, told)
    assert "Rows were taken as independent" in told


def test_days_that_are_asked_for_are_taken(make: Make) -> None:
    """MN-01: However few they are: then it says that nothing could be found, and not that nothing differs."""
    comparison = compare_tables(make(60, day=days(60, 1)), make(60, mean=9, day=days(60, 2)), time="day")
    assert headline(comparison) == "No verdict."
    assert "of 1 and 2 days of day no labelling is rarer than 0.33" in text(comparison)


def test_what_cannot_be_compared_is_told_apart(make: Make) -> None:
    """MN-01: A column that one lacks, one of another kind, ids, times, nested values: each with its reason."""
    same = {"when": days(40, 40), "id": [f"r{row}" for row in range(40)], "tags": [[[1]]] * 40}
    before = make(40, old=range(40), mixed=range(40), blank=[None] * 40, **same)
    after = make(40, new=range(40), mixed=["-"] * 40, blank=range(40), **same)
    assert compare_tables(before, after, time="when").not_compared == {
        "when": "is a time: it always moves on",
        "id": "names rows: nearly every one has a value of its own",
        "tags": "is of lists of list<item: int64>, which are not compared",
        "old": "is only in the first",
        "new": "is only in the second",
        "mixed": "is of numbers in the first and of words in the second",
        "blank": "has no values in the first",
    }


def test_chosen_columns_are_compared_even_if_they_name_rows(make: Make) -> None:
    """MN-01: Whoever names a column wants to know."""
    before, after = (make(40, id=[f"{letter}{row}" for row in range(40)]) for letter in "ab")
    comparison = compare_tables(before, after, columns=["id"])
    assert comparison.not_compared == {"x": "was not asked for", "word": "was not asked for"}
    assert "id" in {finding.column for finding in comparison.verdict.columns}


def test_types_of_the_same_kind_are_compared() -> None:
    """MN-01: Whole numbers and decimals, words and dictionaries: a CSV and a Parquet file of the same rows are alike."""
    before = pa.table({"n": pa.array(range(50), pa.int16()), "w": pa.array(["a", "b"] * 25).dictionary_encode()})
    after = pa.table({"n": pa.array(map(float, range(50))), "w": ["a", "b"] * 25})
    verdict = compare_tables(before, after).verdict
    assert {finding.column for finding in verdict.columns} >= {"n", "w"}
    assert verdict.p_value == 1


@pytest.mark.parametrize(("rows", "time", "words"), [(0, "", "without rows"), (9, "x", "x is no column of times or dates of both tables")])
def test_what_cannot_be_asked_is_refused(make: Make, rows: int, time: str, words: str) -> None:
    """MN-01: The sentence names the column, and which ones are times."""
    with pytest.raises(ValueError, match=words):
        compare_tables(make(rows), make(9), time=time)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (pa.table({"y": [1.0]}), "no column can be compared: x is only in the first; y is only in the second"),
        (pa.Table.from_arrays([pa.array([1.0])] * 2, names=["x", "x"]), "a table has twice the columns x"),
    ],
)
def test_tables_that_share_no_column_are_refused(after: pa.Table, words: str) -> None:
    """MN-01: Two files of other things are told apart in a sentence."""
    with pytest.raises(ValueError, match=words):
        compare_tables(pa.table({"x": [1.0, 2.0]}), after)


def test_the_page_shows_what_moved_and_escapes_names(make: Make) -> None:
    """MN-01: A plot with its sentence, the legend with both names, why something was not tested; names of files are text."""
    page = comparison_page(compare_tables(make(60, only=range(60)), make(60, mean=3)), "<b>.csv", "july.csv")
    assert "<b>.csv" not in page
    assert page.count("<figure>") == 1
    assert "<code>x</code>" in page
    assert "is only in the first" in page
    assert "<script" not in page


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_numbers_are_a_shift_and_not_missing(infinite: float) -> None:
    """MN-01: A fifth of the rows becomes infinite; the other values are counted as finely as without."""
    values = np.random.default_rng(2).normal(size=400)
    broken = np.where(np.arange(400) % 5 == 0, infinite, values)
    found = compare_tables(pa.table({"x": values}), pa.table({"x": broken}))
    assert ("shift", "x") in [(finding.kind, finding.column) for finding in found.verdict.columns if finding.drifted]
    assert found.infinite == {"x": (0, 80)}
    assert "nulls" not in {finding.kind for finding in found.verdict.columns}
    moved = compare_tables(pa.table({"x": broken}), pa.table({"x": np.where(np.isinf(broken), broken, broken + 1)}))
    assert "x" in moved.verdict.drifted
    assert compare_tables(pa.table({"x": [infinite] * 60}), pa.table({"x": [infinite] * 60})).verdict.drifted == ()


def test_texts_and_lists_are_compared_by_what_is_measured_of_them() -> None:
    """MN-01: A longer text, words that are new and shorter lists are found; each text is no category, whatever its number."""
    rng = np.random.default_rng(1)

    def table(words: int, more: list[str], elements: int) -> pa.Table:
        known = ["the", "plane", "was", "late", "again", "and", "nobody", "told", *more]
        reviews = [" ".join(rng.choice(known, rng.integers(words, words + 4))) for _ in range(400)]
        sizes = [rng.normal(0, 1, rng.integers(elements, elements + 3)).tolist() for _ in range(400)]
        return pa.table({"review": reviews, "sizes": pa.array(sizes, pa.list_(pa.float64()))})

    verdict = compare_tables(table(5, [], 4), table(9, [], 1)).verdict
    drifted = {finding.column for finding in verdict.columns if finding.drifted and finding.kind == "shift"}
    assert {"review[words]", "review[characters]", "sizes[length]"} <= drifted
    assert "review[unknown words]" not in drifted
    quiet = compare_tables(table(5, [], 4), table(5, [], 4)).verdict
    assert not [finding.sentence for finding in quiet.columns if finding.drifted]


def test_names_that_mean_something_else_are_told() -> None:
    """MN-01: A column without a name, as an index that was written, one called like a measure of another, and one that differs from another
    in upper and lower case alone, which would be counted in the cells of that one, are left out and named."""
    texts = [f"the {'very ' * (place % 5)}long story of number {place} is told here" for place in range(200)]
    table = pa.table({"": range(200), "review[words]": range(200), "review": texts, "km": range(200), "KM": range(200)})
    comparison = compare_tables(table, table)
    assert comparison.not_compared == {
        "": "has no name",
        "review[words]": "has the name of what is measured of review",
        "KM": "is called like km but for upper and lower case: rename one of them",
    }
    assert not comparison.verdict.drifted
