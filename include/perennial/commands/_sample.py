"""Reads a sample file: its columns and types, and which columns should not be inputs of a model."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from perennial import encoding
from perennial.clock import UTC
from perennial.column_types.texts import are_free_text
from perennial.data.readers import read_batch
from perennial.data.readers.proposals import declaration, differences, propose
from perennial.errors import BatchRefused, UnknownName
from perennial.ids import LEAST_ROWS, names_rows
from perennial.specs import NO_SCALARS, Column, DatasetSpec, FileForm
from perennial.store import Store

if TYPE_CHECKING:
    import pandas

TOO_GOOD = 0.95  # share of what there is to know of the label that a column tells alone
MOST_ROWS = 20_000  # are looked at
MOST_ROWS_OF_TABLE = 500_000  # are read


@dataclass(frozen=True)
class Sample:
    """The rows of a sample file, with their detected columns; or those of a dataset's table."""

    path: Path
    rows: pandas.DataFrame
    columns: tuple[Column, ...]
    files: FileForm  # how it is written
    notes: tuple[str, ...]  # what of it was left open

    @property
    def names(self) -> list[str]:
        """Names of the columns, in the file's order."""
        return [column.name for column in self.columns]

    @property
    def called(self) -> str:
        """What sentences call it: the sample, or the snapshot that the rows are of."""
        return "the sample" if self.path.is_file() else str(self.path)


@dataclass(frozen=True)
class LeftOut:
    """A column that is left out of a new model's inputs."""

    column: str
    why: str


def read_sample(path: Path, spec: DatasetSpec | None = None, declared: FileForm | None = None, *, infinite: bool = False) -> Sample:
    """Read a sample file, as it would be read when it lands.

    Args:
        path: the file.
        spec: the dataset of which it is a sample, if there is one: its columns have types, and what it declares holds.
        declared: without a dataset, what is known of how it is written.
        infinite: whether numbers may be infinite.

    Raises:
        UnknownName: there is no such file, it cannot be read, or it has no rows.
    """
    if not path.is_file():
        raise UnknownName(f"There is no file {path}: give the path of a sample.")
    try:
        proposal = propose(path, str(path), spec, declared)
    except BatchRefused as error:
        raise UnknownName(f"The sample cannot be read: {error}") from None
    known = {column.name: column for column in spec.columns} if spec else {}
    columns, faults = list[Column](), list[str]()
    for column in proposal.columns:
        try:
            columns.append(
                known[column.name].model_copy(update={"nullable": column.nullable}) if column.name in known else Column(**asdict(column))
            )
        except ValidationError as error:
            faults.append(error.errors()[0]["msg"].removeprefix("Value error, "))
    if faults:
        raise UnknownName(f"{path}: {'; '.join(faults)}. Rename {'the column' if len(faults) == 1 else 'these columns'} in the sample.")
    time_zone = spec.time_zone if spec else UTC
    as_proposed = DatasetSpec.model_construct(
        name=spec.name if spec else "the dataset",
        title="",
        owner="",
        event_time="",
        columns=tuple(columns),
        files=proposal.form,
        time_zone=time_zone,
        max_batch_bytes=sys.maxsize,
    )
    try:
        rows = read_batch(path, as_proposed, str(path), infinite=infinite)
    except BatchRefused as error:
        raise UnknownName(f"A dataset after this sample would refuse it: {error}") from None
    return Sample(path, rows.to_pandas(), tuple(columns), proposal.form, proposal.notes)


def rows_of_table(store: Store, spec: DatasetSpec) -> Sample | None:
    """The newest rows of a dataset's table, in place of a sample file; None while nothing has been ingested."""
    from perennial.data.snapshots import latest_snapshot

    snapshot = latest_snapshot(store, spec)
    if snapshot is None:
        return None
    since = None
    if snapshot.count() > MOST_ROWS_OF_TABLE and spec.event_time:
        times = snapshot.rows([spec.event_time])[spec.event_time]
        since = times.nlargest(MOST_ROWS_OF_TABLE).min().to_pydatetime()
    return Sample(Path(f"snapshot {snapshot.version} of {spec.name}"), snapshot.rows(since=since), spec.columns, spec.files, ())


def lines_of_form(sample: Sample) -> list[str]:
    """A line for how the sample is written, which its dataset declares where it is unusual, and one for each thing that was left open."""
    declared = differences(sample.files, FileForm())
    line = f"files: {'; '.join(declared)}: the spec says files={declaration(sample.files)}, so that files like the sample are taken"
    usual = (
        "files: as usual (UTF-8, commas between fields, a point in numbers, times as 2024-03-01 08:15); files=FileForm(…) says otherwise"
    )
    return [line if declared else usual, *sample.notes]


def days_of(rows: pandas.DataFrame, event_time: str) -> int:
    """Days from the first event time to the last, both counted."""
    import pandas

    times = pandas.to_datetime(rows[event_time]).dropna().dt.normalize()
    return 0 if times.empty else int((times.max() - times.min()).days) + 1


def rows_of_days(rows: pandas.DataFrame, event_time: str) -> list[int]:
    """How many rows each day has, from the first event time to the last; 0 for one between that has none."""
    import pandas

    days = pandas.to_datetime(rows[event_time]).dropna().dt.normalize().value_counts().sort_index()
    return [] if days.empty else days.asfreq("D", fill_value=0).tolist()


def left_out(sample: Sample, dataset: DatasetSpec, label: str | None, task: str) -> list[LeftOut]:
    """Columns that should not be inputs, with reasons: keys and times, ids, free text, constants, and any that gives the label away, if
    there is one."""
    columns_left_out = []
    for column in dataset.columns:
        if column.name == label:
            continue
        why = _why_not(column, sample.rows[column.name], dataset, sample.called)
        why = why or (too_good(column, sample.rows, dataset, label, task) if label else "")
        if why:
            columns_left_out.append(LeftOut(column.name, why))
    return columns_left_out


def _why_not(column: Column, values: pandas.Series, dataset: DatasetSpec, where: str) -> str:
    known = values.dropna()
    if dataset.key == (column.name,):
        return "it names rows (the key)"
    if column.type == "timestamp":
        return "" if column.name == dataset.event_time else "a time, which may be known only after the row"
    if not len(known) or (column.type not in NO_SCALARS and known.nunique() < 2):
        return f"it has {'one value' if len(known) else 'no values'} in {where}"
    if column.type == "string" and _is_free_text(known):
        return f'free text, which the dataset calls a string: give the column type="text" in {dataset.name}, and its words are read'
    if column.type in ("int", "string") and names_rows(known.nunique(), len(known)):
        return "an id: nearly every row has a value of its own"
    return ""


def _is_free_text(values: pandas.Series) -> bool:
    import pyarrow as pa

    return are_free_text(pa.chunked_array([pa.array(values.astype(str), pa.string())]))


def too_good(column: Column, rows: pandas.DataFrame, dataset: DatasetSpec, label: str, task: str) -> str:
    """The reason for leaving out a column that alone predicts nearly all of the label: it is often part of it, or known only later."""
    share = 0.0 if column.type in ("timestamp", *NO_SCALARS) else told_share(rows[column.name], rows[label], task)
    if share < TOO_GOOD or column.name in dataset.key:  # what names a row is known with it
        return ""
    return f"suspicious: it alone tells {100 * share:.0f} % of {label}; it may be a part of it, or known only after it"


def told_share(values: pandas.Series, label: pandas.Series, task: str) -> float:
    """How well one column predicts the label: the share of its variance (regression) or entropy that a small tree explains.

    Cross-validated in five parts, so that noise tells nothing; below 0 counts as 0.
    """
    import numpy as np
    from sklearn.metrics import log_loss
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    both = values.notna() & label.notna()
    known, wanted = values[both][:MOST_ROWS], label[both][:MOST_ROWS]
    if len(known) < LEAST_ROWS or known.nunique() < 2 or wanted.nunique() < 2:
        return 0.0
    x = known.map(known.value_counts().index.get_loc) if known.dtype.kind not in "iufb" else known
    inputs = x.to_numpy(dtype=float)[:, None]
    least = max(2, len(known) // 200)
    if task == "regression":
        y = wanted.to_numpy(dtype=float)
        predicted = cross_val_predict(
            DecisionTreeRegressor(min_samples_leaf=least, random_state=0), inputs, y, cv=KFold(5, shuffle=True, random_state=0)
        )
        return max(0.0, 1 - float(np.mean((y - predicted) ** 2)) / float(np.var(y)))
    classes, y = np.unique(wanted.astype(str), return_inverse=True)
    enough = np.bincount(y)
    if enough.min() < 5:
        return 0.0
    predicted = cross_val_predict(
        DecisionTreeClassifier(min_samples_leaf=least, random_state=0),
        inputs,
        y,
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        method="predict_proba",
    )
    shares = enough / enough.sum()
    entropy = -float(np.sum(shares * np.log(shares)))
    lost: float = log_loss(y, predicted, labels=np.arange(len(classes)))
    return max(0.0, 1 - lost / entropy)


def simple_rule_loss(label: pandas.Series, task: str) -> float:
    """Loss of the simplest rule on the sample: rmse of always predicting the mean, log loss of always predicting the classes' shares."""
    known = label.dropna()
    if task == "regression":
        return float(known.astype(float).std(ddof=0))
    shares = known.map(encoding.text).value_counts(normalize=True)
    return float(-sum(share * math.log(share) for share in shares))


def rounded_up(value: float, digits: int = 3) -> float:
    """The least number of so many digits that is not below `value`; 0 stays 0."""
    if not value > 0:
        return 0.0
    unit: float = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return math.ceil(round(value / unit, 6)) * unit


def named(columns: Sequence[LeftOut]) -> list[str]:
    """A line for each column that is left out."""
    return [f"left out: {one.column}: {one.why}" for one in columns]
