"""Validation of a batch or a snapshot by its dataset's suite. A failed `critical` expectation refuses it; others are reported.

A `warning` about single values that every value of a column breaks is critical: the column was lost at its source, as one that is -9999
throughout. An expectation with `"every_value": "warning"` in its `meta` stays a warning.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from perennial.column_types import kind_of
from perennial.quality import data_docs, group_page, suites
from perennial.quality.answers import Validation
from perennial.quality.group_rules import faults
from perennial.quality.groups import GroupCounts, counts_of, coverage, names_of
from perennial.quality.sentences import sentence, shown
from perennial.quality.tallies import EXAMPLES
from perennial.row_blocks import RowBlocks
from perennial.specs import DatasetSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pandas
    import pyarrow

Severity = Literal["critical", "warning", "info"]
_ORDER: dict[str, int] = {"critical": 0, "warning": 1, "info": 2}
_LOST_VALUES = 10  # of a column: where all of so many break an expectation, that is no chance
_ABOUT_VALUES = ("expect_column_values_to_be_between", "expect_column_values_to_be_in_set", "expect_column_values_to_match_regex")
_LONG_AGO = datetime(1, 1, 1)


@dataclass(frozen=True)
class Failure:
    """One expectation that does not hold."""

    expectation: str
    column: str  # empty for a rule about the table or several columns
    severity: Severity
    unexpected: int | None  # rows that break it; none for a rule about a statistic
    rows: int
    sentence: str
    note: str = ""  # why the suite expects it
    examples: tuple[str, ...] = ()
    row_numbers: tuple[int, ...] = ()  # the first of them; the first row of values is 1


@dataclass(frozen=True)
class Verdict:
    """The result of validating a batch or a snapshot."""

    dataset: str
    batch: str
    rows: int
    passed: bool
    worst_severity: Severity | None
    failures: tuple[Failure, ...]  # critical ones first
    report_key: str = ""  # store key of the page that shows it; empty if none was asked for

    def sentence(self, link: str = "") -> str:
        """The result as a sentence, with the worst failure."""
        kept = [f for f in self.failures if self.passed or f.severity == "critical"]
        first, more = (kept[0].sentence if kept else ""), len(kept) - 1
        also = f" ({more} more {'reasons' if more > 1 else 'reason'})" if more > 0 else ""
        report = f" Report: {link}" if link else ""
        if not self.passed:
            return f"Suite {self.dataset} refused batch {self.batch}: {first}{also}.{report}"
        if first:
            return f"Suite {self.dataset} passed batch {self.batch} with a warning: {first}{also}.{report}"
        return f"Suite {self.dataset} passed batch {self.batch}: {self.rows:,} rows.{report}"

    def reasons(self) -> list[dict[str, Any]]:
        """The failures as JSON objects."""
        return [asdict(failure) for failure in self.failures]


def validate(
    rows: RowBlocks | pyarrow.Table | pandas.DataFrame,
    dataset: DatasetSpec,
    batch_name: str,
    *,
    digest: str = "",
    newest: datetime | None = None,
    now: datetime | None = None,
    store: Store | None = None,
    remark: str = "",
    usual: Mapping[str, GroupCounts] | None = None,
) -> Verdict:
    """Validate a batch by its dataset's suite.

    Args:
        rows: the batch, with the columns of the spec.
        dataset: its spec; `freshness_days` bounds how old event times may be (suite parameter `oldest`).
        batch_name: what it is called in sentences and pages.
        digest: identity of its content; goes into the name of its page.
        newest: newest event time in the table, from which freshness counts; no bound if absent.
        now: the present, naive UTC; event times more than a day later are wrong (suite parameter `latest`).
        store: where the page of Data Docs goes; none is written if absent.
        remark: a sentence for the page besides the verdict.
        usual: rows of the table by group, of the columns in `groups` of the spec; a batch is compared with them.

    Raises:
        UnknownName: the dataset has no suite.
    """
    latest = (now or datetime.now(timezone.utc).replace(tzinfo=None)) + timedelta(days=1)
    fresh = newest is not None and dataset.freshness_days is not None
    oldest = newest - timedelta(days=dataset.freshness_days or 0) if fresh and newest else _LONG_AGO
    parameters = {"oldest": oldest, "latest": latest}
    return _validate(rows, dataset, batch_name, suites.load_suite(dataset.name), parameters, digest, store, remark, usual)


def validate_snapshot(
    rows: RowBlocks | pyarrow.Table | pandas.DataFrame,
    dataset: DatasetSpec,
    label: str,
    *,
    store: Store | None = None,
    usual: Mapping[str, GroupCounts] | None = None,
) -> Verdict:
    """Validate rows of a snapshot by the suite, without the expectations that are about one batch (`meta.scope` is `batch`).

    Args:
        rows: the rows that training would use, with all columns of the spec.
        dataset: its spec.
        label: what the rows are called in sentences and pages, such as `snapshot 12`.
        store: where the page of Data Docs goes; none is written if absent.
        usual: rows of the table by group; a group that it has and these rows have not has vanished.
    """
    suite = suites.load_suite(dataset.name, without_batch_only=True)
    return _validate(rows, dataset, label, suite, {}, "", store, usual=usual, snapshot=True)


def _validate(
    rows: Any,
    dataset: DatasetSpec,
    name: str,
    suite: Any,
    parameters: dict[str, Any],
    digest: str,
    store: Store | None,
    remark: str = "",
    usual: Mapping[str, GroupCounts] | None = None,
    *,
    snapshot: bool = False,
) -> Verdict:
    named = {str(expectation.column) for expectation in suite.expectations if hasattr(expectation, "column")}
    groups: dict[str, Counter[str]] = {group.column: Counter() for group in dataset.groups}
    if not hasattr(rows, "columns") or hasattr(rows, "schema"):
        blocks = rows if isinstance(rows, RowBlocks) else RowBlocks.of(rows)
        validation = Validation(_with_measures(blocks, dataset, named), suite, parameters, functools.partial(_count, groups))
        result = validation.result()
    else:
        validation = Validation(_frame_with_measures(rows, dataset, named), suite, parameters)
        result = validation.result()
        groups = {column: Counter(counts_of(rows[column])) for column in groups}
    count = validation.count
    broken = [_failure(outcome, count, parameters) for outcome in result.results if not outcome.success]
    coverages = [coverage(column, dict(sorted(counts.items())), (usual or {}).get(column)) for column, counts in groups.items()]
    unrepresented = [
        Failure("groups_are_represented", group.column, fault.severity, fault.rows, count, fault.sentence)
        for group, of_column in zip(dataset.groups, coverages, strict=True)
        for fault in faults(group, of_column, snapshot=snapshot)
    ]
    failures = sorted([*broken, *unrepresented], key=_worst_first)
    worst = failures[0].severity if failures else None
    verdict = Verdict(
        dataset=dataset.name,
        batch=name,
        rows=count,
        passed=worst != "critical",
        worst_severity=worst,
        failures=tuple(failures),
    )
    if store is None:
        return verdict
    status: data_docs.Status = "passed" if worst is None else "warning" if verdict.passed else "refused"
    page = data_docs.Page(dataset=dataset.name, batch=name, digest=digest, rows=count, status=status)
    data_docs.write_page(
        store,
        page,
        result,
        f"{verdict.sentence()} {remark}".strip(),
        [(f.severity, f"{f.sentence} ({f.note})" if f.note else f.sentence) for f in failures],
        group_page.section(coverages),
    )
    return replace(verdict, report_key=page.key)


def _count(groups: Mapping[str, Counter[str]], block: pyarrow.Table) -> None:
    """Count a block's rows by group."""
    for column, counts in groups.items():
        different = block[column].value_counts()
        for name, count in zip(names_of(different.field("values").to_pandas()), different.field("counts").to_pylist(), strict=True):
            counts[name] += count


def _measured(dataset: DatasetSpec, present: Sequence[str], named: set[str]) -> dict[str, list[str]]:
    """What the suite names of what is measured of columns of lists and texts, such as `history[length]` of `history`."""
    found = {
        column.name: sorted(name for name in named if name.startswith(f"{column.name}["))
        for column in dataset.columns
        if kind_of(column.type) and column.name in present
    }
    return {column: names for column, names in found.items() if names}


def _with_measures(rows: RowBlocks, dataset: DatasetSpec, named: set[str]) -> RowBlocks:
    """The rows with what is measured of their lists and texts, where the suite names it."""
    wanted = _measured(dataset, rows.schema.names, named)
    if not wanted:
        return rows
    made = _measures(rows.schema.empty_table(), dataset, wanted)

    def read(columns: Sequence[str]) -> Iterator[pyarrow.Table]:
        own = [name for name in columns if name in rows.schema.names]
        bases = [column for column, names in wanted.items() if set(names) & set(columns)]
        for block in rows.read(list(dict.fromkeys([*own, *bases]))):
            with_them = block
            for name, values in _measures(block, dataset, {column: wanted[column] for column in bases}).items():
                with_them = with_them.append_column(name, values)
            yield with_them.select(list(columns))

    schema = rows.schema
    for name, values in made.items():
        schema = schema.append(_field(name, values))
    return RowBlocks(schema, read)


def _field(name: str, values: pyarrow.Array) -> pyarrow.Field:
    import pyarrow as pa

    return pa.field(name, values.type)


def _measures(block: Any, dataset: DatasetSpec, wanted: Mapping[str, Sequence[str]]) -> dict[str, pyarrow.Array]:
    """What is measured of a block of rows, or of a frame."""
    import pyarrow as pa

    made = dict[str, Any]()
    for column, names in wanted.items():
        declared, values = dataset.column(column), block[column]
        kind = kind_of(declared.type)
        assert kind, "only such columns are measured"
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        else:
            values = pa.array(values, kind.arrow(declared), from_pandas=True)
        measures = {f"{column}[{name}]": one for name, one in kind.measured(values, frozenset()).items()}
        made |= {name: measures[name] for name in names if name in measures}
    return made


def _frame_with_measures(frame: pandas.DataFrame, dataset: DatasetSpec, named: set[str]) -> pandas.DataFrame:
    """The rows of a frame with what is measured of their lists and texts, where the suite names it."""
    made = _measures(frame, dataset, _measured(dataset, list(frame.columns), named))
    return frame.assign(**{name: values.to_numpy(zero_copy_only=False) for name, values in made.items()}) if made else frame


def _worst_first(failure: Failure) -> tuple[int, int]:
    """Sort key of a failure: by severity, then by the number of rows that fail; a statistic concerns all rows."""
    return _ORDER[failure.severity], -(failure.rows if failure.unexpected is None else failure.unexpected)


def _failure(outcome: Any, rows: int, parameters: Mapping[str, Any]) -> Failure:
    config = outcome.expectation_config
    kwargs = {k: parameters.get(v["$PARAMETER"], v) if isinstance(v, dict) and "$PARAMETER" in v else v for k, v in config.kwargs.items()}
    result = outcome.result or {}
    numbers = result.get("partial_unexpected_index_list") or ()
    lost = config.severity.value == "warning" and _is_lost(config, result)
    said = sentence(config.type, kwargs, result, _exception(outcome.exception_info))
    return Failure(
        expectation=config.type,
        column=kwargs.get("column", ""),
        severity="critical" if lost else config.severity.value,
        unexpected=result.get("unexpected_count"),
        rows=rows,
        sentence=f"{said}: no value is as it should be" if lost else said,
        note=" ".join(((config.meta or {}).get("notes") or {}).get("content", ())),
        examples=tuple(dict.fromkeys(shown(v) for v in result.get("partial_unexpected_list") or ())),
        row_numbers=tuple(int(n) + 1 for n in numbers[:EXAMPLES] if isinstance(n, int)),
    )


def _is_lost(config: Any, result: Mapping[str, Any]) -> bool:
    """Whether every value of a column breaks an expectation about single values, and there are enough of them."""
    values = (result.get("element_count") or 0) - (result.get("missing_count") or 0)
    told = config.type in _ABOUT_VALUES and (config.meta or {}).get("every_value") != "warning"
    return told and result.get("unexpected_count") == values >= _LOST_VALUES


def _exception(info: Mapping[str, Any] | None) -> str:
    """Why an expectation could not be evaluated; Great Expectations gives one report, or one for each metric."""
    for report in (info, *((info or {}).values())):
        if isinstance(report, Mapping) and report.get("raised_exception"):
            return str(report.get("exception_message") or "no reason given").splitlines()[0].rstrip(".")
    return ""
