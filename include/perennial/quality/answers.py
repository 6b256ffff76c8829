"""Validates rows by a suite in one pass over blocks of them: Great Expectations judges, but does not need all rows in memory for it.

An expectation is answered in one of three ways, and always by Great Expectations' own class:

* from counts (`perennial.quality.tallies`), which are handed to it as the metrics that it would have computed;
* of a few rows that stand for all: one that asks about names, types, the smallest, the largest or the different values only. These rows
  have the same;
* of the columns that it asks about, with all their values, where it is of another kind or has a row condition.

The third way takes memory for what it reads: a column, or all rows if it cannot be told which columns are meant.
"""

from __future__ import annotations

import contextlib
import copy
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.quality import suites
from perennial.quality.tallies import EXAMPLES, Block, BlockColumn, Tally, kind_of_type, tally_of
from perennial.row_blocks import BLOCK, RowBlocks

if TYPE_CHECKING:
    import pandas

FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES}
_MOST_DIFFERENT = 100_000  # values of a column that stand for all of them
_OF_NAMES = ("expect_table_columns_to_match_set", "expect_table_columns_to_match_ordered_list", "expect_column_to_exist")
_OF_TYPES = ("expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list")
_OF_ENDS = ("expect_column_min_to_be_between", "expect_column_max_to_be_between")
_OF_DIFFERENT = (
    "expect_column_distinct_values_to_equal_set",
    "expect_column_distinct_values_to_be_in_set",
    "expect_column_distinct_values_to_contain_set",
    "expect_column_unique_value_count_to_be_between",
)
_COLUMNS = ("column", "column_A", "column_B")


@dataclass
class _Seen:
    """What all rows together have of a column."""

    missing: int = 0
    ends: tuple[Any, Any] | None = None
    different: pa.Array | None = None
    countless: bool = False  # too many different values to keep

    def take(self, column: BlockColumn, *, ends: bool, different: bool) -> None:
        """Look at a block's column."""
        if column.kind:
            self.missing += column.missing
        if ends and (found := column.ends):
            self.ends = found if self.ends is None else (min(found[0], self.ends[0]), max(found[1], self.ends[1]))
        if different and not self.countless:
            values = column.values if column.kind != "string" or column.encoded is None else column.encoded.dictionary
            once = pc.unique(values if self.different is None else pa.concat_arrays([self.different, pc.unique(values)]))
            self.different, self.countless = once, len(once) > _MOST_DIFFERENT

    def few(self, type_: pa.DataType) -> pa.Array:
        """Some values that have the same smallest, largest and different ones, and one that is missing if any is."""
        values = [] if self.different is None else [self.different.drop_null()]
        if self.ends is not None:
            ends = pa.array(self.ends)
            values.append(ends.view(type_) if pa.types.is_timestamp(type_) else ends.cast(type_))
        if self.missing:
            values.append(pa.nulls(1, type_))
        return pa.concat_arrays(values) if values else pa.nulls(0, type_)


@dataclass
class _Plan:
    """Who answers which expectation, by its place in the suite."""

    tallies: dict[int, Tally] = field(default_factory=dict)
    few: list[int] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)
    different: set[str] = field(default_factory=set)


class Validation:
    """A suite's answers about rows.

    Args:
        rows: the rows, as blocks or as a pandas frame. What columns of a frame have that no column of a table has is left to Great
            Expectations.
        suite: Great Expectations' suite.
        parameters: the values of its suite parameters.
        beside: looks at each block, too, for what is told beside the suite.
    """

    def __init__(
        self,
        rows: RowBlocks | pandas.DataFrame,
        suite: Any,
        parameters: Mapping[str, Any],
        beside: Callable[[pa.Table], None] = lambda _: None,
    ) -> None:
        self.frame = None if isinstance(rows, RowBlocks) else rows
        self.rows = rows if isinstance(rows, RowBlocks) else _blocks_of(rows)
        self.suite, self.parameters, self.beside = suite, dict(parameters), beside
        self.count = 0
        self._configs = self._in_order([copy.deepcopy(one) for one in suite.expectation_configurations])
        self._types = {one.name: one.type for one in self.rows.schema}
        self._seen = {name: _Seen() for name in self._types}
        self._plan = self._planned()
        self._part: Any = None  # Great Expectations' newest result, whose words about itself are those of the whole

    def result(self) -> Any:
        """Great Expectations' result of the whole suite.

        Those that could not be evaluated come first, then the others as Great Expectations sorts them: by column.
        """
        self._pass()
        answers = self._counted() | self._of_few() if self.count else {}
        rest = [place for place in range(len(self._configs)) if place not in answers]
        if rest or self._part is None:
            answers |= self._judged(self._frame(self._needed(rest)), rest)
        results = [answers[place] for place in range(len(self._configs))]
        for one in results:
            one.expectation_config.kwargs.setdefault("batch_id", self._part.batch_id)
        return _together(sorted(results, key=lambda one: not _raised(one)), self._part, self.suite.name)

    def _in_order(self, configs: list[Any]) -> list[Any]:
        """The expectations as Great Expectations sorts them, with parameters filled in."""
        by_column: dict[str, list[Any]] = {}
        for config in configs:
            config.process_suite_parameters(suite_parameters=self.parameters, interactive_evaluation=True, data_context=None)
            column = config.kwargs.get("column")
            by_column.setdefault(column if isinstance(column, str) else "_nocolumn", []).append(config)
        return [config for several in by_column.values() for config in several]

    def _planned(self) -> _Plan:
        plan = _Plan()
        for place, config in enumerate(self._configs):
            kwargs, column = config.kwargs, config.kwargs.get("column")
            if config.type in _OF_NAMES:
                plan.few.append(place)
            elif tally := tally_of(config.type, kwargs, self._types):
                plan.tallies[place] = tally
            elif not (column in self._types and kind_of_type(self._types[column]) not in (None, "other") and _plain(kwargs)):
                continue
            elif config.type in _OF_TYPES and kind_of_type(self._types[column]) != "bool":
                plan.few.append(place)
            elif config.type in _OF_ENDS and kind_of_type(self._types[column]) in ("int", "float", "timestamp"):
                plan.few.append(place)
                plan.ends.add(column)
            elif config.type in _OF_DIFFERENT and kind_of_type(self._types[column]) != "bool":
                plan.few.append(place)
                plan.different.add(column)
        return plan

    def _pass(self) -> None:
        """Look at every row once."""
        tallies = self._plan.tallies.values()
        try:
            for rows in self.rows.blocks():
                block = Block(rows, self.count)
                for name, seen in self._seen.items():
                    seen.take(block.column(name), ends=name in self._plan.ends, different=name in self._plan.different)
                for tally in tallies:
                    tally.take(block)
                self.beside(rows)
                self.count += rows.num_rows
            for tally in tallies:
                tally.finish(self.rows.blocks)
        finally:
            for tally in tallies:
                tally.close()

    def _counted(self) -> dict[int, Any]:
        """The answers from counts."""
        from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine

        missing, answers = {name: seen.missing for name, seen in self._seen.items()}, dict[int, Any]()
        for place, tally in self._plan.tallies.items():
            expectation = self._configs[place].to_domain_obj()
            asked = expectation.get_validation_dependencies(runtime_configuration={"result_format": dict(FORMAT)}).metric_configurations
            known = tally.metrics(self.count, missing, self._as_frame)
            with contextlib.suppress(TypeError, ValueError):  # it is given the rows then, and says itself what is wrong
                answers[place] = expectation.metrics_validate(
                    {config.id: known[name] for name, config in asked.items()},
                    runtime_configuration={"result_format": dict(FORMAT)},
                    execution_engine=PandasExecutionEngine(),
                )
        return answers

    def _of_few(self) -> dict[int, Any]:
        """The answers about the few rows that stand for all."""
        places = [
            place
            for place in self._plan.few
            if self._configs[place].type not in _OF_DIFFERENT or not self._seen[self._configs[place].kwargs["column"]].countless
        ]
        if not places:
            return {}
        values = {name: seen.few(self._types[name]) for name, seen in self._seen.items()}
        most = max(1, *map(len, values.values()))
        filled = [_filled(values[name], most) for name in self._types]
        return self._judged(self._as_frame(pa.table(filled, names=list(self._types))), places)

    def _frame(self, columns: Sequence[str]) -> pandas.DataFrame:
        """The rows with some columns, as Great Expectations reads them."""
        frame: pandas.DataFrame = self.rows.table(columns).to_pandas() if self.frame is None else self.frame[list(columns)]
        return frame

    def _as_frame(self, rows: pa.Table) -> pandas.DataFrame:
        """A pandas frame of some rows, whose columns have the types that all rows together have in pandas."""
        frame: pandas.DataFrame = rows.to_pandas()
        for name, seen in self._seen.items():
            if name in frame and seen.missing and pa.types.is_integer(self._types[name]):
                frame[name] = frame[name].astype(np.float64)
            elif name in frame and seen.missing and pa.types.is_boolean(self._types[name]):
                frame[name] = frame[name].astype(object)
        return frame

    def _needed(self, places: Iterable[int]) -> list[str]:
        """The columns that some expectations ask about; all where that cannot be told."""
        needed = set[str]()
        for place in places:
            config = self._configs[place]
            ours = type(config.to_domain_obj()).__module__.startswith("great_expectations.expectations.core.expect_column")
            if not ours or not _plain(config.kwargs):
                return list(self._types)
            needed |= {config.kwargs.get(name) for name in _COLUMNS} | set(config.kwargs.get("column_list") or ())
        return [name for name in self._types if name in needed]

    def _judged(self, frame: pandas.DataFrame, places: Sequence[int]) -> dict[int, Any]:
        """Great Expectations' answers about a frame."""
        gx, configs, place_of = suites.great_expectations(), [], {}
        for place in places:
            config = copy.deepcopy(self._configs[place])
            config.id = str(uuid.uuid4())
            place_of[config.id] = place
            configs.append(config)
        batch = suites.validator().data_sources.pandas_default.read_dataframe(frame)
        suite = gx.ExpectationSuite(name=self.suite.name, expectations=configs)
        self._part = batch.validate(suite, expectation_parameters=self.parameters, result_format=dict(FORMAT))
        answers = {}
        for one in self._part.results:
            place = place_of[one.expectation_config.id]
            one.expectation_config.id = self._configs[place].id
            answers[place] = one
        return answers


def _plain(kwargs: Mapping[str, Any]) -> bool:
    """Whether an expectation is about all rows."""
    return not kwargs.get("row_condition")


def _blocks_of(frame: pandas.DataFrame) -> RowBlocks:
    """A frame's rows in blocks; columns of types that no table gives are null throughout."""
    types: dict[str, pa.DataType] = {
        "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "datetime64[us]": pa.timestamp("us"), "str": pa.string(),
    }  # fmt: skip
    schema = pa.schema([(str(name), types.get(str(frame[name].dtype), pa.null())) for name in frame.columns])

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        fields = [schema.field(name) for name in columns]
        for begin in range(0, len(frame), BLOCK):
            some = frame.iloc[begin : begin + BLOCK]
            values = [
                pa.nulls(len(some)) if pa.types.is_null(one.type) else pa.array(some[one.name], one.type, from_pandas=True)
                for one in fields
            ]
            yield pa.table(values, schema=pa.schema(fields))

    return RowBlocks(schema, read)


def _filled(values: pa.Array, most: int) -> pa.Array:
    """So many values, with the first of them again and again; where there is none, others that are there."""
    first = (
        values[0] if len(values) else pa.array([0]).cast(values.type)[0] if _of_whole_numbers(values.type) else pa.scalar(None, values.type)
    )
    return pa.concat_arrays([values, pa.repeat(first, most - len(values))])


def _of_whole_numbers(type_: pa.DataType) -> bool:
    """Whether pandas makes another type of a column as soon as a value of it is missing."""
    return bool(pa.types.is_integer(type_) or pa.types.is_boolean(type_))


def _raised(result: Any) -> bool:
    info = result.exception_info or {}
    return any(isinstance(one, Mapping) and bool(one.get("raised_exception")) for one in (info, *info.values()))


def _together(results: list[Any], part: Any, name: str) -> Any:
    """One result of a suite of all its answers, as Great Expectations puts them together."""
    from great_expectations.core import ExpectationSuiteValidationResult
    from great_expectations.validator.validation_statistics import calc_validation_statistics

    statistics = calc_validation_statistics(results)
    return ExpectationSuiteValidationResult(
        results=results,
        success=statistics.success,
        suite_name=name,
        statistics={
            "evaluated_expectations": statistics.evaluated_expectations,
            "successful_expectations": statistics.successful_expectations,
            "unsuccessful_expectations": statistics.unsuccessful_expectations,
            "success_percent": statistics.success_percent,
        },
        meta=part.meta,
        batch_id=part.batch_id,
    )
