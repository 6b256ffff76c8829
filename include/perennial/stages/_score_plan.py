"""What a scoring is to do, fixed before it begins: which version, which rows, which days. Its parts and their end are done by it.

`scoring/<model>/plans/<name>/plan.json`, beside it the rows that a file or a query gave, in order of time and key, and what each part
scored. The name is a hash of the plan: the same question has the same plan, and doing it again writes over what an earlier try left.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial import discovery
from perennial.data.added_columns import row_schema, table_schema
from perennial.data.joins import KnownJoins
from perennial.data.partitions import PartitionedTable
from perennial.data.snapshots import Snapshot, joined_with, latest_snapshot, snapshot_at, table_of
from perennial.engine.rows import batches
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.ledger import Ledger, retired_words
from perennial.lineage.registrations import registration
from perennial.lineage.version_folder import read_manifest, read_signature
from perennial.served_tables import scores_name
from perennial.specs import DatasetSpec, JoinSpec, ModelSpec, brought_by
from perennial.stages._score_rows import rows_of_file, rows_of_query
from perennial.store import Store

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

DAY = timedelta(days=1)
PARTITION = pa.schema([("day", pa.date32()), ("source", pa.string()), ("version", pa.int64())])  # what is written as a whole


class ScorePlan(BaseModel):
    """One scoring, before it begins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: int
    digest: str = Field(description="Content address of the version's folder.")
    inputs: tuple[str, ...] = Field(description="Of the version.")
    source: str = Field(description="Name of where the rows are from, as the table of scores has it.")
    words: str = Field(description="Where the rows are from, for a sentence.")
    snapshot: int | None = Field(description="Table version, if the rows are the dataset's.")
    tables: dict[str, int] = Field(default_factory=dict, description="Versions of the tables that a query read, and of joined ones.")
    content: str = Field(default="", description="SHA-256 of the rows of a file or a query, or of joined rows.")
    first: date | None = Field(default=None, description="First day that is written; the first that there is if absent.")
    last: date | None = Field(default=None, description="Last day that is written, included.")
    days: dict[date, int] = Field(description="Rows of each day, oldest first.")
    undated: int = Field(default=0, description="Rows without an event time: they are of no day, and held back.")
    left_out: dict[str, int] = Field(default_factory=dict, description="Rows of a file that the dataset's `clean` left out, by its rule.")
    rows_at_once: int
    joins: tuple[JoinSpec, ...] = Field(default=(), description="Of the version; `tables` has the versions of the joined tables.")

    @property
    def name(self) -> str:
        """A hash of the plan."""
        without = None if self.joins else {"joins"}  # as plans were named before there were joins
        return hashlib.sha256(self.model_dump_json(exclude=without).encode()).hexdigest()[:16]

    @property
    def folder(self) -> str:
        """Where it is kept."""
        return f"{plans(self.model)}/{self.name}"

    @property
    def rows_key(self) -> str:
        """Store key of the rows of a file or a query, or of joined rows; empty if they are the dataset's as they are."""
        return f"{self.folder}/rows.parquet" if self.content else ""

    @property
    def rows(self) -> int:
        """Rows that are to be scored or held back."""
        return sum(self.days.values()) + self.undated

    @property
    def span(self) -> str:
        """The days, for a sentence."""
        days = sorted(self.days)
        if not days:
            return "no day"
        return f"{days[0]}" if len(days) == 1 else f"{len(days)} days, {days[0]} to {days[-1]}"

    def has_day(self, day: date) -> bool:
        """Whether a day is one of those that are written."""
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


def plans(model: str) -> str:
    """Where a model's plans are kept."""
    return f"scoring/{model}/plans"


def read_plan(store: Store, model: str, name: str) -> ScorePlan:
    """The plan of that name. Raises UnknownName if there is none."""
    key = f"{plans(model)}/{name}/plan.json"
    try:
        return ScorePlan.model_validate_json(store.read(key))
    except KeyError:
        raise UnknownName(f"No scoring of {model} was planned as {name}: `perennial score --model {model} --plan` plans one.") from None
    except ValidationError:
        raise StoredDataDamaged(f"{key} cannot be read: plan the scoring again.") from None


@dataclass(frozen=True)
class Asked:
    """What a person or a DAG asks to have scored."""

    version: int | None = None
    snapshot: int | None = None
    first: date | None = None
    last: date | None = None
    file: str = ""
    query: str = ""


def make_plan(store: Store, spec: ModelSpec, dataset: DatasetSpec, asked: Asked) -> ScorePlan | str:
    """Fix what is to be scored, and keep the plan; a sentence if there is nothing to score.

    Raises:
        UnknownName: there is no such version, snapshot or file; the rows lack what the version reads; the query cannot be used.
        BatchRefused: the file cannot be read.
    """
    if sum((bool(asked.file), bool(asked.query), asked.snapshot is not None)) > 1:
        raise UnknownName("Rows are from a snapshot, a file or a query: give one of --snapshot, --file and --query.")
    if asked.first and asked.last and asked.last < asked.first:
        raise UnknownName(f"The days {asked.first} to {asked.last} do not run forward: give the earlier one to --from.")
    chosen = _version(store, spec, asked.version)
    if isinstance(chosen, str):
        return chosen
    version, digest = chosen
    inputs = tuple(given["name"] for given in read_signature(store, spec.name, digest)["inputs"])
    joins = tuple(used.join for used in read_manifest(store, spec.name, digest).joined)
    dataset = joined_dataset(dataset, joins)
    _refuse_gone(spec, dataset, version, inputs)
    plan: dict[str, Any] = {
        "model": spec.name, "version": version, "digest": digest, "inputs": inputs, "joins": joins,
        "rows_at_once": spec.scoring.rows_at_once,
    }  # fmt: skip
    known = joined_with(Snapshot(dataset, 0, store), joins, {})
    if known is None:
        lacking = next(join.dataset for join in joins if latest_snapshot(store, discovery.dataset(join.dataset)) is None)
        return f"{lacking}, which version {version} of {spec.name} joins, has no snapshot yet: nothing to score. Ingest a batch first."
    if asked.file or asked.query:
        return _of_given(store, dataset, asked, plan, known.joins)
    source = latest_snapshot(store, dataset) if asked.snapshot is None else snapshot_at(store, dataset, asked.snapshot)
    if source is None:
        return f"{dataset.name} has no snapshot yet: nothing to score. Ingest a batch first."
    rows = table_of(store, dataset).dataset(source.version)
    brought = known.joins.columns if known.joins else ()
    if lacking_inputs := [name for name in inputs if name not in (*rows.schema.names, *brought)]:
        raise UnknownName(_lacks(spec, version, lacking_inputs, f"{source.words} has not"))
    counts, undated = _days(rows, dataset.time_column, asked)
    if asked.first is None and asked.last is None:
        counts = dict(sorted(counts.items())[-spec.scoring.days :])
    plan |= {"source": dataset.name, "words": source.words, "snapshot": source.version, "days": counts, "undated": undated}
    bounds = (asked.first, asked.last) if asked.first or asked.last else (min(counts, default=None), max(counts, default=None))
    plan |= {"first": bounds[0], "last": bounds[1]}
    if not known.joins:
        return _kept(store, ScorePlan(**plan))
    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        path = Path(scratch, "rows.parquet")
        content = _join(known.joins, rows, dataset, inputs, (min(counts, default=None), max(counts, default=None)), path)
        plan["words"] = replace(source, joins=known.joins).words
        return _kept(store, ScorePlan(**plan, content=content, tables=known.joins.versions), path)


def written_days(store: Store, plan: ScorePlan) -> list[date]:
    """The days of which the table has scores that the version of a plan gave to its source."""
    table = PartitionedTable(store, scores_name(plan.model), PARTITION, PARTITION.names)
    return [
        partition["day"] for partition in table.partitions() if (partition["source"], partition["version"]) == (plan.source, plan.version)
    ]


def columns_of(dataset: DatasetSpec, inputs: Sequence[str]) -> list[str]:
    """The columns of the rows that are scored: key, event time and the version's inputs, each once."""
    return list(dict.fromkeys((*dataset.key_columns, dataset.time_column, *inputs)))


def joined_dataset(dataset: DatasetSpec, joins: Sequence[JoinSpec]) -> DatasetSpec:
    """A dataset with the columns that joins bring, as a version reads it. Raises UnknownName if a joined dataset is gone."""
    return dataset.joined_with(brought_by(joins, {join.dataset: discovery.dataset(join.dataset) for join in joins}))


def _join(
    joins: KnownJoins, rows: Dataset, dataset: DatasetSpec, inputs: Sequence[str], days: tuple[date | None, date | None], path: Path
) -> str:
    """Write the rows of the days, and those of none, with what they find, in order of time and key; the SHA-256 of the file."""
    time_column = f'"{dataset.time_column}"'
    first, last = days
    where = f"{time_column} is null"
    if first and last:
        where += f" or ({time_column} >= timestamp '{first} 00:00:00' and {time_column} < timestamp '{last + DAY} 00:00:00')"
    types = row_schema(dataset)
    schema = pa.schema([types.field(name).with_nullable(True) for name in columns_of(dataset, inputs)])
    order = list(dict.fromkeys((dataset.time_column, *dataset.key_columns)))
    joins.write(rows, where, dataset.time_column, schema, order, path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _of_given(store: Store, dataset: DatasetSpec, asked: Asked, plan: Mapping[str, Any], joins: KnownJoins | None) -> ScorePlan | str:
    """The plan of a file's or a query's rows, which are put into the store in order of time and key. What joins bring is found for them as
    for any row, whether or not the file has columns of these names."""
    schema = table_schema(dataset)
    inputs = plan["inputs"]
    own = [name for name in inputs if not joins or name not in joins.columns]
    columns = list(dict.fromkeys((*columns_of(dataset, own), *(joins.needed(inputs) if joins else ()))))
    wanted = pa.schema([schema.field(name).with_nullable(True) for name in columns])
    from pyarrow.dataset import dataset as arrow_dataset

    with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
        path = Path(scratch, "rows.parquet")
        if asked.file:
            given = rows_of_file(store, dataset, asked.file, wanted, path)
        else:
            given = rows_of_query(store, dataset, asked.query, wanted, path)
        counts, undated = _days(path, dataset.time_column, asked)
        content, tables, words = given.digest, dict(given.tables), given.words
        if joins:
            found = Path(scratch, "joined.parquet")
            days = min(counts, default=None), max(counts, default=None)
            content, tables = _join(joins, arrow_dataset(path), dataset, inputs, days, found), tables | joins.versions
            path, words = found, f"{words} joined with {joins.words}"
        made = ScorePlan(
            **plan, source=given.source, words=words, snapshot=None, tables=tables, first=asked.first, last=asked.last,
            days=counts, undated=undated, left_out=given.left_out, content=content,
        )  # fmt: skip
        return _kept(store, made, path)


def _kept(store: Store, plan: ScorePlan, rows: Path | None = None) -> ScorePlan | str:
    if not plan.rows and not any(plan.has_day(day) for day in written_days(store, plan)):
        when = f" from {plan.first or 'the first day'} to {plan.last or 'the last'}" if plan.first or plan.last else ""
        words = plan.words[:1].upper() + plan.words[1:]
        return f"{words} has no rows{when}: nothing to score."
    for stored in list(store.list(plan.folder)):  # what an earlier try of the same left
        store.delete(stored.key)
    if rows:
        store.upload(rows, plan.rows_key)
    store.write(f"{plan.folder}/plan.json", plan.model_dump_json(indent=1).encode())
    return plan


def _version(store: Store, spec: ModelSpec, asked: int | None) -> tuple[int, str] | str:
    """The version that is to score, and its digest: the champion by the ledger, unless another is named; or why there is none."""
    ledger = Ledger(store, spec.name)
    last = ledger.last()
    if asked is None:
        if retired := ledger.retirement():
            return f"Nothing is scored: {retired_words(retired)}"
        if last is None or last.champion is None:
            return f"{spec.name} has no champion yet: its first version must be released first, or name a version with --version."
        return last.champion, last.versions[last.champion]
    if last is not None and asked in last.versions:
        return asked, last.versions[asked]
    if (known := registration(store, spec.name, asked)) is None:
        raise UnknownName(f"{spec.name} has no version {asked}: `perennial show versions {spec.name}` lists those that there are.")
    return asked, known.digest


def _refuse_gone(spec: ModelSpec, dataset: DatasetSpec, version: int, inputs: Sequence[str]) -> None:
    known = {column.name for column in (*dataset.columns, *dataset.table_columns)}
    if gone := [name for name in inputs if name not in known]:
        raise UnknownName(_lacks(spec, version, gone, f"the dataset {dataset.name} has no more"))


def _lacks(spec: ModelSpec, version: int, names: Sequence[str], where: str) -> str:
    return (
        f"Version {version} of {spec.name} reads {', '.join(names)}, which {where}: name another version with --version, "
        "or rows that have it with --snapshot, --file or --query."
    )


def _days(rows: Dataset | Path, column: str, asked: Asked) -> tuple[dict[date, int], int]:
    """Rows of each day that is asked for, and of none; the column of times is read batch by batch."""
    import numpy as np

    counts, undated = Counter[int](), 0
    for batch in batches(rows, [column]):
        undated += batch.column(0).null_count
        days = batch.column(0).drop_null().cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[D]").astype(np.int64)
        counts.update(dict(zip(*(values.tolist() for values in np.unique(days, return_counts=True)), strict=True)))
    epoch = date(1970, 1, 1)
    by_day = {epoch + timedelta(days=number): count for number, count in sorted(counts.items())}
    wanted = {
        day: count for day, count in by_day.items() if (not asked.first or asked.first <= day) and (not asked.last or day <= asked.last)
    }
    return wanted, undated


@dataclass(frozen=True)
class Source:
    """The rows of a plan."""

    rows: Dataset
    column: str  # their event time
    bounds: Mapping[str, tuple[datetime, datetime] | None]  # of the times of a file, by its path, where they are known

    def of_day(self, day: date | None, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """The rows of a day (None: those without a time), as many together as `size`, always in the same order."""
        from pyarrow.dataset import FileSystemDataset

        when = pc.field(self.column)
        rows = self.rows
        if day is None:
            where = when.is_null()
        else:
            begin, end = datetime.combine(day, time()), datetime.combine(day, time()) + DAY
            kind = rows.schema.field(self.column).type
            where = (when >= pa.scalar(begin, pa.timestamp("us")).cast(kind)) & (when < pa.scalar(end, pa.timestamp("us")).cast(kind))
            fragments = [f for f in rows.get_fragments() if _may_have(self.bounds.get(str(f.path)), begin, end)]
            rows = FileSystemDataset(fragments, rows.schema, rows.format, rows.filesystem)
        waiting: list[pa.RecordBatch] = []
        count = 0
        for batch in batches(rows.filter(where), columns):
            waiting.append(batch.select(list(columns)))
            count += batch.num_rows
            if count >= size:
                table = pa.Table.from_batches(waiting)
                whole = count - count % size
                for begin_at in range(0, whole, size):
                    yield table.slice(begin_at, size)
                waiting, count = table.slice(whole).to_batches(), count - whole
        if count:
            yield pa.Table.from_batches(waiting)


def open_source(store: Store, dataset: DatasetSpec, plan: ScorePlan, scratch: Path) -> Source:
    """The rows of a plan; those of a file or a query are fetched into `scratch`.

    Raises:
        StoredDataDamaged: they are not in the store any more.
    """
    from pyarrow.dataset import dataset as arrow_dataset

    if not plan.rows_key:
        table = table_of(store, dataset)
        return Source(table.dataset(plan.snapshot), dataset.time_column, _bounds(table.files(plan.snapshot), dataset.time_column))
    path = scratch / "rows.parquet"
    try:
        store.download(plan.rows_key, path)
    except KeyError:
        raise StoredDataDamaged(f"{plan.rows_key}, the rows of {plan.words}, is gone: plan the scoring again.") from None
    return Source(arrow_dataset(path), dataset.time_column, {})


def _bounds(files: Sequence[Mapping[str, Any]], column: str) -> dict[str, tuple[datetime, datetime] | None]:
    ends = {str(file["path"]): (file.get(f"min.{column}"), file.get(f"max.{column}")) for file in files}
    return {
        path: (least.replace(tzinfo=None), most.replace(tzinfo=None))
        for path, (least, most) in ends.items()
        if isinstance(least, datetime) and isinstance(most, datetime)
    }


def _may_have(ends: tuple[datetime, datetime] | None, begin: datetime, end: datetime) -> bool:
    # Statistics are cut to whole milliseconds.
    return ends is None or (ends[0] < end and begin <= ends[1] + timedelta(milliseconds=1))
