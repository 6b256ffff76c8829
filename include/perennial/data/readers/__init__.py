r"""Readers: a landed file becomes a table of exactly the dataset's columns and types, or a sentence that says why not.

>>> import pathlib
>>> from perennial.data.readers import read_batch
>>> from perennial.specs import Column, DatasetSpec
>>> columns = [Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="km", type="float", nullable=True)]
>>> rides = DatasetSpec(name="rides", title="Rides", owner="fleet", columns=columns, key=["ride"], event_time="start")
>>> file = pathlib.Path("monday.csv")
>>> _ = file.write_text("ride,start,km\nr1,2026-03-02 08:15,4.2\nr2,2026-03-02 08:20,\n")
>>> read_batch(file, rides).to_pylist()[1]
{'ride': 'r2', 'start': datetime.datetime(2026, 3, 2, 8, 20), 'km': None}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from perennial.counted import counted
from perennial.data.readers.columns import EXTRA, ColumnsDiffer, under_spec_names
from perennial.data.readers.limits import refuse_too_large
from perennial.data.readers.packing import EXTENSIONS
from perennial.data.readers.proposals import hint
from perennial.data.readers.sheets import sheet_rows
from perennial.data.readers.values import Misfit, type_of, typed
from perennial.data.readers.written import as_written, sentences
from perennial.errors import BatchRefused
from perennial.specs import DatasetSpec

__all__ = ["EXTENSIONS", "read_batch", "refuse_last_day", "refuse_nulls", "refuse_too_large", "schema"]

MOST_FAULTS = 10  # are told of one file


def schema(spec: DatasetSpec) -> pa.Schema:
    """The dataset's columns as Arrow types."""
    return pa.schema([(column.name, type_of(column)) for column in spec.columns])


def read_batch(
    path: Path, spec: DatasetSpec, name: str = "", remarks: list[str] | None = None, *, infinite: bool = False, hints: bool = True
) -> pa.Table:
    """Read a landed file.

    Args:
        path: the file; its extension says how it is read.
        spec: what it must hold, and how it is written.
        name: what the file is called in sentences; the name of `path` if empty.
        remarks: gets a line, without a full stop, for each thing that was taken in another way than it stands in the file.
        infinite: whether numbers may be infinite, as no table has them.
        hints: whether a refusal tells what to write into the spec, for which the file is read again in other forms.

    Returns:
        At least one row; exactly the columns of the spec, in its order, with its types, and a text column `_extra` if the spec keeps others
        and there are some. An empty field is null; so is NaN; infinity is refused.
            Times are wall times of the dataset's zone (`perennial.clock`).

    Raises:
        BatchRefused: it cannot be read, is too large, or has other columns or types; of several faults the first ten are told. If the file
            seems to be written in another form than the spec says, the line to write there is told.
    """
    name = name or path.name
    try:
        return _read(path, spec, name, [] if remarks is None else remarks, infinite=infinite)
    except BatchRefused as refusal:
        if not hints:
            raise
        said = str(refusal)

        def refused_as(other: DatasetSpec) -> str:
            try:
                _read(path, other, name, [], infinite=infinite)
            except BatchRefused as second:
                return str(second)
            return ""

        raise BatchRefused(said + hint(path, spec, name, said, refused_as)) from None


def refuse_nulls(rows: pa.Table, spec: DatasetSpec, names: Collection[str] | None = None) -> None:
    """Raises BatchRefused if a required column (of the named ones, if some are) has nulls: whatever the suite says, the table must not
    contain them."""
    faults = [
        f"{column.name} is null in {nulls} of {rows.num_rows} rows and the spec of {spec.name} does not allow that: "
        + (
            "fill it, since newest_by tells by it which row counts."
            if column.name == spec.newest_by
            else "fill it, or make the column nullable."
        )
        for column in spec.columns
        if (names is None or column.name in names) and not column.nullable and (nulls := rows[column.name].null_count)
    ]
    if faults:
        raise BatchRefused(" ".join(faults[:MOST_FAULTS]))


def refuse_last_day(rows: pa.Table, spec: DatasetSpec) -> None:
    """Raises BatchRefused if an event time is on the last day of the calendar: rows are counted and split by whole days, which a next one
    ends."""
    begin = pa.scalar(datetime(9999, 12, 31), pa.timestamp("us"))
    if late := pc.sum(pc.greater_equal(rows[spec.time_column], begin)).as_py():
        raise BatchRefused(
            f"{spec.time_column} is on 9999-12-31, after which no day follows, in {counted(late, 'row')} of {rows.num_rows:,}, and it "
            "is the event time: write when the rows happened. Where that day stands for none, leave the field empty or the rows out."
        )


def _read(path: Path, spec: DatasetSpec, name: str, remarks: list[str], *, infinite: bool) -> pa.Table:
    parts, refusals = [], []
    with sentences(name):
        for member, rows in as_written(path, spec, name, remarks):
            try:
                parts.append(_typed(rows, spec, member, remarks, infinite=infinite))
            except BatchRefused as refusal:
                refusals.append(str(refusal))
        if refusals:
            more = len(refusals) - MOST_FAULTS
            others = f" {counted(more, 'more file')} in it {'is' if more == 1 else 'are'} refused." if more > 0 else ""
            raise BatchRefused(" ".join(refusals[:MOST_FAULTS]) + others)
        return pa.concat_tables(parts, promote_options="default")


def _typed(raw: pa.Table, spec: DatasetSpec, name: str, remarks: list[str], *, infinite: bool) -> pa.Table:
    """The rows of one unpacked file, in the spec's types."""
    places = sheet_rows(raw)
    try:
        rows = under_spec_names(raw, spec, name, remarks)
    except ColumnsDiffer as refusal:
        _, faults = _columns(refusal.rows, spec, remarks, places, infinite=infinite)
        raise BatchRefused(f"{refusal} Besides, {_first(faults)}." if faults else str(refusal)) from None
    if not rows.num_rows:
        raise BatchRefused(f"{name} has a header but no rows: land it again with its rows.")
    columns, faults = _columns(rows, spec, remarks, places, infinite=infinite)
    if faults:
        faults += _missing({name: columns.get(name, rows[name]) for name in rows.column_names}, spec, places)
        raise BatchRefused(f"{name}: {_first(faults)}. Correct the file and land it again.")
    if EXTRA in rows.column_names:
        columns[EXTRA] = rows[EXTRA]
    return pa.table(columns)


def _missing(columns: Mapping[str, pa.ChunkedArray], spec: DatasetSpec, places: Sequence[int]) -> list[str]:
    """Where columns that must have a value lack one, to be told with other faults: who corrects the file once need not do it twice."""
    said = []
    for column in spec.columns if not spec.deleted else ():  # a deletion may come with its key alone
        values = columns.get(column.name)
        if column.nullable or values is None:
            continue
        nulls = pc.is_null(values)
        if pa.types.is_string(values.type) and column.type not in ("string", "text"):  # it did not fit: a blank is no value either
            nulls = pc.or_(nulls, pc.equal(pc.utf8_trim_whitespace(pc.fill_null(values, "")), ""))
        if count := pc.sum(nulls).as_py():
            row = pc.index(nulls, True).as_py()
            where = f"row {places[row] + 1} of the sheet" if places else f"row {row + 1}"
            said.append(f"{column.name} is missing in {where}" + (f" and in {counted(count - 1, 'more row')}" if count > 1 else ""))
    return said


def _columns(
    rows: pa.Table, spec: DatasetSpec, remarks: list[str], places: Sequence[int], *, infinite: bool
) -> tuple[dict[str, pa.ChunkedArray], list[str]]:
    """The columns of the spec that are there, in its types, and what does not fit in them."""
    columns, faults = {}, []
    for column in spec.columns:
        if column.name not in rows.column_names:
            continue
        try:
            columns[column.name] = typed(rows[column.name], column, spec.files, spec.time_zone, remarks, infinite=infinite)
        except Misfit as misfit:
            faults.append(misfit.why_in(places))
    return columns, faults


def _first(faults: Sequence[str]) -> str:
    more = len(faults) - MOST_FAULTS
    others = f"; and {more} more column{'' if more == 1 else 's'} with values that do not fit" if more > 0 else ""
    return "; ".join(faults[:MOST_FAULTS]) + others
