"""A failed expectation as a sentence that a person can act on.

>>> from perennial.quality.sentences import sentence
>>> sentence("expect_column_values_to_not_be_null", {"column": "distance"}, {"unexpected_count": 312, "element_count": 891})
'distance is null in 312 of 891 rows'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any


def sentence(expectation: str, kwargs: Mapping[str, Any], result: Mapping[str, Any], exception: str = "") -> str:
    """One clause without a full stop, such as `distance is null in 312 of 891 rows`.

    Args:
        expectation: type, such as `expect_column_values_to_not_be_null`.
        kwargs: its arguments, with parameters filled in.
        result: what Great Expectations found.
        exception: why it could not be evaluated, if it could not.
    """
    column = kwargs.get("column", "")
    if exception:
        return f"{expectation}{f' on {column}' if column else ''} could not be evaluated ({exception})"
    say = _SENTENCES.get(expectation)
    if say:
        return say(column, kwargs, result)
    return f"{expectation}{f' on {column}' if column else ''} does not hold{_rows(result)}"


def _rows(result: Mapping[str, Any]) -> str:
    count, total = result.get("unexpected_count"), result.get("element_count")
    return "" if count is None else f" in {count:,} of {total:,} rows"


def _examples(result: Mapping[str, Any]) -> str:
    values = list(dict.fromkeys(shown(v) for v in result.get("partial_unexpected_list") or ()))[:3]
    return f" (such as {', '.join(values)})" if values else ""


def _allowed(kwargs: Mapping[str, Any]) -> str:
    mostly = kwargs.get("mostly", 1)
    return "" if mostly in (None, 1) else f"; at most {(1 - mostly) * 100:.0f} % may be"


def _null(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"{column} is null{_rows(result)}{_allowed(kwargs)}"


def _between(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"{column} is {_not_within(kwargs)}{_rows(result)}{_examples(result)}{_allowed(kwargs)}"


def _statistic(name: str) -> Callable[[str, Mapping[str, Any], Mapping[str, Any]], str]:
    def say(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
        return f"the {name} {column} is {shown(result.get('observed_value'))}, {_not_within(kwargs)}"

    return say


def _row_count(_: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"it has {shown(result.get('observed_value'))} rows, {_not_within(kwargs)}"


def _in_set(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"{column} has unknown values{_rows(result)}{_examples(result)}{_allowed(kwargs)}"


def _not_in_set(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"{column} is {' or '.join(shown(v) for v in kwargs.get('value_set') or ())}{_rows(result)}{_allowed(kwargs)}"


def _regex(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"{column} does not have the form {kwargs.get('regex')}{_rows(result)}{_examples(result)}{_allowed(kwargs)}"


def _equal_set(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    lists = (("lacks", result.get("partial_missing_list")), ("has the unknown", result.get("partial_unexpected_list")))
    said = [f"{what} {', '.join(sorted({shown(v) for v in values}))}" for what, values in lists if values]
    return (
        f"{column} {' and '.join(said) or 'has other values'}; it should have exactly "
        f"{', '.join(shown(v) for v in kwargs.get('value_set') or ())}"
    )


def _unique(_: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return f"the key ({', '.join(kwargs.get('column_list', ()))}) is repeated{_rows(result)}"


def _pair(_: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    return (
        f"{kwargs.get('column_A')} is not {'at least' if kwargs.get('or_equal') else 'greater than'} "
        f"{kwargs.get('column_B')}{_rows(result)}{_allowed(kwargs)}"
    )


def _type(column: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    wanted = kwargs.get("type_") or " or ".join(kwargs.get("type_list") or ())
    return f"{column} has the type {shown(result.get('observed_value'))}, not {wanted}"


def _columns(_: str, kwargs: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    observed, wanted = set(result.get("observed_value") or ()), set(kwargs.get("column_set") or kwargs.get("column_list") or ())
    said = [
        f"{what} {', '.join(sorted(names))}"
        for what, names in (("it lacks the columns", wanted - observed), ("it has unexpected columns", observed - wanted))
        if names
    ]
    return " and ".join(said) or "its columns are in another order"


def _not_within(kwargs: Mapping[str, Any]) -> str:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is None:
        return f"above {shown(high)}" if not isinstance(high, datetime | str) else f"after {shown(high)}"
    if high is None:
        return f"below {shown(low)}" if not isinstance(low, datetime | str) else f"before {shown(low)}"
    return f"outside {shown(low)} to {shown(high)}"


def shown(value: Any) -> str:
    """A value as a person writes it."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, tuple):
        return " and ".join(shown(part) for part in value)
    if isinstance(value, datetime):
        return value.isoformat(" ", "minutes")
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)[:60]


_SENTENCES: dict[str, Callable[[str, Mapping[str, Any], Mapping[str, Any]], str]] = {
    "expect_column_values_to_not_be_null": _null,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_match_regex": _regex,
    "expect_column_values_to_be_of_type": _type,
    "expect_column_values_to_be_in_type_list": _type,
    "expect_column_distinct_values_to_equal_set": _equal_set,
    "expect_column_unique_value_count_to_be_between": _statistic("number of different values of"),
    "expect_column_mean_to_be_between": _statistic("mean of"),
    "expect_column_median_to_be_between": _statistic("median of"),
    "expect_column_min_to_be_between": _statistic("smallest"),
    "expect_column_max_to_be_between": _statistic("largest"),
    "expect_column_pair_values_a_to_be_greater_than_b": _pair,
    "expect_compound_columns_to_be_unique": _unique,
    "expect_table_columns_to_match_set": _columns,
    "expect_table_columns_to_match_ordered_list": _columns,
    "expect_table_row_count_to_be_between": _row_count,
}
