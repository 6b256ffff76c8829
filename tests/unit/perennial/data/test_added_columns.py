"""Columns that a table adds to rows without a key or a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.data.added_columns import row_hashes, table_schema, with_added_columns
from perennial.data.landing import Landed
from perennial.specs import Column, DatasetSpec

FILE = Landed("landing/gems/may.csv", "may.csv", 20, datetime.fromisoformat("2024-05-01T22:30:00.250000+00:00").timestamp(), "1f")
ROWS = pa.table({"cut": ["Fair", None, "Fair"], "at": pa.array([datetime(2024, 1, 1)] * 3, pa.timestamp("us"))})


def gems(**given: Any) -> DatasetSpec:
    columns = (Column(name="cut", type="string", nullable=True), Column(name="at", type="timestamp"))
    return DatasetSpec(**{"name": "gems", "title": "Gems", "owner": "tests", "columns": columns, "event_time": "at"} | given)


@pytest.mark.parametrize(
    ("given", "key", "time", "added"),
    [
        ({"key": ("cut",)}, ("cut",), "at", []),
        ({"row_id": "position"}, ("_row",), "at", ["_row"]),
        ({"key": ("cut",), "event_time": ""}, ("cut",), "_landed", ["_landed"]),
        ({"row_id": "content", "event_time": ""}, ("_row",), "_landed", ["_row", "_landed"]),
    ],
)
def test_what_a_dataset_lacks_is_added(given: dict[str, Any], key: tuple[str, ...], time: str, added: list[str]) -> None:
    """DM-01: A table has its files' columns and those alone that name or date a row where they do not; rows have what the table has."""
    spec = gems(**given)
    assert (spec.key_columns, spec.time_column) == (key, time)
    rows = with_added_columns(ROWS, spec, FILE)
    assert rows.column_names == table_schema(spec).names == ["cut", "at", *added]
    assert rows.schema.types == table_schema(spec).types


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "it has no key: name the columns"),
        ({"key": ("cut",), "row_id": "content"}, r"its key names rows already \(cut\)"),
        ({"row_id": "content", "event_time": "", "freshness_days": 3}, "freshness_days bounds event times, and it has none"),
        ({"row_id": "content", "event_time": "cut"}, "event_time cut must be a timestamp column"),
    ],
)
def test_a_spec_says_how_rows_are_named(given: dict[str, Any], said: str) -> None:
    """DM-01: Nothing is added unasked, and what cannot be meant is refused."""
    with pytest.raises(ValidationError, match=said):
        gems(**given)


def test_a_place_counts_from_the_first_row_of_the_file() -> None:
    """DM-01: Rows that came later have the places that they have in the whole file."""
    assert with_added_columns(ROWS, gems(row_id="position"), FILE, 7)["_row"].to_pylist() == ["may.csv:8", "may.csv:9", "may.csv:10"]


def test_landing_is_told_by_the_clock_of_the_dataset() -> None:
    """DM-01: As all its times are; to the microsecond, so that two files keep their order."""
    spec = gems(key=("cut",), event_time="", time_zone="Europe/Berlin")
    assert with_added_columns(ROWS, spec, FILE)["_landed"].to_pylist() == [datetime(2024, 5, 2, 0, 30, 0, 250_000)] * 3


values = st.fixed_dictionaries(
    {
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "text": st.none() | st.text(max_size=3),
        "number": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "at": st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)),
        "yes": st.none() | st.booleans(),
    }
)
TYPES = pa.schema({"whole": pa.int64(), "text": pa.string(), "number": pa.float64(), "at": pa.timestamp("us"), "yes": pa.bool_()})


@given(st.lists(values, min_size=2, max_size=4))
def test_rows_have_one_hash_if_and_only_if_they_are_the_same(rows: list[dict[str, Any]]) -> None:
    """DM-01: Whatever their order, and the order of the columns; a column that is added later and empty changes none."""
    hashes = row_hashes(pa.Table.from_pylist([*rows, rows[0]], TYPES))
    for one, of_one in zip(rows, hashes, strict=False):
        for other, of_other in zip(rows, hashes, strict=False):
            assert (of_one == of_other) == (one == other)
    assert hashes[-1] == hashes[0]
    other_order = pa.Table.from_pylist(rows, pa.schema(list(reversed(TYPES)))).append_column("new", pa.nulls(len(rows), pa.int64()))
    assert row_hashes(other_order) == hashes[:-1]
