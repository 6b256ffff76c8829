"""Each answer of the pass over blocks, held against what Great Expectations says itself of all rows at once."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from perennial.quality import suites
from perennial.quality.answers import FORMAT, Validation
from perennial.row_blocks import RowBlocks

_EVERY = 41  # of the expectations, another part for each kind of rows: the library takes time
NAN = float("nan")
ROWS = pa.table(
    {
        "whole": pa.array([3, 1, 4, 1, 5, 9, 2, 6]),
        "gaps": pa.array([3, None, 4, 1, None, 9, 2, 6]),
        "km": pa.array([1.5, NAN, None, -0.0, 0.0, math.inf, 1e300, -2.5]),
        "all_gone": pa.array([None] * 8, pa.float64()),
        "city": pa.array(["Paris", "Lyon", None, "Paris", "", "Nîmes", "Lyon ", "paris"]),
        "code": pa.array([f"A-{n}" for n in range(8)]),
        "no_text": pa.array([None] * 8, pa.string()),
        "flag": pa.array([True, False, True, True, False, True, True, True]),
        "maybe": pa.array([True, None, True, True, False, True, True, True]),
        "start": pa.array([datetime(2024, 1, 1, h, 30, 0, 250) for h in range(8)], pa.timestamp("us")),
        "end": pa.array([datetime(2024, 1, 1, 3), None, *[datetime(2024, 1, 1, h, 30, 0, 250) for h in range(2, 8)]], pa.timestamp("us")),
        "price": pa.array([Decimal("1.10"), None, *[Decimal(n) for n in range(6)]], pa.decimal128(9, 2)),
        "day": pa.array([date(2024, 1, 1), None, *[date(2024, 1, n) for n in range(2, 8)]]),
        "small": pa.array([1, 2, 3, 4, 5, 6, 7, 8], pa.int32()),
        "single": pa.array([1.0, 2.0, NAN, 4.0, None, 6.0, 7.0, 8.0], pa.float32()),
        "words": pa.array([["a"], None, [], ["b"], ["b", None], ["c"], ["d"], ["a"]]),
        "nanos": pa.array([datetime(2024, 1, 1, h) for h in range(8)], pa.timestamp("ns")),
        "zoned": pa.array([datetime(2024, 1, 1, h) for h in range(8)], pa.timestamp("us", tz="UTC")),
        "half a": pa.array([1, 1, None, 2, 2, None, 3, 3]),
        "half b": pa.array(["x", "x", None, None, None, "z", "y", "Y"]),
    }
)
COLUMNS = ROWS.column_names
BETWEEN: list[dict[str, Any]] = [
    {"min_value": 2}, {"max_value": 4}, {"min_value": 1.5, "max_value": 4.5}, {"min_value": 2, "strict_min": True},
    {"max_value": 4, "strict_max": True}, {"min_value": 1, "max_value": 5, "strict_min": True, "strict_max": True},
    {"min_value": 9, "max_value": 1}, {"min_value": 2, "mostly": 0.5}, {"min_value": 1000, "mostly": 0.1},
    {"min_value": datetime(2024, 1, 1, 2, 30, 0, 250)}, {"max_value": datetime(2024, 1, 1, 4), "strict_max": True},
    {"min_value": datetime(1, 1, 1), "max_value": datetime(2024, 1, 1, 4)}, {"min_value": "2024-01-01"},
    {"min_value": 2, "row_condition": "whole > 2", "condition_parser": "pandas"},
]  # fmt: skip
SETS: list[list[Any]] = [
    ["Paris", "Lyon"], [1, 3, 4], [1.5, 0.0, -2.5], ["Paris", 1], [True], [None, 1], [], ["2024-01-01"], [1, 3, 4, 5, 9, 2, 6, 7],
    ["Paris", "Lyon", "", "Nîmes", "Lyon ", "paris"],
]  # fmt: skip
EXPECTATIONS: list[tuple[str, dict[str, Any]]] = [
    *[("expect_column_values_to_not_be_null", {"column": name, **more}) for name in COLUMNS for more in ({}, {"mostly": 0.5})],
    *[("expect_column_values_to_be_between", {"column": name, **more}) for name in COLUMNS for more in BETWEEN],
    *[(f"expect_column_values_to_{word}be_in_set", {"column": name, "value_set": values})
      for name in COLUMNS for values in SETS for word in ("", "not_")],
    *[("expect_column_values_to_match_regex", {"column": name, "regex": regex, **more})
      for name in ("city", "code", "no_text", "whole", "flag", "gaps")
      for regex in ("^[A-Z]", "(i|y)", r"\d$", "(?=P)", "(", "^$") for more in ({}, {"mostly": 0.3})],
    *[("expect_column_values_to_be_unique", {"column": name}) for name in COLUMNS],
    *[("expect_compound_columns_to_be_unique", {"column_list": names, "ignore_row_if": ignore})
      for names in (["half a", "half b"], ["whole", "km"], ["gaps", "city", "start"], ["km", "single"], ["flag", "maybe"],
                    ["words", "whole"])
      for ignore in ("all_values_are_missing", "any_value_is_missing", "never")],
    *[("expect_column_pair_values_a_to_be_greater_than_b", {"column_A": a, "column_B": b, "ignore_row_if": ignore, **more})
      for a, b in (("whole", "gaps"), ("gaps", "km"), ("km", "whole"), ("start", "end"), ("end", "start"), ("city", "code"),
                   ("whole", "start"))
      for ignore in ("both_values_are_missing", "either_value_is_missing", "neither")
      for more in ({}, {"or_equal": True}, {"or_equal": True, "mostly": 0.4})],
    *[(f"expect_column_{what}_to_be_between", {"column": name, **more})
      for what in ("mean", "median", "min", "max", "sum", "stdev", "unique_value_count") for name in COLUMNS
      for more in ({"min_value": 3, "max_value": 4}, {"min_value": 0, "strict_min": True})],
    *[(f"expect_column_{what}_to_be_between", {"column": name, "min_value": datetime(2024, 1, 1, 1)})
      for what in ("min", "max") for name in ("start", "end", "nanos", "whole")],
    *[(f"expect_column_distinct_values_to_{what}_set", {"column": name, "value_set": values})
      for what in ("equal", "be_in", "contain") for name in COLUMNS for values in SETS],
    *[("expect_column_values_to_be_of_type", {"column": name, "type_": kind})
      for name in COLUMNS for kind in ("int64", "float64", "str", "object", "bool", "datetime64", "no type")],
    *[("expect_column_values_to_be_in_type_list", {"column": name, "type_list": ["float64", "str", "int"]}) for name in COLUMNS],
    ("expect_table_columns_to_match_set", {"column_set": COLUMNS}),
    ("expect_table_columns_to_match_set", {"column_set": ["whole", "elsewhere"], "exact_match": False}),
    ("expect_table_columns_to_match_ordered_list", {"column_list": COLUMNS[::-1]}),
    ("expect_table_row_count_to_be_between", {"min_value": 3, "max_value": 7}),
    ("expect_table_row_count_to_equal", {"value": 8}),
    ("expect_table_column_count_to_be_between", {"min_value": 3, "max_value": 7}),
    ("expect_column_to_exist", {"column": "whole", "column_index": 0}),
    ("expect_column_to_exist", {"column": "nowhere"}),
    ("expect_column_values_to_not_be_null", {"column": "nowhere"}),
    ("expect_column_value_lengths_to_be_between", {"column": "city", "min_value": 3}),
    ("expect_column_values_to_be_null", {"column": "all_gone"}),
    ("expect_column_quantile_values_to_be_between",
     {"column": "whole", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1, 2]]}}),
    ("expect_select_column_values_to_be_unique_within_record", {"column_list": ["whole", "gaps"]}),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["whole", "small"], "sum_total": 4}),
]  # fmt: skip


def plain(value: Any) -> Any:
    """A value such that equal ones of equal types are equal, NaN too."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return f"{type(value).__name__} {value!r}"


def suite_of(expectations: list[tuple[str, dict[str, Any]]]) -> Any:
    gx = suites.great_expectations()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    made = []
    for type_, kwargs in expectations:
        with contextlib.suppress(ValueError):  # no suite can have it
            made.append(ExpectationConfiguration(type=type_, kwargs=kwargs).to_domain_obj())
    return gx.ExpectationSuite(name="nasty", expectations=made)


def by_great_expectations(frame: pd.DataFrame, suite: Any) -> Any:
    batch = suites.validator().data_sources.pandas_default.read_dataframe(frame)
    return batch.validate(suite, result_format=dict(FORMAT))


def said_of(result: Any) -> dict[str, Any]:
    found = {}
    for one in result.results:
        name = json.dumps([one.expectation_config.type, one.expectation_config.kwargs], sort_keys=True, default=str)
        raised = "Traceback" in str(one.exception_info) or one.exception_info.get("raised_exception", False)
        found[name] = {"success": one.success, "raised": bool(raised), **plain(one.result)}
        if "mean" in name and not raised:  # of partial sums
            value = one.result["observed_value"]
            found[name]["observed_value"] = None if value is None else pytest.approx(value, rel=1e-15, nan_ok=True)
        if "distinct" in name and "partial_missing_list" in found[name]:  # in the order of a set
            found[name]["partial_missing_list"] = sorted(found[name]["partial_missing_list"])
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("rows", "some", "as_frame"),
    [(ROWS, 0, False), (ROWS, 7, True), (ROWS.slice(0, 0), 11, False), (pa.concat_tables([ROWS] * 7), 13, False)],
    ids=["few", "frame", "none", "many"],
)
def test_every_answer_is_great_expectations_own(rows: pa.Table, some: int, as_frame: bool) -> None:
    """DM-10: Counts, shares, examples and their rows are what the library says of all rows at once, for each kind of expectation and
    column, missing values and odd arguments; with more than twenty broken rows, and with none."""
    frame, suite = rows.to_pandas(), suite_of(EXPECTATIONS[some::_EVERY])
    wanted = said_of(by_great_expectations(frame.copy(), suite))
    got = said_of(Validation(frame if as_frame else RowBlocks.of(rows, most=3), suite, {}).result())
    assert set(got) == set(wanted)
    assert len(got) > 30
    unlike = {name: (got[name], wanted[name]) for name in wanted if got[name] != wanted[name]}
    assert not unlike, next(iter(unlike.items()))


SUITE: list[tuple[str, dict[str, Any]]] = [
    ("expect_table_row_count_to_be_between", {"min_value": 1}),
    ("expect_column_values_to_not_be_null", {"column": "gaps", "mostly": 0.5}),
    ("expect_column_values_to_be_between", {"column": "gaps", "min_value": 2}),
    ("expect_column_values_to_be_in_set", {"column": "city", "value_set": ["Paris"]}),
    ("expect_column_max_to_be_between", {"column": "start", "max_value": datetime(2024, 1, 1)}),
    ("expect_column_distinct_values_to_equal_set", {"column": "city", "value_set": ["Paris"]}),
    ("expect_compound_columns_to_be_unique", {"column_list": ["code", "whole"]}),
]


@pytest.mark.parametrize("times", [1, 50])
def test_rows_are_read_once_and_never_at_once(times: int) -> None:
    """DM-08: However many rows there are, a suite of usual expectations asks for each block once; for the keys once more, if some are
    repeated; and never for all rows in memory."""
    read: list[tuple[str, ...]] = []
    rows = RowBlocks.of(pa.concat_tables([ROWS] * times), most=8)

    def counted(columns: Sequence[str]) -> Iterator[pa.Table]:
        for block in rows.read(columns):
            read.append(tuple(columns))
            yield block

    found = Validation(RowBlocks(rows.schema, counted), suite_of(SUITE), {}).result()
    assert read[:times] == [tuple(COLUMNS)] * times
    assert read[times:] == ([] if times == 1 else [("code", "whole")] * times)
    assert [one.result["unexpected_count"] for one in found.results if "compound" in one.expectation_config.type] == [
        0 if times == 1 else 400
    ]


@pytest.mark.filterwarnings("ignore")  # a condition as text is deprecated in the library, and read
def test_what_asks_about_single_columns_otherwise_gets_those_columns() -> None:
    """DM-10: A median needs its column, a row condition all of them; the rest stays on disk."""
    asked: list[list[str]] = []
    rows = RowBlocks.of(ROWS)

    def told(columns: Sequence[str]) -> Iterator[pa.Table]:
        asked.append(list(columns))
        return rows.read(columns)

    median = ("expect_column_median_to_be_between", {"column": "km", "min_value": 0})
    condition = ("expect_column_values_to_not_be_null", {"column": "km", "row_condition": "whole > 2", "condition_parser": "pandas"})
    Validation(RowBlocks(rows.schema, told), suite_of([median]), {}).result()
    Validation(RowBlocks(rows.schema, told), suite_of([condition]), {}).result()
    assert [names for names in asked if names] == [COLUMNS, ["km"], COLUMNS, COLUMNS]
