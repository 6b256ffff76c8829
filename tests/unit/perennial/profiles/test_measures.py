"""Profiles of lists and texts: their measures are counted, never each text as a category; layouts of other columns stay as they were."""

from __future__ import annotations

import pyarrow as pa

from perennial.profiles.layout import Layout, fit_layout
from perennial.profiles.profile import profile
from perennial.profiles.store import decode, encode

ROWS = pa.table(
    {
        "day": pa.array([1, 1, 1, 2, 2], pa.date32()),
        "review": ["Good good", "bad", "", None, "unheard of"],
        "history": pa.array([[1.0, 3.0], [], [2.0], None, [9.0]], pa.list_(pa.float64())),
        "tags": pa.array([["a", "a"], ["b"], [], None, ["new"]], pa.list_(pa.string())),
    }
)
LAYOUT = fit_layout(ROWS.slice(0, 3), ["review", "history", "tags"], types={"review": "text"})


def of_day(name: str, day: int, rows: pa.Table = ROWS) -> list[float]:
    """The counted values of a measure on a day, as the middles of their cells."""
    state = profile(rows, LAYOUT, day="day").cells(name)[day - 1]
    grid = LAYOUT.column(name).grid
    assert grid is not None
    return [round(float(centre), 1) for centre, n in zip(grid.centres(), state, strict=True) for _ in range(n)]


def test_a_text_is_counted_by_its_lengths_and_by_the_share_of_words_that_are_new() -> None:
    """DM-14: Characters and words are counted, and unknown words against those of the rows by which the layout was fixed."""
    assert [name for name in LAYOUT.names if name.startswith("review")] == ["review[characters]", "review[words]", "review[unknown words]"]
    assert of_day("review[characters]", 1) == [0, 3, 9]
    assert of_day("review[words]", 1) == [0, 1, 2]
    assert of_day("review[unknown words]", 1) == [0, 0]  # of the two that have words
    by_day = profile(ROWS, LAYOUT, day="day")
    assert by_day.nulls("review[characters]").tolist() == [0, 1]


def test_a_list_is_counted_by_its_length_and_what_is_in_it() -> None:
    """DM-14: The length of a list, and of numbers the smallest, the mean and the largest; an empty list has a length alone."""
    assert of_day("history[length]", 1) == [0, 1, 2]
    assert of_day("history[smallest]", 1) == [1, 2]
    assert of_day("history[mean]", 1) == [2, 2]
    assert of_day("history[largest]", 1) == [2, 3]
    assert profile(ROWS, LAYOUT, day="day").nulls("tags[length]").tolist() == [0, 1]


def test_measures_are_the_same_from_any_part_of_the_rows_and_after_storing() -> None:
    """DM-14: Halves add up to the whole, slices begin anywhere, and a stored profile is read back as it was."""
    whole = profile(ROWS, LAYOUT, day="day")
    assert profile(ROWS.slice(0, 2), LAYOUT, day="day") + profile(ROWS.slice(2), LAYOUT, day="day") == whole
    again = Layout.model_validate_json(LAYOUT.model_dump_json())
    assert again == LAYOUT
    assert decode(encode(whole), again) == whole
    assert whole.only(["review"]).layout.sources == ("review",)


def test_a_layout_of_numbers_and_categories_is_stored_as_before() -> None:
    """DM-14: What lists and texts need is not in the JSON of other columns, so stored layouts keep their digest."""
    layout = fit_layout(pa.table({"carrier": ["UA", "AA", "UA"], "distance": [300.0, 762.0, 4983.0]}))
    assert layout.digest == "8c96a7001ab1ead942c20ecc4b7fe3b394a6f9732a031fdc6bd0ed20366084fb"
