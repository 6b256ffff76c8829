"""Delta Lake tables to which each batch is appended exactly once, even if a writer is killed, run again or runs twice at the same time.

A commit is put-if-absent of exactly the next version. Whoever loses looks again: the batch may be in by now, or its keys taken.
It carries two application transactions: the batch's digest, odd while it is in and even once it was taken out, and the order of
commits, by which Delta's own writers conflict with it. It keeps the SHA-256 of each file that it adds (`hashes.py`).

    >>> import pyarrow as pa
    >>> from perennial.data.tables import Table
    >>> from perennial.store import open_store
    >>> rides = Table(open_store("store"), "rides")
    >>> rows = pa.table({"ride": ["r1", "r2"], "km": [4.2, 1.5]})
    >>> rides.append(rows, "1f" * 32), rides.append(rows, "1f" * 32), rides.count()
    (1, 1, 2)
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from perennial.column_types import is_list
from perennial.counted import counted
from perennial.data.commits import FACT, PREVIOUS, commit_info, put_commit, removals, rows_of, written
from perennial.data.compaction import OPERATION as COMPACTION
from perennial.data.compaction import compact
from perennial.data.hashes import Known, hashes, refuse_damaged
from perennial.data.log import Log, read_log
from perennial.data.merging import BATCH, Merge, Rule, by_batch, matches, merge, plain, replay, shown, without
from perennial.data.row_counts import RowCounts
from perennial.data.together import TOGETHER, Staged, facts_of, going, joined
from perennial.errors import BatchRefused, Fault, StoredDataDamaged, StoreUnreachable, UnknownName
from perennial.specs import LANDED, ROW
from perennial.store import Store

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset
    from pyarrow.parquet import FileMetaData

NOTHING = "NOTHING"  # operation of a commit that takes a batch and changes no row
ORDER = "perennial.order"
_COUNTS, _TAKEN, _MET = "perennial.counts", "perennial.taken", "perennial.met"  # facts of commits of corrections, as JSON
_GIVEN = "perennial.given"  # fact of a removal, as JSON: its rows that later batches had too, by the label of the batch that has them now
_MOST_MET = 100  # batches that a commit names; of one that met more, nothing is known
_FILE = "__filename"  # Arrow's name for the file that a row is in
_FOREVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}  # a snapshot never goes
_FIRST = "00000000000000000000.json"
ATTEMPTS = 40
PART_ROWS = 1 << 16  # of a part, at most
_CHECKPOINT = 100  # commits after which the log is gathered in one file


@dataclass(frozen=True)
class Commit:
    """The commit that appended or removed a batch."""

    version: int
    metadata: Mapping[str, str]
    time: datetime | None = None  # UTC


@dataclass(frozen=True)
class Batch:
    """A batch that was appended to a table, and its removal if it was removed."""

    digest: str
    added: Commit
    removed: Commit | None = None  # the commit that took it out, if it is out
    lost: int = 0  # its rows that later batches replaced or deleted
    lost_to: tuple[str, ...] = ()  # the labels of those batches
    gained: int = 0  # rows that it has since a batch was removed that had them before

    @property
    def name(self) -> str:
        """Name of the landed file, if it came from one."""
        return self.added.metadata.get("perennial.name", "")

    @property
    def label(self) -> str:
        """The batch's label, as its rows have it in the column that names their batch."""
        return self.added.metadata.get("perennial.label") or (f"{self.name} ({self.digest[:12]})" if self.name else self.digest)

    @property
    def rows(self) -> int:
        """Number of rows that the batch brought into the table."""
        return int(self.added.metadata.get("perennial.rows", 0))

    @property
    def left(self) -> int:
        """Number of rows of the batch that are in the table."""
        return self.rows - self.lost + self.gained

    @property
    def met(self) -> dict[str, int] | None:
        """Number of rows in the table that made rows of the batch superfluous, by the label of their batch; None if it is not known."""
        if (met := self.added.metadata.get(_MET)) is not None:
            return dict(json.loads(met))
        counts = self.counts
        return None if counts.unchanged + counts.kept + counts.older + counts.refused else {}

    @property
    def given(self) -> dict[str, int]:
        """Number of its rows that other batches have since it was removed, by their label."""
        return dict(json.loads(self.removed.metadata.get(_GIVEN, "{}"))) if self.removed else {}

    @property
    def taken(self) -> dict[str, int]:
        """Number of rows that the batch replaced or deleted, by the label of the batch that they were from."""
        taken: dict[str, int] = json.loads(self.added.metadata.get(_TAKEN, "{}"))
        return taken

    @property
    def counts(self) -> RowCounts:
        """What became of the rows of its file."""
        return counts_of(self.added)

    def removal(self) -> str:
        """Who removed the batch, when and why, as part of a sentence."""
        assert self.removed is not None, "it was taken out"
        facts, when = self.removed.metadata, self.removed.time
        return (
            f"{f'on {when:%Y-%m-%d %H:%M} UTC ' if when else ''}by {facts.get('perennial.by', 'somebody')} "
            f"({facts.get('perennial.reason', 'no reason given')})"
        )

    def refusal(self, table: str) -> str:
        """A sentence on why the removed batch is refused."""
        return (
            f"The batch {self.label} was taken out of the table {table} {self.removal()}. Land a corrected file; "
            "if this very content is to come back, "
            f"say so first: `perennial remove-batch {table} {self.digest[:12]} --again --reason ...`."
        )


@dataclass(frozen=True)
class Statistics:
    """What is known of a column without reading it."""

    nulls: int
    least: Any = None  # None where it is not known, or all are null
    most: Any = None


@dataclass(frozen=True)
class Merged:
    """A batch that is in the table."""

    version: int  # that has it
    counts: RowCounts | None  # what became of its rows; None if it was in already


def counts_of(commit: Commit) -> RowCounts:
    """What became of the rows of the file whose batch a commit took in."""
    if counts := commit.metadata.get(_COUNTS):
        return RowCounts.model_validate_json(counts)
    return RowCounts(added=int(commit.metadata.get("perennial.rows", 0)))


class Table:
    """One Delta table below `tables/`: a dataset's rows, a model's predictions or its outcomes.

    Args:
        store: where it is.
        name: of the table.
        expected: columns as a spec has them, if there is one. A nullable one that a version lacks is read as null.
    """

    by: tuple[str, ...] = ()  # columns by whose values its files lie in folders

    def __init__(self, store: Store, name: str, expected: pa.Schema | None = None) -> None:
        self.store, self.name = store, name
        self.expected = pa.schema([]) if expected is None else expected
        self.uri = store.uri(f"tables/{name}")

    def version(self) -> int | None:
        """Newest version made by a commit that changed rows (a compaction does not); None if there is no table yet."""
        table = self._open()
        return None if table is None else self._version(table)

    def count(self, version: int | None = None) -> int:
        """Number of rows in a version, the newest if absent."""
        table = self._open(version)
        return 0 if table is None else sum(row["num_records"] for row in _files(table))

    def files(self, version: int | None = None) -> list[dict[str, Any]]:
        """The files of a version, each with size and statistics: `path`, `size_bytes`, `num_records`, `min.<column>`, `max.<column>`."""
        table = self._open(version)
        return [] if table is None else _files(table)

    def hashes(self, version: int | None = None) -> Known:
        """SHA-256 of each file of a version, the newest if absent. Reads files only that were written before hashes were kept.

        Raises:
            StoredDataDamaged: such a file is not there.
        """
        table = self._open(version)
        if table is None:
            return Known()
        with self._sentences():
            return hashes(self.store, self.name, table)

    def refuse_damaged(self, version: int | None = None, *, files: bool = True) -> None:
        """Read the log and every file of a version once; the log alone without `files`. Raises StoredDataDamaged if one has changed since
        it was written."""
        version = self.version() if version is None else version
        if version is None:
            return
        if sentences := self.log_damage(read_log(self.store, self.name, version), version):
            raise StoredDataDamaged(sentences[0])
        if files:
            refuse_damaged(self.store, self.name, self.hashes(version).files)

    def refuse_damaged_files(self, version: int, paths: Collection[str]) -> None:
        """Read these files of a version once. Raises StoredDataDamaged if one has changed since it was written."""
        known = self.hashes(version).files
        refuse_damaged(self.store, self.name, {path: known[path] for path in paths})

    def log_damage(self, log: Log, version: int) -> list[str]:
        """An error message for each commit that has changed since it was written, and one where the table reads as other
        files than the commits of a version tell."""
        try:
            now = {file["path"]: (file["size_bytes"], file["num_records"]) for file in self.files(version)}
        except StoreUnreachable as error:
            return [*log.damage, str(error)]
        if log.damage or now == log.files:
            return log.damage
        return [
            f"The table {self.name} reads as other files than its commits tell: a checkpoint of its log is damaged. "
            f"Delete _last_checkpoint and *.checkpoint.parquet in tables/{self.name}/_delta_log/; "
            "the commits hold all that they do."
        ]

    def has_batch(self, digest: str, version: int | None = None) -> bool:
        """Whether a batch with that digest is in a version, the newest if absent."""
        table = self._open(version)
        return table is not None and (table.transaction_version(digest) or 0) % 2 == 1

    def which(self, digests: Iterable[str], version: int | None = None) -> set[str]:
        """Those digests of which a batch is in a version, the newest if absent."""
        table = self._open(version)
        return {digest for digest in digests if table is not None and (table.transaction_version(digest) or 0) % 2 == 1}

    def commit_of(self, digest: str) -> Commit | None:
        """The commit that appended a batch; None if it is not in the table. Slow: reads the whole history."""
        table = self._open()
        if table is None or (table.transaction_version(digest) or 0) % 2 == 0:
            return None
        batch = self.batch(digest)
        return batch.added if batch else Commit(table.version(), {})

    def may_have_label(self, beginning: str) -> bool:
        """Whether the table may have rows of a batch whose label begins like this. Reads only the labels of files of several batches."""
        table, after = self._open(), beginning[:-1] + chr(ord(beginning[-1]) + 1)
        if table is None:
            return False
        several = set()
        for file in _files(table):
            least, most = file.get(f"min.{BATCH}"), file.get(f"max.{BATCH}")
            if least is None or most is None or beginning <= least < after or beginning <= most < after:
                return True  # where statistics do not tell, it may be
            if least < beginning <= most:
                several.add(file["path"])
        labels = pc.field(BATCH)
        with self._sentences():
            return bool(several) and rows_of(table, several, (labels >= beginning) & (labels < after), [BATCH]).num_rows > 0

    def changed_batches(self, since: int) -> set[str]:
        """Labels of the batches of which rows were replaced or deleted after a version."""
        table, labels = self._open(), set[str]()
        for version in range(since + 1, (table.version() if table else 0) + 1):
            info = commit_info(self.store, self.name, version)
            labels |= json.loads(info.get(_TAKEN, "{}")).keys()
        return labels

    def newest_fact(self, name: str) -> str:
        """What the newest commit that took a batch says under a name in its metadata; empty if there is none, or it says nothing of it."""
        table = self._open()
        for version in range(table.version() if table else 0, 0, -1):
            info = commit_info(self.store, self.name, version)
            if facts_of(info):
                return str(info.get(f"perennial.{name}", ""))
        return ""

    def batches(self) -> list[Batch]:
        """Every batch that was ever appended, newest first, including removed ones. Slow: reads the whole history."""
        return _batches(table) if (table := self._open()) is not None else []

    def batch(self, digest: str) -> Batch | None:
        """The newest append of a batch, removed or not; None if it was never appended. Slow if it was: reads the whole history."""
        table = self._open()
        if table is None or not table.transaction_version(digest):
            return None
        return next((batch for batch in self.batches() if batch.digest == digest), None)

    def remove(
        self,
        digest: str,
        facts: Mapping[str, str],
        rule: Rule | None = None,
        came: Callable[[Batch], pa.Table] | None = None,
        planned: Callable[[Batch], None] = lambda batch: None,
    ) -> Batch:
        """Make a version without the rows of a batch; doing it again does nothing. Older snapshots keep them.

        Rows that later batches had too, and that were not taken from them since this one had them, stay as rows of those batches.

        Args:
            digest: identity of the batch.
            facts: who, why: for the commit.
            rule: by which rows are taken, if later batches may have such rows.
            came: the rows with which a batch landed, one for each key.
            planned: told each batch that is about to gain rows.

        Returns:
            The batch with the commit that took it out.

        Raises:
            UnknownName: no batch of that digest was ever in the table.
            BatchRefused: it replaced or deleted rows of other batches; or `came` refuses.
            StoredDataDamaged: a file that has rows of others too was changed after it was written, or the batch has not the rows that its
                commit tells.
        """
        for _ in attempts():
            table = self._open()
            batches = [] if table is None or not table.transaction_version(digest) else _batches(table, table.version())
            batch = next((batch for batch in batches if batch.digest == digest), None)
            if batch is None or table is None:
                raise UnknownName(f"The table {self.name} never had a batch {digest[:12]}.")
            if batch.removed:
                return batch
            turn = table.transaction_version(digest) or 0
            if batch.taken:
                raise BatchRefused(
                    f"The batch {batch.label} cannot be taken out of the table {self.name}: it replaced or deleted "
                    f"{counted(sum(batch.taken.values()), 'row')} of others, which would not come back. "
                    "Land a file with the right rows for its keys: it replaces them."
                )
            with self._sentences():
                known = hashes(self.store, self.name, table).files
                leaving, others = _files_of(table, batch.label)
                refuse_damaged(self.store, self.name, {file["path"]: known[file["path"]] for file in others})
                of_it = pc.field(BATCH) == batch.label
                shared = [file for file in others if rows_of(table, {file["path"]}, of_it, [BATCH]).num_rows]
                rest = rows_of(table, {file["path"] for file in shared}, ~of_it | of_it.is_null()) if shared else None
                gone = sum(file["num_records"] for file in (*leaving, *shared)) - (rest.num_rows if rest else 0)
                if gone != batch.left:
                    raise StoredDataDamaged(
                        f"The batch {batch.label} of the table {self.name} should have {counted(batch.left, 'row')}, and "
                        f"{counted(gone, 'is', 'are')} there: restore the table from a backup."
                    )
                said = {"perennial.removed": digest, "perennial.rows": str(gone), **{f"perennial.{k}": v for k, v in facts.items()}}
                rows = None
                if rule and came and gone and (later := _that_met(batches, batch)):
                    keys = rows_of(table, {file["path"] for file in (*leaving, *shared)}, of_it, list(rule.key))
                    rows = replay(keys, ((other.label, came(other)) for other in later), rule)
                if rows is not None:
                    given = by_batch(rows[BATCH])
                    said[_GIVEN] = json.dumps(given)
                    for other in later:
                        if other.label in given:
                            planned(other)
                kept = [part for part in (rows, rest) if part is not None and part.num_rows]
                if self._commit(table, kept[0] if kept else None, "DELETE", [*leaving, *shared], said, {digest: turn + 1}, *kept[1:]):
                    return replace(batch, removed=Commit(table.version() + 1, said, datetime.now(timezone.utc)))
        raise self._contended()

    def append(
        self,
        rows: pa.Table,
        batch_digest: str,
        *,
        label: str = "",
        metadata: Mapping[str, str] | None = None,
        key: Sequence[str] = (),
        event_time: str = "",
        again: bool = False,
    ) -> int:
        """Append a batch exactly once; appending it again does nothing.

        Args:
            rows: the batch. Columns that the table lacks are added to it.
            batch_digest: identity of the batch.
            label: what the batch is called when a later one collides with it; its digest if empty.
            metadata: further facts for the commit, read back by `commit_of`.
            key: columns that must not repeat, neither in the batch nor in the table.
            event_time: timestamp column among `key`, if any: only files of these times are searched for the keys.
            again: whether a batch that was taken out may come back.

        Returns:
            The version that has the batch.

        Raises:
            BatchRefused: a key is twice in the batch, or already in the table; or the batch was taken out.
            Fault: a column has another type in the table, or the rows that are in lack one that the spec requires.
            StoreUnreachable: the store does not take it.
        """
        _refuse_doubles(rows, key)
        rule = Rule(tuple(key))
        return self.merge(rows, batch_digest, rule, label=label, metadata=metadata, event_time=event_time, again=again).version

    def merge(
        self,
        rows: pa.Table,
        batch_digest: str,
        rule: Rule,
        *,
        label: str = "",
        metadata: Mapping[str, str] | None = None,
        event_time: str = "",
        again: bool = False,
        before: RowCounts | None = None,
        planned: Callable[[Merge], None] = lambda merge: None,
    ) -> Merged:
        """Take a batch in exactly once, each row as the rule says; taking it in again does nothing.

        Only files that have a row that is replaced or deleted are written anew, without it; older versions keep it.

        Args:
            rows: the batch, one row for each key (`one_per_key`). Columns that the table lacks are added to it.
            batch_digest: identity of the batch.
            rule: what becomes of a row whose key is in the table.
            label: what the batch is called when a later one collides with it; its digest if empty.
            metadata: further facts for the commit, read back by `commit_of`.
            event_time: timestamp column among the keys, if any: only files of these times are searched for the keys.
            again: whether a batch that was taken out may come back.
            before: counts of rows of its file that were left out already.
            planned: told what is about to be committed, where rows are taken one by one; again for each further attempt.

        Raises:
            BatchRefused: a key is already in the table and the rule refuses it, for the batch or for each of its rows;
                or the batch was taken out.
            Fault: a column has another type in the table, or the rows that are in lack one that the spec requires.
            StoreUnreachable: the store does not take it.
        """
        label = label or batch_digest
        facts = {
            "perennial.batch": batch_digest,
            "perennial.label": label,
            **{f"perennial.{k}": v for k, v in (metadata or {}).items()},
        }
        for attempt in attempts():
            table = self._open() or self._create(rows.append_column(BATCH, pa.nulls(rows.num_rows, pa.string())).schema)
            turn = table.transaction_version(batch_digest) or 0
            if turn % 2:
                return Merged(self._version(table), None)
            if turn and not again and (batch := self.batch(batch_digest)) and batch.removed:
                raise BatchRefused(batch.refusal(self.name))
            self._refuse_other_types(table, rows.schema, "was to be appended")
            if table.version():  # version 0 is the empty table
                self._null_columns(table, self.expected.names)
            with self._sentences():
                if not attempt and compact(self.store, self.name, table):
                    continue  # another may have appended since: this batch, or its keys
            merged = self._merge(table, rows, rule, event_time, before or RowCounts())
            if rule.by_row:
                planned(merged)
            with self._sentences():
                if self._commit_merge(table, merged, rule, facts, {batch_digest: turn + 1}):
                    return Merged(table.version() + 1 if merged.changes_rows else self._version(table), merged.counts)
        raise self._contended()

    def append_together(self, batches: Sequence[Staged], rule: Rule, event_time: str = "") -> tuple[int, frozenset[str]]:
        """Append batches in one commit, as far as each is new to the table and all of its rows are simply added.

        Args:
            batches: in their order.
            rule: by which rows are told apart; a row whose key is in refuses its batch.
            event_time: timestamp column among the keys, if any: only files of these times are searched for the keys.

        Returns:
            The version that has them, and their digests. What is not among these is for `merge`, which says why.

        Raises:
            Fault: the rows that are in lack a column that the spec requires.
            StoreUnreachable: the store does not take them.
        """
        for attempt in attempts():
            first = batches[0].rows
            table = self._open() or self._create(first.append_column(BATCH, pa.nulls(first.num_rows, pa.string())).schema)
            if table.version():
                self._null_columns(table, self.expected.names)
            with self._sentences():
                if not attempt and compact(self.store, self.name, table):
                    continue
            fitting = [batch for batch in batches if not table.transaction_version(batch.digest) and self._fits(table, batch.rows)]
            fitting = [batch for batch in fitting if batch.rows.schema.equals(fitting[0].rows.schema)]
            chosen = going(fitting, self._keys_like(table, fitting, rule, event_time), rule.key)
            if len(chosen) < 2:
                return 0, frozenset()
            facts = {**chosen[0].of_all, TOGETHER: json.dumps([batch.said for batch in chosen])}
            with self._sentences():
                if self._commit(table, joined(chosen), "WRITE", [], facts, {batch.digest: 1 for batch in chosen}):
                    return table.version() + 1, frozenset(batch.digest for batch in chosen)
        raise self._contended()

    def _fits(self, table: DeltaTable, rows: pa.Table) -> bool:
        try:
            self._refuse_other_types(table, rows.schema, "was to be appended")
        except Fault:
            return False
        return True

    def _keys_like(self, table: DeltaTable, batches: Sequence[Staged], rule: Rule, event_time: str) -> pa.Table:
        """The keys in the table that rows of batches may have."""
        if not rule.key or not batches:
            return pa.table({})
        within = None
        if event_time:
            bounds = [pc.min_max(batch.rows[event_time]) for batch in batches]
            least, most = (pc.min_max(pa.array([bound[end] for bound in bounds]))[end] for end in ("min", "max"))
            within = (pc.field(event_time) >= least) & (pc.field(event_time) <= most)
        return self._scan(table, list(rule.key), within)

    def scan(self, columns: Sequence[str] | None = None, where: pc.Expression | None = None, version: int | None = None) -> pa.Table:
        """Read rows, in no particular order; no rows and no columns if there is no table yet.

        Args:
            columns: which columns; all that the version has but `_batch` if absent. One that the version lacks is null if
                it may be: if a later version has it, or `expected` says so.
            where: a pyarrow expression.
            version: table version; the newest if absent.

        Raises:
            Fault: a column is not there, or not of the type that is expected.
        """
        table = self._open(version)
        if table is None:
            return pa.table({})
        return self._scan(table, columns, where)

    def parts(self, columns: Sequence[str], where: pc.Expression | None = None, version: int | None = None) -> Iterator[pa.RecordBatch]:
        """Read rows as `scan` does, part by part: of files and row groups whose statistics show that they have none, nothing is read.

        Memory holds a few parts and the compressed columns of one row group, however many rows there are.
        """
        table = self._open(version)
        if table is None:
            return
        with self._sentences():
            dataset, wanted = self._readable(table, columns)
            with self._sentences_of(table, dataset):
                yield from dataset.to_batches(columns=wanted, filter=where, batch_size=PART_ROWS, batch_readahead=2, fragment_readahead=1)

    def statistics(self, columns: Sequence[str], version: int | None = None) -> dict[str, Statistics]:
        """Nulls and extremes of columns in a version: from its log, and from the footers of its files where that does not tell."""
        found: dict[str, Statistics] = {}
        files, footers = [file for file in self.files(version) if file["num_records"]], None
        for name in columns:
            if any(f"partition.{name}" in file for file in files):
                values = [(file[f"partition.{name}"], file["num_records"]) for file in files]
                told = [(rows if value is None else 0, value, value) for value, rows in values]
            elif all(file.get(f"null_count.{name}") is not None for file in files):
                told = [(file[f"null_count.{name}"], file.get(f"min.{name}"), file.get(f"max.{name}")) for file in files]
            else:
                footers = self._footers(version) if footers is None else footers
                told = [one for footer in footers for one in _of_footer(footer, name)]
            found[name] = Statistics(
                sum(nulls for nulls, *_ in told),
                min((least for _, least, _ in told if least is not None), default=None),
                max((most for *_, most in told if most is not None), default=None),
            )
        return found

    def rows_of_files(self, paths: Sequence[str], where: pc.Expression, columns: Sequence[str]) -> pa.Table:
        """Rows of named files that are, or were, the table's. A column that they lack is null."""
        from pyarrow.dataset import FileSystemDataset

        table = self._open()
        if table is None:
            return pa.table({})
        with self._sentences():
            whole = table.to_pyarrow_dataset()
            schema = pa.schema([*whole.schema, *self._null_columns(table, whole.schema.names)])
            files = [whole.format.make_fragment(path, whole.filesystem) for path in paths]
            return FileSystemDataset(files, schema, whole.format, whole.filesystem).to_table(columns=list(columns), filter=where)

    def dataset(self, version: int | None = None, part: tuple[int, int] = (1, 1)) -> Dataset:
        """A version's files as one Arrow dataset, read only as far as somebody asks; without files while there is no table.

        Args:
            version: table version; the newest if absent.
            part: `(i, n)` gives the i-th of n shares of the files, counted from 1; every file is in one of them.
        """
        from pyarrow.dataset import FileSystemDataset, dataset

        table = self._open(version)
        if table is None:
            return dataset(pa.table({}))
        with self._sentences():
            whole = table.to_pyarrow_dataset()
            added = self._null_columns(table, whole.schema.names)
            fragments = sorted(whole.get_fragments(), key=lambda fragment: str(fragment.path))
        number, shares = part
        schema = pa.schema([*whole.schema, *added])
        return FileSystemDataset(fragments[number - 1 :: shares], schema, whole.format, whole.filesystem)

    def _commit(
        self,
        table: DeltaTable,
        rows: pa.Table | None,
        operation: str,
        removed: Sequence[Mapping[str, Any]],
        facts: Mapping[str, str],
        turns: Mapping[str, int],
        rest: pa.Table | None = None,
    ) -> bool:
        """Write rows as files and make them the next version of an opened table; False if another commit took that version.

        Args:
            table: as it was opened.
            rows: what the files hold; none are written if it is None.
            rest: rows of the files that leave which stay in the table, as files of their own; none if it is None.
            operation: what the commit is called.
            removed: files that leave, each with `path` and `size_bytes`.
            facts: further words for the commit.
            turns: versions of application transactions.
        """
        version = table.version() + 1
        with tempfile.TemporaryDirectory(prefix="perennial-commit-") as scratch:
            places = [Path(scratch, name) for name in ("rows", "rest")]
            for place in places:
                place.mkdir()
            info, changes, added = written(places[0], table, rows)
            folder_of = {file["path"]: places[0] for file, _ in added}
            if rest is not None:
                _, _, others = written(places[1], table, rest)
                folder_of |= {file["path"]: places[1] for file, _ in others}
                added = [*added, *others]
            info |= {"operation": operation, **facts, FACT: json.dumps({file["path"]: hashed for file, hashed in added})}
            actions: list[dict[str, Any]] = [{"txn": {"appId": name, "version": turn}} for name, turn in {**turns, ORDER: version}.items()]
            actions += [*changes, *removals(removed, changes_data=True), *({"add": file} for file, _ in added)]
            for file, _ in added:
                self.store.upload(folder_of[file["path"]] / file["path"], f"tables/{self.name}/{file['path']}")
        if not put_commit(self.store, self.name, version, info, actions):
            for file, _ in added:
                self.store.delete(f"tables/{self.name}/{file['path']}")
            return False
        if version % _CHECKPOINT == 0:
            DeltaTable(self.uri, version=version, storage_options=self.store.storage_options()).create_checkpoint()
        return True

    def _contended(self) -> Fault:
        return Fault(f"The table {self.name} was being written by others through {ATTEMPTS} attempts: try again.")

    def _create(self, schema: pa.Schema) -> DeltaTable:
        """Create the table, empty, as version 0.

        Of several `DeltaTable.create` at the same time more than one succeeds; of several put-if-absent of the first commit, one does.
        """
        with tempfile.TemporaryDirectory(prefix="perennial-table-") as scratch:
            DeltaTable.create(scratch, schema, partition_by=list(self.by) or None, configuration=_FOREVER)
            self.store.put_if_absent(f"tables/{self.name}/_delta_log/{_FIRST}", (Path(scratch) / "_delta_log" / _FIRST).read_bytes())
        table = self._open()
        if table is None:
            raise StoreUnreachable(
                f"The table {self.name} in the store {self.store.root} was made but cannot be found: "
                "check that PERENNIAL_STORE and AWS_ENDPOINT_URL name the same store."
            )
        return table

    def _scan(self, table: DeltaTable, columns: Sequence[str] | None, where: pc.Expression | None) -> pa.Table:
        with self._sentences():
            dataset, wanted = self._readable(table, columns)
            with self._sentences_of(table, dataset):
                return dataset.to_table(columns=wanted, filter=where)

    def _readable(self, table: DeltaTable, columns: Sequence[str] | None) -> tuple[Dataset, list[str]]:
        """An opened version with the columns that are null in it, and the names of those that are to be read: all if none are given."""
        dataset = table.to_pyarrow_dataset()
        wanted = [name for name in dataset.schema.names if name != BATCH] if columns is None else list(columns)
        added = self._null_columns(table, wanted)
        self._refuse_other_types(table, pa.schema([field for field in self.expected if field.name in wanted]), "is what the spec says")
        return dataset.replace_schema(pa.schema([*dataset.schema, *added])), wanted

    @contextlib.contextmanager
    def _sentences_of(self, table: DeltaTable, dataset: Dataset) -> Iterator[None]:
        """Say in a sentence that rows cannot be read as they are wanted."""
        try:
            yield
        except pa.ArrowException as error:
            raise Fault(
                f"Version {table.version()} of the table {self.name} cannot be read: {_first_line(error)}. "
                f"Compare the columns of the spec with those of the table: {', '.join(dataset.schema.names)}."
            ) from error

    def _footers(self, version: int | None) -> list[FileMetaData]:
        with self._sentences():
            return [fragment.metadata for fragment in self.dataset(version).get_fragments()]

    def _null_columns(self, table: DeltaTable, wanted: Iterable[str]) -> list[pa.Field]:
        """The columns that a version lacks and that are null in it: nullable ones of the spec, and those wanted that a later version has.

        Raises:
            Fault: it lacks another one that is wanted.
        """
        known = pa.schema(table.schema()).names
        fields = {field.name: field for field in self.expected if field.nullable and field.name not in known}
        lacking = [name for name in dict.fromkeys(wanted) if name not in known and name not in fields]
        if lacking and (newest := self._open()) is not None:
            fields |= {
                field.name: field for field in pa.schema(newest.schema()) if field.name in lacking and field.name not in self.expected.names
            }
        missing = [name for name in lacking if name not in fields]
        if missing:
            if missing[0] in (ROW, LANDED) and missing[0] in self.expected.names:
                what = "a key" if missing[0] == ROW else "an event time"
                advice = f"its rows have {what}: give it back to the spec of {self.name}, or make another dataset of rows without"
            elif missing[0] in self.expected.names:
                advice = f"the spec of {self.name} requires it: make it nullable, then rows from before have null"
            else:
                advice = f"correct its name; the table has {', '.join(known)}"
            raise Fault(f"Version {table.version()} of the table {self.name} has no column {missing[0]}: {advice}.")
        return list(fields.values())

    def _refuse_other_types(self, table: DeltaTable, given: pa.Schema, how: str) -> None:
        """Where the table and what is given differ in a column's type.

        Delta Lake casts what is appended without a word: 1.5 would go into a whole number as 1.
        """
        known = pa.schema(table.schema())
        for field in given:
            if field.name in known.names and (holds := _kind(known.field(field.name).type)) != (other := _kind(field.type)):
                raise Fault(
                    f"The column {field.name} of the table {self.name} holds {holds}, and {other} {how}: "
                    "a column keeps its type. Give it back its type, or name the new column otherwise."
                )

    def _merge(self, table: DeltaTable, rows: pa.Table, rule: Rule, event_time: str, before: RowCounts) -> Merge:
        """What becomes of the rows of a batch in an opened version of the table."""
        all_added = Merge(before.plus(added=rows.num_rows), rows)
        if not rule.key or not rows.num_rows:
            return all_added
        within = None
        if event_time:
            bounds = pc.min_max(rows[event_time])
            within = (pc.field(event_time) >= bounds["min"]) & (pc.field(event_time) <= bounds["max"])
        keys = list(rule.key)
        stored_keys = self._scan(table, [*keys, BATCH], within)
        incoming, stored = matches(rows, stored_keys, keys)
        taken = rows.select(keys).take(incoming).append_column(BATCH, stored_keys[BATCH].take(stored))
        if not rule.by_row:
            if taken.num_rows:
                advice = (
                    "Rows are named by their file and place: land the file under a name that no other had."
                    if keys == [ROW]
                    else 'Land only rows that are new, or let the spec take corrections: rows="corrected", on_known_key="replace".'
                )
                raise BatchRefused(f"{_has_taken_keys(taken, rows, self.name, taken[BATCH].to_pylist(), keys)}. {advice}")
            return all_added
        if not taken.num_rows and not rule.deleted:
            return all_added
        with self._sentences():
            whole = table.to_pyarrow_dataset()
            columns = [name for name in rows.column_names if name in whole.schema.names]
            where = within
            for name in keys:
                one_of = pc.field(name).isin(pc.unique(taken[name]))
                where = one_of if where is None else where & one_of
            scanner = whole.scanner(columns=[*columns, BATCH, _FILE], filter=where)
            known = plain(scanner.to_table() if taken.num_rows else scanner.head(0))
        merged = merge(rows, known, rule, before)
        if merged.refused is not None and merged.refused.num_rows == rows.num_rows:
            raise BatchRefused(
                f"{_has_taken_keys(merged.refused, rows, self.name, merged.blocked_by, keys)}, with other values. Land only rows that are "
                'new, or let the spec take corrections: on_known_key="replace" or "keep_first".'
            )
        return merged

    def _commit_merge(self, table: DeltaTable, merged: Merge, rule: Rule, facts: Mapping[str, str], turns: Mapping[str, int]) -> bool:
        """Commit what was decided on an opened version of the table; False if another commit came first."""
        rows = merged.rows.append_column(BATCH, pa.repeat(pa.scalar(facts["perennial.label"]), merged.rows.num_rows))
        said = {**facts, "perennial.rows": str(rows.num_rows)}
        if merged.counts != RowCounts(added=rows.num_rows):
            said[_COUNTS] = merged.counts.model_dump_json(exclude_defaults=True)
        if rule.by_row and len(merged.met) <= _MOST_MET:
            said[_MET] = json.dumps(merged.met)
        if merged.leaving is None:
            return self._commit(table, rows if merged.changes_rows else None, "WRITE" if merged.changes_rows else NOTHING, [], said, turns)
        said[_TAKEN] = json.dumps(merged.taken)
        touched = set(merged.leaving[_FILE].to_pylist())
        files = [file for file in _files(table) if file["path"] in touched]
        known = hashes(self.store, self.name, table).files
        refuse_damaged(self.store, self.name, {path: known[path] for path in touched})
        rest = without(rows_of(table, touched), merged.leaving, rule.key)
        return self._commit(table, rows if rows.num_rows else None, "MERGE", files, said, turns, rest if rest.num_rows else None)

    def _version(self, table: DeltaTable) -> int:
        version = table.version()
        while version and commit_info(self.store, self.name, version).get("operation") in (COMPACTION, NOTHING):
            version -= 1
        return version

    def _open(self, version: int | None = None) -> DeltaTable | None:
        with self._sentences():
            try:
                return DeltaTable(self.uri, version=version, storage_options=self.store.storage_options())
            except TableNotFoundError:
                return None

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except (OSError, DeltaError) as error:
            raise StoreUnreachable(
                f"The table {self.name} in the store {self.store.root} cannot be used: {self._reason(error)}. "
                "Check that the store is reachable, has room, and that the credentials are right."
            ) from error

    def _reason(self, error: Exception) -> str:
        """The store's own error, if it refuses too: Delta Lake often reports only that there was an error."""
        try:
            self.store.exists(f"tables/{self.name}/_delta_log/{_FIRST}")
        except StoreUnreachable as told:
            return str(told).rstrip(".")
        return _first_line(error)


def _of_footer(footer: FileMetaData, name: str) -> Iterator[tuple[int, Any, Any]]:
    """Nulls and extremes of a column in each row group of a file; all are nulls in one that lacks it."""
    place = next((n for n in range(footer.num_columns) if footer.schema.column(n).path == name), None)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        told = None if place is None else group.column(place).statistics
        if place is None or told is None or not told.has_null_count:
            yield group.num_rows, None, None  # where nothing is told, there may be nulls
        else:
            yield told.null_count, *((told.min, told.max) if told.has_min_max else (None, None))


def attempts() -> Iterator[int]:
    """The numbers of attempts to commit beside others who write, from 0; there is a pause behind each, longer the more there were."""
    for attempt in range(ATTEMPTS):
        yield attempt
        time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))


def _files(table: DeltaTable) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    return files


def _batches(table: DeltaTable, until: int | None = None) -> list[Batch]:
    """Every batch that was ever appended, newest first, as of a version; as of the newest, whichever was opened, if none is given."""
    batches, removed, lost, gained = list[Batch](), dict[str, Commit](), dict[str, dict[str, int]](), Counter[str]()
    history = table.history()
    # Counted from the first commit: the list has commits that were made since the table was opened, and Delta numbers it without them.
    for version, entry in zip(range(len(history) - 1, -1, -1), history, strict=True):
        if until is not None and version > until:
            continue
        if digest := entry.get("perennial.removed"):
            removed.setdefault(digest, _commit_of(entry, version))
            gained.update(json.loads(entry.get(_GIVEN, "{}")))
        for facts in facts_of(entry):
            digest = facts["perennial.batch"]
            batch = Batch(digest, _commit_of({**facts, "timestamp": entry.get("timestamp")}, version), removed.pop(digest, None))
            lost_rows = lost.pop(batch.label, {})
            lost_to = tuple(label for label, rows in lost_rows.items() if rows)
            batches.append(replace(batch, lost=sum(lost_rows.values()), lost_to=lost_to, gained=gained.pop(batch.label, 0)))
            for label, rows in batch.taken.items():
                lost.setdefault(label, {})[batch.label] = rows
    return batches


def _that_met(batches: Sequence[Batch], removed: Batch) -> list[Batch]:
    """The batches in the table, oldest first, that may have rows which they left out since the removed one had them, itself or from a
    batch that was removed before."""
    labels = {removed.label}
    while more := {batch.label for batch in batches if batch.given.keys() & labels} - labels:
        labels |= more
    in_table = [batch for batch in reversed(batches) if not batch.removed and batch.digest != removed.digest]
    return [
        batch for batch in in_table if (batch.added.version > removed.added.version if batch.met is None else batch.met.keys() & labels)
    ]


def _commit_of(entry: Mapping[str, Any], version: int) -> Commit:
    facts = {k: str(v) for k, v in entry.items() if k.startswith("perennial.") and k not in (FACT, PREVIOUS)}
    when = entry.get("timestamp")
    return Commit(version, facts, datetime.fromtimestamp(when / 1000, timezone.utc) if when else None)


def _files_of(table: DeltaTable, label: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The files that hold rows of one batch only, and those that may hold some among others, by their statistics."""
    whole, others = [], []
    for file in _files(table):
        least, most = file.get(f"min.{BATCH}"), file.get(f"max.{BATCH}")
        if least == most == label and not file.get(f"null_count.{BATCH}"):
            whole.append(file)
        elif least is None or most is None or least <= label <= most:
            others.append(file)
    return whole, others


def _has_taken_keys(taken: pa.Table, rows: pa.Table, table: str, labels: Iterable[str], key: Sequence[str]) -> str:
    """The beginning of a sentence on rows whose keys are in the table."""
    others = sorted(set(labels))
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    said = f"{taken.num_rows} of {rows.num_rows} rows have a key that is already in the table {table}, from batch {named}"
    return f"{said}; the first is {shown(taken.slice(0, 1).to_pylist()[0], key)}"


def _refuse_doubles(rows: pa.Table, key: Sequence[str]) -> None:
    if not key or not rows.num_rows:
        return
    counts = rows.select(list(key)).group_by(list(key)).aggregate([([], "count_all")])
    doubled = counts.filter(pc.field("count_all") > 1)
    if doubled.num_rows:
        first = doubled.slice(0, 1).to_pylist()[0]
        raise BatchRefused(
            f"{counted(doubled.num_rows, 'key')} ({', '.join(key)}) occur{'s' if doubled.num_rows == 1 else ''} more than "
            f"once; the first is {shown(first, key)}. Land each row once."
        )


def _kind(data_type: pa.DataType) -> str:
    """A type without what may differ between a table and what is appended to it at no loss."""
    if pa.types.is_timestamp(data_type):
        return "times with a zone" if data_type.tz else "times"
    if pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type):
        return "string"
    if is_list(data_type):
        return f"lists of {_kind(data_type.value_type)}"
    return "nested values" if pa.types.is_nested(data_type) else str(data_type)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300].rstrip(".")
