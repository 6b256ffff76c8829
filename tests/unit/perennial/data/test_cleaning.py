"""The step `clean` of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.data.cleaning import cleaned_rows
from perennial.errors import BatchRefused
from perennial.specs import Column, DatasetSpec

TYPES = {"at": pa.timestamp("us"), "shop": pa.string(), "n": pa.int64(), "amount": pa.float64(), "open": pa.bool_()}
KINDS = ("timestamp", "string", "int", "float", "bool")
SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", row_id="position", event_time="at",
    columns=[Column(name=name, type=kind, nullable=name != "at") for name, kind in zip(TYPES, KINDS, strict=True)],
)  # fmt: skip
ROWS = pa.Table.from_pylist(
    [
        {"at": datetime(2024, 1, 1), "shop": "a", "n": 1, "amount": 2.5, "open": True, "_row": "f:1"},
        {"at": datetime(2024, 1, 2), "shop": None, "n": None, "amount": None, "open": None, "_row": "f:2"},
        {"at": datetime(2024, 1, 3), "shop": "b", "n": 2**60 + 1, "amount": -1.0, "open": False, "_row": "f:3"},
    ],
    pa.schema({**TYPES, "_row": pa.string()}),
)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=3))
def test_every_row_is_kept_or_left_out_by_a_rule(broken: list[tuple[bool, bool]]) -> None:
    """DM-02: Rows in = kept + left out, whatever rules say; a row that breaks two counts once; what stays is as it was."""
    masks = {"first": np.array([one for one, _ in broken]), "second": np.array([other for _, other in broken])}
    stays = [not (one or other) for one, other in broken]
    if not any(stays):
        with pytest.raises(BatchRefused, match="f has no row that may stay: 3 of 3 rows were left out by clean"):
            cleaned_rows(ROWS, SPEC, lambda columns: (columns, masks), "f")
        return
    cleaned = cleaned_rows(ROWS, SPEC, lambda columns: (columns, masks), "f")
    assert cleaned.total == 3
    assert cleaned.left_out.get("first", 0) == masks["first"].sum()
    assert cleaned.rows.equals(ROWS.filter(pa.array(stays)))


def test_rules_of_one_name_are_counted_together() -> None:
    """DM-02: Names are written as text, in which two may be one: no row goes uncounted."""
    masks = {1: np.array([True, False, False]), "1": np.array([False, True, False])}
    cleaned = cleaned_rows(ROWS, SPEC, lambda columns: (columns, masks), "f")
    assert (cleaned.left_out, cleaned.total) == ({"1": 2}, 3)


def changed(**columns: Any) -> Callable[[dict[str, np.ndarray]], dict[str, Any]]:
    return lambda given: given | columns


def test_columns_may_change_and_the_landed_rows_do_not() -> None:
    """DM-02: Values of a column's type, also computed in place; columns that the table adds are none of its business."""

    def clean(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert "_row" not in columns
        columns["amount"][columns["amount"] < 0] = np.nan
        columns["n"] = np.array([1.0, np.nan, 3.0])
        columns["shop"] = np.array(["A", "?", "B"])
        return columns

    before = ROWS.to_pylist()
    after = cleaned_rows(ROWS, SPEC, clean, "f").rows
    assert after.schema == ROWS.schema
    assert after.select(["shop", "n", "amount", "_row"]).to_pylist() == [
        {"shop": "A", "n": 1, "amount": 2.5, "_row": "f:1"},
        {"shop": "?", "n": None, "amount": None, "_row": "f:2"},
        {"shop": "B", "n": 3, "amount": None, "_row": "f:3"},
    ]
    assert ROWS.to_pylist() == before


@pytest.mark.parametrize(
    ("clean", "said"),
    [
        (lambda columns: {name: values[:2] for name, values in columns.items()}, "it gave 2 values of at for 3 rows. Return all rows"),
        (lambda columns: columns["missing"], "it broke with KeyError: 'missing'"),
        (lambda columns: None, "it must return the columns"),
        (lambda columns: {"at": columns["at"]}, "it lost the column amount"),
        (changed(extra=np.zeros(3)), "it added the column extra"),
        (changed(n=np.array([1.5, 2, 3])), "it made n, which is int, something else"),
        (changed(shop=np.array([1, 2, 3])), "it made shop, which is string, something else: an array of int64"),
        (changed(at=np.array(["2024-01-01"] * 3)), "it made at, which is timestamp, something else"),
        (changed(open=np.array([1, 0, 1])), "it made open, which is bool, something else"),
        (changed(amount=np.array([1, np.inf, -np.inf])), "it made amount, which is float, something else: 2 values are infinite"),
        (changed(amount=np.ma.array([1.0, 2, 3], mask=[1, 0, 0])), "it made amount, which is float, something else: a masked array"),
        (lambda columns: (columns, {"r": [0, 1, 0]}), "its rule `r` is no array of 3 truth values"),
    ],
)
def test_what_cannot_be_accounted_for_refuses_the_batch(clean: Callable[..., Any], said: str) -> None:
    """DM-02: Rows lost without a rule, another type, an error: a sentence that says what and which file to mend."""
    with pytest.raises(BatchRefused) as refusal:
        cleaned_rows(ROWS, SPEC, clean, "f")
    assert f"The clean of sales cannot be applied to f: {said}" in str(refusal.value)
    assert "Mend include/perennial_datasets/sales.py" in str(refusal.value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([[1.0, float("nan")], [2.0, 3.0]], "has null as element 1, which must be a number"),
        ([[1.0, 2.0], [2.0] * 9], "has 9 elements, and it must be a list of at most 4 numbers"),
        ([[1.0, 2.0], [5.0, 6.0]], ""),
        ([np.array([1.0]), None], ""),
    ],
)
def test_a_list_that_clean_makes_is_one_that_a_file_could_have(made, said):
    """DM-02: NaN in a list, or a list that is too long, is refused with its column; lists of equal length stay lists of a row each."""
    column = {"name": "prices", "type": "list", "of": "float", "longest": 4, "nullable": True}
    spec = DatasetSpec(name="rides", title="Rides", owner="fleet", row_id="position", event_time="", columns=[column])
    rows = pa.table({"prices": pa.array([[7.0], [8.0]], pa.list_(pa.float64()))})

    def cleaned():
        return cleaned_rows(rows, spec, lambda columns: {"prices": made}, "monday.csv").rows["prices"].to_pylist()

    if said:
        with pytest.raises(BatchRefused, match=said):
            cleaned()
    else:
        assert cleaned() == [None if value is None else list(value) for value in made]
