"""What a failed expectation says."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from perennial.quality.sentences import sentence, shown


@pytest.mark.parametrize(
    ("expectation", "kwargs", "result", "said"),
    [
        (
            "expect_column_values_to_be_of_type",
            {"column": "a", "type_": "int64"},
            {"observed_value": "float64"},
            "a has the type float64, not int64",
        ),
        (
            "expect_column_values_to_be_in_type_list",
            {"column": "a", "type_list": ["int64", "str"]},
            {"observed_value": "bool"},
            "a has the type bool, not int64 or str",
        ),
        (
            "expect_table_columns_to_match_set",
            {"column_set": ["a", "b"]},
            {"observed_value": ["b", "c"]},
            "it lacks the columns a and it has unexpected columns c",
        ),
        (
            "expect_table_columns_to_match_ordered_list",
            {"column_list": ["a", "b"]},
            {"observed_value": ["b", "a"]},
            "its columns are in another order",
        ),
        (
            "expect_column_median_to_be_between",
            {"column": "a", "max_value": 5},
            {"observed_value": np.float64(7.25)},
            "the median of a is 7.25, above 5",
        ),
        (
            "expect_column_min_to_be_between",
            {"column": "a", "min_value": datetime(2013, 1, 1)},
            {"observed_value": datetime(2012, 1, 1)},
            "the smallest a is 2012-01-01 00:00, before 2013-01-01 00:00",
        ),
        (
            "expect_column_pair_values_a_to_be_greater_than_b",
            {"column_A": "a", "column_B": "b", "or_equal": True, "mostly": 0.9},
            {"unexpected_count": 2, "element_count": 1000},
            "a is not at least b in 2 of 1,000 rows; at most 10 % may be",
        ),
        ("expect_the_moon", {}, {}, "expect_the_moon does not hold"),
        (
            "expect_column_distinct_values_to_equal_set",
            {"column": "a", "value_set": [1]},
            {"partial_missing_list": [1], "partial_unexpected_list": [2]},
            "a lacks 1 and has the unknown 2; it should have exactly 1",
        ),
    ],
)
def test_sentences(expectation: str, kwargs: dict[str, object], result: dict[str, object], said: str) -> None:
    """DM-10: Column, numbers and bounds, as a person writes them."""
    assert sentence(expectation, kwargs, result) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0.1 + 0.2, "0.3"),
        (12345678.9, "12,345,679"),
        (True, "True"),
        ((1, 2.5), "1 and 2.5"),
        (np.int64(3), "3"),
        (None, "None"),
        ("x" * 100, "x" * 60),
    ],
)
def test_values_are_short(value: object, text: str) -> None:
    """DM-10: Thousands apart, no noise digits, long text cut."""
    assert shown(value) == text
