"""What expectations of a suite ask about, counted in one pass over blocks of rows.

A tally counts what Great Expectations' metrics of one expectation would be if they were computed of all rows at once, by the same
comparisons: missing values (null and NaN alike) are no values, whole numbers beside a gap are shown as floats, the examples are the first
rows. The expectation itself makes its result of them (`perennial.quality.answers`), so that no wording or rounding is ours. An argument or
a type of column that a tally does not know is left to Great Expectations.

>>> import pyarrow as pa
>>> tally = tally_of("expect_column_values_to_be_between", {"column": "km", "min_value": 0}, {"km": pa.float64()})
>>> tally.take(Block(pa.table({"km": [4.2, -1.0, None]}), 0))
>>> tally.count, tally.first()["km"].to_pylist()
(1, [-1.0])
"""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from perennial.repeated_keys import RepeatedKeys

Kind = Literal["int", "float", "string", "timestamp", "bool", "other"]
Mask = NDArray[np.bool_]
ROW = "row"  # column of the examples: their place, counted from 0
EXAMPLES = 20
_MANY = 4096  # different texts in a block, beyond which they are not looked at one by one
_EPOCH = datetime(1970, 1, 1)
_NO_NAN = (
    pa.types.is_integer, pa.types.is_date, pa.types.is_decimal, pa.types.is_list, pa.types.is_binary, pa.types.is_timestamp,
)  # fmt: skip


def kind_of_type(type_: pa.DataType) -> Kind | None:
    """How values of a type are compared; `other` if all that is known of them is whether they are missing, None if not even that."""
    exact: dict[pa.DataType, Kind] = {pa.int64(): "int", pa.float64(): "float", pa.timestamp("us"): "timestamp", pa.bool_(): "bool"}
    if type_ in exact:
        return exact[type_]
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return "string"
    return "other" if any(is_one(type_) for is_one in _NO_NAN) else None


class BlockColumn:
    """One column of a block; what several tallies want of it is reckoned once."""

    def __init__(self, values: pa.ChunkedArray) -> None:
        self.values: pa.Array = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
        self.kind = kind_of_type(values.type)

    @functools.cached_property
    def present(self) -> Mask | None:
        """Which values are there; None if all are."""
        valid = np.asarray(self.values.is_valid().to_numpy(zero_copy_only=False), bool) if self.values.null_count else None
        if self.kind != "float":
            return valid
        gaps: Mask = np.isnan(self.numbers)
        return np.asarray(~gaps, bool) if gaps.any() else valid

    @functools.cached_property
    def missing(self) -> int:
        """How many values are missing."""
        return 0 if self.present is None else len(self.values) - int(np.count_nonzero(self.present))

    @functools.cached_property
    def numbers(self) -> NDArray[Any]:
        """Numbers, truth values as they are, times in microseconds. A missing one is NaN among floats, else 0."""
        values = self.values.view(pa.int64()) if self.kind == "timestamp" else self.values
        if values.null_count:
            values = values.fill_null(float("nan") if self.kind == "float" else False if self.kind == "bool" else 0)
        return np.asarray(values.to_numpy(zero_copy_only=False))

    @functools.cached_property
    def ends(self) -> tuple[Any, Any] | None:
        """The smallest and the largest number; None if there is none."""
        values = self.values.view(pa.int64()) if self.kind == "timestamp" else self.values
        ends = pc.min_max(values).as_py()
        return None if ends["min"] is None or ends["min"] != ends["min"] or self.missing == len(values) else (ends["min"], ends["max"])

    @functools.cached_property
    def encoded(self) -> pa.DictionaryArray | None:
        """Texts, each different one once; None if there are too many of them for that to help."""
        first = self.values.slice(0, 8 * _MANY)
        if len(first) > _MANY and pc.count_distinct(first).as_py() > _MANY:
            return None
        return pc.dictionary_encode(self.values)

    def of_each(self, told: Callable[[pa.Array], Mask]) -> Mask:
        """What is told of texts that are there, for each row; False where one is missing."""
        if self.encoded is None:
            of_all = np.zeros(len(self.values), bool)
            there = slice(None) if self.present is None else self.present
            of_all[there] = told(self.values.drop_null())
            return of_all
        of_each = told(self.encoded.dictionary)
        if not of_each.any():
            return np.zeros(len(self.values), bool)
        codes = self.encoded.indices.fill_null(len(of_each)).to_numpy(zero_copy_only=False)
        return np.asarray(np.append(of_each, False)[codes], bool)


class Block:
    """A block of rows, and the place of its first one."""

    def __init__(self, rows: pa.Table, begin: int) -> None:
        self.rows, self.begin = rows, begin
        self._columns: dict[str, BlockColumn] = {}

    def column(self, name: str) -> BlockColumn:
        """One of its columns."""
        if name not in self._columns:
            self._columns[name] = BlockColumn(self.rows[name])
        return self._columns[name]


class Tally:
    """What one expectation asks about."""

    metric = ""  # Great Expectations' name for what is counted

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)

    def take(self, block: Block) -> None:
        """Count a block."""
        raise NotImplementedError

    def finish(self, read: Callable[[Sequence[str]], Iterable[pa.Table]]) -> None:
        """Look again at what one pass could not tell."""

    def close(self) -> None:
        """Let go of what it keeps outside memory."""

    def metrics(self, rows: int, missing: Mapping[str, int], frame: Callable[[pa.Table], Any]) -> dict[str, Any]:
        """The metrics by Great Expectations' names.

        Args:
            rows: how many there were.
            missing: values that are missing, by column.
            frame: makes a pandas frame of rows, with the types that all rows together have.
        """
        raise NotImplementedError


class RowCount(Tally):
    """How many rows there are."""

    def take(self, block: Block) -> None:
        """Nothing: they are counted anyway."""

    def metrics(self, rows: int, missing: Mapping[str, int], frame: Callable[[pa.Table], Any]) -> dict[str, Any]:
        """The metrics by Great Expectations' names."""
        return {"table.row_count": rows}


class Mean(Tally):
    """The mean of numbers. Sums of blocks are added exactly, so it may differ in the last digits from one that was summed at once."""

    def __init__(self, column: str) -> None:
        super().__init__([column])
        self.sums: list[float] = []
        self.count = 0

    def take(self, block: Block) -> None:
        """Count a block."""
        column = block.column(self.columns[0])
        numbers = column.numbers if column.present is None else column.numbers[column.present]
        self.sums.append(float(numbers.sum(dtype=np.float64)))
        self.count += len(numbers)

    def metrics(self, rows: int, missing: Mapping[str, int], frame: Callable[[pa.Table], Any]) -> dict[str, Any]:
        """The metrics by Great Expectations' names."""
        finite = all(map(math.isfinite, self.sums))
        total = math.fsum(self.sums) if finite else float(np.sum(self.sums))
        return {"column.mean": np.float64(total / self.count) if self.count else np.float64("nan")}


class Unexpected(Tally):
    """The rows that break an expectation about single rows: how many, and the first of them."""

    def __init__(self, metric: str, columns: Sequence[str]) -> None:
        super().__init__(columns)
        self.metric = metric
        self.count = 0
        self.ignored = 0  # rows that the expectation is not about
        self._first: list[pa.Table] = []

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        raise NotImplementedError

    def take(self, block: Block) -> None:
        """Count a block."""
        which = self.which(block)
        if which is not None and (count := int(np.count_nonzero(which))):
            self.keep(block.rows, np.flatnonzero(which), block.begin)
            self.count += count

    def keep(self, rows: pa.Table, which: NDArray[np.int64], begin: int) -> None:
        """Keep the first unexpected rows as examples."""
        wanted = EXAMPLES - sum(part.num_rows for part in self._first)
        if wanted > 0:
            some = which[:wanted]
            self._first.append(rows.select(list(dict.fromkeys(self.columns))).take(some).append_column(ROW, pa.array(some + begin)))

    def first(self) -> pa.Table:
        """The examples."""
        return pa.concat_tables(self._first)

    def metrics(self, rows: int, missing: Mapping[str, int], frame: Callable[[pa.Table], Any]) -> dict[str, Any]:
        """The metrics by Great Expectations' names."""
        examples = frame(self.first()) if self._first else None
        return {
            "table.row_count": rows,
            "column_values.nonnull.unexpected_count": missing.get(self.columns[0], 0),
            f"{self.metric}.unexpected_count": self.count,
            f"{self.metric}.filtered_row_count": rows - self.ignored,
            f"{self.metric}.unexpected_values": [] if examples is None else self.shown(examples),
            f"{self.metric}.unexpected_index_list": [] if examples is None else examples[ROW].tolist(),
            f"{self.metric}.unexpected_index_query": None,
        }

    def shown(self, examples: Any) -> list[Any]:
        """The examples as Great Expectations lists them, of a pandas frame."""
        return list(examples[self.columns[0]])


class Missing(Unexpected):
    """Values that are missing."""

    def __init__(self, column: str) -> None:
        super().__init__("column_values.nonnull", [column])

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        present = block.column(self.columns[0]).present
        return None if present is None else ~present


class Outside(Unexpected):
    """Numbers or times that are not within bounds."""

    def __init__(self, column: str, least: Any, most: Any, *, above: bool, below: bool) -> None:
        super().__init__("column_values.between", [column])
        self.least, self.most, self.above, self.below = least, most, above, below

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        column = block.column(self.columns[0])
        if column.ends is None:
            return None
        smallest, largest = column.ends
        if not (self._too_small(smallest) or self._too_large(largest)):
            return None
        which = np.asarray(self._too_small(column.numbers) | self._too_large(column.numbers))
        return which if column.present is None else which & column.present

    def _too_small(self, value: Any) -> Any:
        return False if self.least is None else value <= self.least if self.above else value < self.least

    def _too_large(self, value: Any) -> Any:
        return False if self.most is None else value >= self.most if self.below else value > self.most


class NotIn(Unexpected):
    """Values that are not in a set; or those that are."""

    def __init__(self, column: str, values: Sequence[Any], *, forbidden: bool) -> None:
        super().__init__("column_values.not_in_set" if forbidden else "column_values.in_set", [column])
        self.values, self.forbidden = list(values), forbidden

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        column = block.column(self.columns[0])
        if column.kind == "string":
            return column.of_each(self._unexpected)
        which = np.isin(column.numbers, self.values, invert=not self.forbidden)
        return which if column.present is None else which & column.present

    def _unexpected(self, texts: pa.Array) -> Mask:
        known = pc.is_in(texts, pa.array(self.values, texts.type)).to_numpy(zero_copy_only=False)
        return np.asarray(known if self.forbidden else ~known, bool)


class OtherForm(Unexpected):
    """Texts that do not have a form."""

    def __init__(self, column: str, regex: str) -> None:
        super().__init__("column_values.match_regex", [column])
        self.regex = regex

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        return block.column(self.columns[0]).of_each(self.unlike)

    def unlike(self, texts: pa.Array) -> Mask:
        """Which texts do not have the form; pandas looks, as it does for Great Expectations."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of groups in a regex
            return np.asarray(~texts.to_pandas().astype(str).str.contains(self.regex).to_numpy(bool), bool)


class NotGreater(Unexpected):
    """Rows in which one column is not greater than another, or less. A missing value is never greater."""

    def __init__(self, column: str, other: str, ignore: str, *, or_equal: bool) -> None:
        super().__init__("column_pair_values.a_greater_than_b", [column, other])
        self.ignore, self.or_equal = ignore, or_equal

    def which(self, block: Block) -> Mask | None:
        """The rows of a block that break it; None if none do."""
        left, right = (block.column(name) for name in self.columns)
        greater = left.numbers >= right.numbers if self.or_equal else left.numbers > right.numbers
        for column in (left, right):
            greater = greater if column.present is None else greater & column.present
        ignored = _ignored(self.ignore, [left, right], ("both_values_are_missing", "either_value_is_missing"))
        if ignored is None:
            return np.asarray(~greater)
        self.ignored += int(np.count_nonzero(ignored))
        return np.asarray(~greater & ~ignored)

    def shown(self, examples: Any) -> list[Any]:
        """The examples as Great Expectations lists them, of a pandas frame."""
        return list(zip(*(examples[name].values for name in self.columns), strict=True))


class Repeated(Unexpected):
    """Rows whose values of some columns another row has too."""

    def __init__(self, metric: str, columns: Sequence[str], ignore: str) -> None:
        super().__init__(metric, columns)
        self.ignore, self.keys = ignore, RepeatedKeys(columns)

    def take(self, block: Block) -> None:
        """Count a block."""
        self.keys.take(self._counted(block))

    def finish(self, read: Callable[[Sequence[str]], Iterable[pa.Table]]) -> None:
        """Look at the rows whose keys may be the same: only they are read again in earnest."""

        def blocks() -> Iterable[pa.Table]:
            begin = 0
            for rows in read(self.columns):
                block = Block(rows, begin)
                ignored = _ignored(self.ignore, [block.column(name) for name in self.columns], _MULTI)
                places = pa.array(np.arange(begin, begin + rows.num_rows))
                numbered = rows.append_column(ROW, places)
                yield numbered if ignored is None else numbered.filter(pa.array(~ignored))
                begin += rows.num_rows

        self.count, first = self.keys.found(blocks, ROW, EXAMPLES)
        self._first = [first] if self.count else []

    def close(self) -> None:
        """Let go of what it keeps outside memory."""
        self.keys.close()

    def _counted(self, block: Block) -> pa.Table:
        ignored = _ignored(self.ignore, [block.column(name) for name in self.columns], _MULTI)
        rows = block.rows.select(self.columns)
        if ignored is None:
            return rows
        self.ignored += int(np.count_nonzero(ignored))
        return rows.filter(pa.array(~ignored))

    def shown(self, examples: Any) -> list[Any]:
        """The examples as Great Expectations lists them, of a pandas frame."""
        if self.metric == "column_values.unique":
            return list(examples[self.columns[0]])
        return list(examples[self.columns].to_dict("records"))


_MULTI = ("all_values_are_missing", "any_value_is_missing")


def _ignored(ignore: str, columns: Sequence[BlockColumn], words: tuple[str, str]) -> Mask | None:
    """The rows that an expectation about several columns is not about; None if there are none."""
    if ignore not in words or not any(column.missing for column in columns):
        return None
    gaps = [np.zeros(len(column.values), bool) if column.present is None else ~column.present for column in columns]
    return np.asarray((np.logical_and if ignore == words[0] else np.logical_or).reduce(gaps))


def tally_of(type_: str, kwargs: Mapping[str, Any], columns: Mapping[str, pa.DataType]) -> Tally | None:
    """The tally of an expectation; None if it is left to Great Expectations.

    Args:
        type_: its name, such as `expect_column_values_to_be_between`.
        kwargs: its arguments, with parameters filled in.
        columns: types of the columns that there are.
    """
    given = {name: value for name, value in kwargs.items() if value is not None and name not in ("mostly", "batch_id")}
    makers: dict[str, tuple[Callable[..., Tally | None], tuple[str, ...]]] = {
        "expect_table_row_count_to_be_between": (_row_count, ("min_value", "max_value", "strict_min", "strict_max")),
        "expect_column_mean_to_be_between": (_mean, ("column", "min_value", "max_value", "strict_min", "strict_max")),
        "expect_column_values_to_not_be_null": (_missing, ("column",)),
        "expect_column_values_to_be_between": (_outside, ("column", "min_value", "max_value", "strict_min", "strict_max")),
        "expect_column_values_to_be_in_set": (functools.partial(_in_set, forbidden=False), ("column", "value_set")),
        "expect_column_values_to_not_be_in_set": (functools.partial(_in_set, forbidden=True), ("column", "value_set")),
        "expect_column_values_to_match_regex": (_form, ("column", "regex")),
        "expect_column_pair_values_a_to_be_greater_than_b": (_greater, ("column_A", "column_B", "ignore_row_if", "or_equal")),
        "expect_column_values_to_be_unique": (_unique, ("column",)),
        "expect_compound_columns_to_be_unique": (_unique_together, ("column_list", "ignore_row_if")),
    }
    asked = [given.get("column"), given.get("column_A"), given.get("column_B"), *given.get("column_list", ())]
    named = [name for name in asked if name is not None]
    if type_ not in makers or any(name not in columns for name in named):
        return None
    maker, known = makers[type_]
    return None if set(given) - set(known) else maker(given, {name: kind_of_type(columns[name]) for name in named})


def _row_count(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally:
    return RowCount([])


def _mean(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    return Mean(given["column"]) if kinds[given["column"]] in ("int", "float") else None


def _missing(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    return Missing(given["column"]) if kinds[given["column"]] else None


def _outside(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    kind, bounds = kinds[given["column"]], [given.get("min_value"), given.get("max_value")]
    there = [bound for bound in bounds if bound is not None]
    if not there or not all(_comparable(bound, kind) for bound in there) or (len(there) == 2 and there[0] > there[1]):
        return None
    least, most = (_microseconds(bound) if isinstance(bound, datetime) else bound for bound in bounds)
    return Outside(given["column"], least, most, above=bool(given.get("strict_min")), below=bool(given.get("strict_max")))


def _comparable(bound: Any, kind: Kind | None) -> bool:
    if kind == "timestamp":
        return isinstance(bound, datetime) and bound.tzinfo is None
    return kind in ("int", "float") and isinstance(bound, int | float) and not isinstance(bound, bool) and not math.isnan(bound)


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _in_set(given: Mapping[str, Any], kinds: Mapping[str, Kind | None], *, forbidden: bool) -> Tally | None:
    kind, values = kinds[given["column"]], given.get("value_set")
    fitting: dict[Kind | None, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (int, float)}
    if not isinstance(values, list | tuple | set) or not values or kind not in fitting:
        return None
    if any(
        not isinstance(value, fitting[kind]) or isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value))
        for value in values
    ):
        return None
    return NotIn(given["column"], list(values), forbidden=forbidden)


def _form(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    tally = OtherForm(given["column"], given["regex"])
    if kinds[given["column"]] != "string":
        return None
    try:
        tally.unlike(pa.array(["a"]))
    except (ValueError, re.error):  # Great Expectations says what is wrong with it
        return None
    return tally


def _greater(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    column, other = given["column_A"], given["column_B"]
    pair = {kinds[column], kinds[other]}
    if column == other or not (pair == {"timestamp"} or pair <= {"int", "float"}):
        return None
    ignore = given.get("ignore_row_if", "both_values_are_missing")
    return NotGreater(column, other, ignore, or_equal=bool(given.get("or_equal")))


def _unique(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    if kinds[given["column"]] in (None, "other"):
        return None
    return Repeated("column_values.unique", [given["column"]], _MULTI[0])


def _unique_together(given: Mapping[str, Any], kinds: Mapping[str, Kind | None]) -> Tally | None:
    columns = given["column_list"]
    if len(set(columns)) < len(columns) or any(kinds[name] in (None, "other") for name in columns):
        return None
    return Repeated("compound_columns.unique", columns, given.get("ignore_row_if", _MULTI[0]))
