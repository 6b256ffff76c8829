"""Generates the files of a new dataset from a sample of its rows: spec, suite and test."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perennial.commands._sample import Sample, lines_of_form
from perennial.commands._suite_facts import facts_of_sample
from perennial.commands._template import fill, listed, quoted, titled
from perennial.data.readers.proposals import declaration
from perennial.errors import UnknownName
from perennial.quality.proposals import proposals
from perennial.quality.suite_file import expectation_of
from perennial.specs import NO_SCALARS, Column, DatasetSpec, FileForm, SqlSource

if TYPE_CHECKING:
    import pandas

MOST_NAMES = 20  # of columns in a line


def dataset_files(
    name: str, sample: Sample | None, key: str | None, event_time: str | None, label: str = "", source: SqlSource | None = None
) -> tuple[dict[Path, str], list[str]]:
    """The files of a new dataset, and a line for each thing that was decided. Raises UnknownName: something must be said.

    A column that is to be predicted, `label`, is not chosen as its key or its event time. `source` is where its rows come from, if
    the sample is of a database.
    """
    if sample is None:
        raise UnknownName(
            "Give a sample file, `--sample FILE` (CSV, JSON lines or Parquet): the columns are read from it. Or a table of a database: "
            "`--table TABLE --connection NAME`."
        )
    times = [c.name for c in sample.columns if c.type == "timestamp" and c.name != label]
    whole = [c.name for c in sample.columns if c.name in times and not c.nullable]
    order = event_time or next(iter([*whole, *times]), "")
    if key:
        keys, repeated = key.split(","), 0
    else:
        different = _different(sample)
        keys, repeated = _key(sample, different, order, label), len(sample.rows) - len(different)
    missing = list(dict.fromkeys(n for n in (*keys, *([order] if order else [])) if n not in sample.names))
    if missing:
        raise UnknownName(f"{sample.path} has no column {' and no column '.join(missing)}: its columns are {', '.join(sample.names)}.")
    title = titled(name)
    names = {"key": tuple(keys)} if keys else {"row_id": "content"}
    try:
        spec = DatasetSpec(
            name=name, title=title, owner="nobody yet", event_time=order, columns=sample.columns, files=sample.files, **names
        )
    except ValidationError as error:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())
        raise UnknownName(f"{sample.path} makes no dataset: {faults}.") from None
    _refuse_future(sample, spec)
    values = {
        "name": name,
        "title": title,
        "owner": spec.owner,
        "key": f"key=({listed(keys)})," if keys else 'row_id="content",  # no column names a row: identical rows are one',
        "event_time": f"{quoted(order)}," if order else '"",  # rows have no time: that of their landing counts',
        "files": f"\n    files={declaration(spec.files)}," if spec.files != FileForm() else "",
        "source": f"\n    source={_as_code(source)}," if source else "",
        "imports": ", ".join(
            ["Column", "DatasetSpec", *(["FileForm"] if spec.files != FileForm() else []), *(["SqlSource"] if source else [])]
        ),
        "columns": "\n".join(
            f'        Column(name={quoted(c.name)}, type="{c.type}"{_of(c)}{", nullable=True" if c.nullable else ""}, meaning=""),'
            for c in spec.columns
        ),
    }
    files = {
        Path("include/perennial_datasets", f"{name}.py"): fill("dataset/dataset.py", values),
        Path("great_expectations/expectations", f"{name}.json"): json.dumps(_suite(spec, sample), indent=2, ensure_ascii=False) + "\n",
        Path("tests/unit/perennial_datasets", f"test_{name}.py"): fill("dataset/test_dataset.py", values),
    }
    return files, _dataset_words(sample, spec, times, repeated, key, event_time)


def _as_code(source: SqlSource) -> str:
    """A source as it is written into a spec: what was set."""
    return f"SqlSource({', '.join(f'{name}={quoted(str(value))}' for name, value in source.model_dump(exclude_defaults=True).items())})"


def _of(column: Column) -> str:
    """What a column says besides its type, as it is written into a spec."""
    return "".join(
        f", {field}={quoted(value) if isinstance(value, str) else value}"
        for field, value in (("of", column.of), ("shape", column.shape), ("mode", column.mode))
        if value
    )


def _key(sample: Sample, rows: pandas.DataFrame, event_time: str, label: str) -> list[str]:
    """The first column of whole numbers or words that names each row, else another time, else the event time; none if none does.

    `rows` are those of the sample that differ.
    """
    others, types = (event_time, label), ("float", "bool", *NO_SCALARS)
    whole = [c for c in sample.columns if c.name not in others and c.type not in types and rows[c.name].notna().all()]
    first = sorted((c for c in whole if rows[c.name].is_unique), key=lambda column: column.type not in ("int", "string"))
    if first:
        return [first[0].name]
    known = event_time and rows[event_time].notna().all() and rows[event_time].is_unique
    return [event_time] if known else []


def _different(sample: Sample) -> pandas.DataFrame:
    """The rows without those that repeat another: identical rows of a file are one."""
    lists = {c.name: sample.rows[c.name].map(lambda value: None if value is None else tuple(value)) for c in sample.columns if c.of}
    return sample.rows[~sample.rows.assign(**lists).duplicated()]


def _refuse_future(sample: Sample, spec: DatasetSpec) -> None:
    """Raises UnknownName where the bound on event times would refuse the sample."""
    if not spec.event_time:
        return
    import pandas

    newest = pandas.to_datetime(sample.rows[spec.event_time], utc=True).max()
    if newest > datetime.now(timezone.utc) + timedelta(days=1):
        raise UnknownName(
            f"{spec.event_time} is {newest:%Y-%m-%d %H:%M} in {sample.path}, which is yet to come, and the suite of a new dataset refuses "
            "such rows. Correct the sample, or name another column with --event-time."
        )


def _dataset_words(
    sample: Sample, spec: DatasetSpec, times: list[str], repeated: int, key: str | None, event_time: str | None
) -> list[str]:
    """A line for each decision that the sample left open; `repeated` rows are the same as another one."""
    said, rows = lines_of_form(sample), f"{len(sample.rows):,} rows"
    if not spec.key:
        dropped = (
            f"{repeated:,} of {rows} repeat another and would be dropped and counted" if repeated else f"no two of {rows} are the same"
        )
        said.append(
            f"key: none, as no column names a row: rows are named by a hash of their content ({dropped}). "
            'If identical rows are different things, write row_id="position"; --key a,b names columns that together name a row'
        )
    elif key is None:
        aside = f", where {repeated:,} that repeat another are dropped and counted" if repeated else ""
        what = f"which has {len(sample.rows) - repeated:,} different values in {rows}{aside}"
        time = " (a time: where two rows may have the same one, name the columns that tell them apart, too)" if spec.key[0] in times else ""
        said.append(f"key: {', '.join(spec.key)}, {what}; --key says otherwise{time}")
    else:
        said.append(f"key: {', '.join(spec.key)}, as --key says")
    if not spec.event_time:
        said.append(
            "event time: none, as no column is a time: the time at which a file lands counts. Models of it are best split at random or by "
            'group: split=SplitSpec(by="random")'
        )
    elif event_time is None and len(times) > 1:
        first = "the first" if spec.event_time == times[0] else "the first without a gap"
        said.append(f"event time: {spec.event_time}, {first} of the times {', '.join(times)}; --event-time says otherwise")
    else:
        said.append(f"event time: {spec.event_time}, {'the only time' if event_time is None else 'as --event-time says'}")
    if spec.event_time and (gaps := int(sample.rows[spec.event_time].isna().sum())):
        said.append(
            f"event time: {spec.event_time} is missing in {gaps:,} of {rows}: such rows are stored, but are on no day, so that no split "
            "by time and no window of monitoring has them"
        )
    whole = [c.name for c in spec.columns if not c.nullable]
    said.append(f"not nullable, since the sample has no gap: {_some(whole)}; add nullable=True where later rows may lack a value")
    said.append(
        "suite: refuses"
        + (" repeated keys and" if spec.key else "")
        + (f" {spec.event_time} more than a day ahead of the clock" if spec.event_time else " files without rows")
        + "; warns of numbers far outside the sample's range and of words that the sample has not"
    )
    return said


def _some(names: list[str]) -> str:
    """Names of columns; of very many the first."""
    more = len(names) - MOST_NAMES
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:MOST_NAMES])} and {more} more"


def _suite(spec: DatasetSpec, sample: Sample) -> dict[str, Any]:
    """The suite that any new dataset gets: rows, the key, no time that is yet to come; and warnings, of numbers far outside the range of
    the sample and of words that it has not. Columns, types and nulls are the spec's. `perennial suite suggest` grows it later."""
    facts = facts_of_sample(spec, sample.rows, str(sample.path.name))
    return {"name": spec.name, "expectations": [expectation_of(each) for each in proposals(spec, [facts], batch_is_file=False)]}
