"""Puts the parts of a scoring together, day by day: what is new goes into the table of predictions, the rows that were held back into a
list, and the scores of the day in the place of those that the same version gave to the same source before.

A partition of the table of scores is a day of a source scored by a version. It is written in one commit and last, so that whoever is killed
between any two writes makes, when run again, the writes that are missing: the table of predictions gets what it has not, and the list and
the partition are written over.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial.counted import counted
from perennial.data.added_columns import table_schema
from perennial.data.merging import BATCH
from perennial.data.partitions import PartitionedTable
from perennial.data.served_rows import last_of
from perennial.data.tables import Table
from perennial.monitoring.prediction_table import prediction_schema
from perennial.score_datasets import KEY, score_columns
from perennial.served_tables import INPUT, SCORED, predictions_name, scores_name
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._score_parts import SAY_SECONDS, Part, PartRecord, read_record
from perennial.stages._score_plan import PARTITION, ScorePlan, written_days
from perennial.store import Store

log = logging.getLogger("perennial.score")

_WHERE = pa.schema([("digest", pa.string()), ("snapshot", pa.int64()), ("run", pa.string())])
LOG_ROWS = 50_000  # that go into the table of predictions together, and are in memory


@dataclass(frozen=True)
class Merged:
    """What a scoring came to."""

    days: int
    scored: int
    changed: int  # had no score before, or another one
    held_back: int
    difference: float
    first: str  # why the first row was held back
    where: str


def scores_table(store: Store, dataset: DatasetSpec, plan: ScorePlan, classes: Sequence[str]) -> PartitionedTable:
    """The table of a model's scores."""
    types = table_schema(dataset)
    schema = pa.schema(
        [
            pa.field("prediction_id", pa.string()),
            pa.field("event_time", pa.timestamp("us")),
            *(pa.field(KEY + name, types.field(name).type) for name in dataset.key_columns),
            *(pa.field(name, pa.float64()) for name in score_columns(classes)),
            *_WHERE,
            *PARTITION,
        ]
    )
    return PartitionedTable(store, scores_name(plan.model), schema, PARTITION.names)


def held_back_key(plan: ScorePlan, day: date | None) -> str:
    """Where the rows of a day that were held back are listed."""
    return f"scoring/{plan.model}/held_back/{plan.source}/version-{plan.version}/{day or 'undated'}.jsonl"


class Merger:
    """Puts the parts of a plan together.

    Args:
        store: has the tables.
        spec: of the model, with the inputs of the version.
        dataset: of the model.
        plan: what was scored.
        parts: their number.
        folder: has the files of all parts.
        run: name of the run, for the record.
    """

    def __init__(self, store: Store, spec: ModelSpec, dataset: DatasetSpec, plan: ScorePlan, parts: int, folder: Path, run: str) -> None:
        self.store, self.plan, self.run = store, plan, run
        self.parts = [Part(number, parts) for number in range(1, parts + 1)]
        self.records: list[PartRecord] = [read_record(folder, part) for part in self.parts]
        self._scored, self._refused = (
            [pa.ipc.open_file(pa.memory_map(str(folder / part.file(ending)))) for part in self.parts]
            for ending in ("scored.arrow", "held_back.arrow")
        )
        self._places = {
            (day, number): (part, place) for part, record in enumerate(self.records) for place, (day, number) in enumerate(record.blocks)
        }
        self.scores = score_columns(self.records[0].classes)
        self.table = scores_table(store, dataset, plan, self.records[0].classes)
        self.predictions = Table(store, predictions_name(plan.model))
        self.schema = functools.cache(lambda: prediction_schema(spec, dataset))
        self.now = datetime.now(timezone.utc)

    def merge(self) -> Merged:
        """Write the days of the plan, one after the other, and those that have no rows any more."""
        plan = self.plan
        days = sorted({*plan.days, *(day for day in written_days(self.store, plan) if plan.has_day(day))})
        changed, said = 0, time.monotonic()
        for place, day in enumerate(days, start=1):
            changed += self._day(day)
            if time.monotonic() - said > SAY_SECONDS or place == len(days):
                said = time.monotonic()
                log.info("%s: %d of %s written, %s the last.", plan.model, place, counted(len(days), "day is", "days are"), day)
        self._list(None)
        return Merged(
            len(plan.days),
            sum(record.scored for record in self.records),
            changed,
            sum(record.held_back for record in self.records) + sum(plan.left_out.values()),
            max(record.difference for record in self.records),
            next((record.first for record in self.records if record.first), ""),
            self.records[0].where,
        )

    def _day(self, day: date) -> int:
        """Write one day; the number of its rows whose score is new or another than before."""
        plan = self.plan
        partition = {"day": day, "source": plan.source, "version": plan.version}
        changed = self._log(day)
        self._list(day)
        facts = {"source": plan.words, "run": self.run, "tables": json.dumps(plan.tables)}
        self.table.replace(partition, self._rows(day), facts)
        return changed

    def _log(self, day: date) -> int:
        """Let the table of predictions have the rows whose score is new or another than the last one that it has; their number."""
        label, changed = f"{SCORED}{self.plan.source}/version {self.plan.version}/{day}", 0
        ids, known, entries = self._logged(label)
        for number, rows in enumerate(self._together(day)):
            place = pc.fill_null(pc.index_in(rows["prediction_id"], value_set=ids), -1).to_numpy()
            values, is_same = _values(rows, self.scores), place >= 0
            is_same[is_same] = (np.abs(values[is_same] - known[place[is_same]]) <= self._tolerance).all(axis=1)
            new = rows.filter(pa.array(~is_same))
            if not new.num_rows:
                continue
            changed += new.num_rows
            content = hashlib.sha256(_values(new, self.scores).tobytes() + "\n".join(new["prediction_id"].to_pylist()).encode()).hexdigest()
            # How many it has tells this change from one back and forth again.
            digest = hashlib.sha256(json.dumps([label, entries, number, content]).encode()).hexdigest()
            self.predictions.append(self._predictions(new), digest, label=label)
        return changed

    def _logged(self, label: str) -> tuple[pa.Array, np.ndarray, int]:
        """The last scores that the table of predictions has of a partition: ids, scores [ids, classes], and the number of all."""
        if self.predictions.version() is None:
            return pa.array([], pa.string()), np.empty((0, len(self.scores))), 0
        rows = self.predictions.scan(["prediction_id", "scores", "served_at"], pc.field(BATCH) == label)
        newest = last_of(rows, ["prediction_id"], ["served_at"])
        values = newest["scores"].combine_chunks().flatten().to_numpy().reshape(newest.num_rows, len(self.scores))
        return newest["prediction_id"].combine_chunks().cast(pa.string()), values, rows.num_rows

    @property
    def _tolerance(self) -> float:
        """By how much the scores of a row may differ without being others: by what they do with the rows beside it."""
        return max(record.tolerance for record in self.records)

    def _predictions(self, rows: pa.Table) -> pa.Table:
        """Scored rows as the table of predictions has them."""
        count, plan = rows.num_rows, self.plan
        made: dict[str, Any] = {
            "prediction_id": rows["prediction_id"],
            "model_version": pa.array([plan.version] * count, pa.int32()),
            "shadow": pa.array([False] * count),
            "served_at": pa.array([self.now] * count, pa.timestamp("us", "UTC")),
            "event_time": rows["event_time"].cast(pa.timestamp("us", "UTC")),
            "scores": pa.array(list(_values(rows, self.scores)), pa.list_(pa.float64())),
            "milliseconds": pa.nulls(count, pa.float64()),
            "unit": pa.nulls(count, pa.string()),
            **{INPUT + name: rows[INPUT + name] for name in plan.inputs},
        }
        return pa.table({field.name: _as(made[field.name], field.type) for field in self.schema()})

    def _rows(self, day: date) -> Iterator[pa.RecordBatch]:
        """The rows of a day as the table of scores has them."""
        plan = self.plan
        for block in self._blocks(day, self._scored):
            count = block.num_rows
            constant = {"digest": plan.digest, "snapshot": plan.snapshot, "run": self.run,
                        "day": day, "source": plan.source, "version": plan.version}  # fmt: skip
            columns = [
                pa.array([constant[field.name]] * count, field.type) if field.name in constant else block.column(field.name)
                for field in self.table.schema
            ]
            yield pa.record_batch(columns, schema=self.table.schema)

    def _list(self, day: date | None) -> None:
        """List the rows of a day that were held back; no list if none was."""
        key = held_back_key(self.plan, day)
        lines = (
            json.dumps({"key": json.loads(row["key"]), "event_time": row["event_time"], "why": row["why"]}, ensure_ascii=False) + "\n"
            for block in self._blocks(day, self._refused)
            for row in block.to_pylist()
        )
        first = next(lines, None)
        if first is None:
            if self.store.exists(key):
                self.store.delete(key)
            return
        with tempfile.TemporaryDirectory(prefix="perennial-score-") as scratch:
            path = Path(scratch, "held_back.jsonl")
            with path.open("w") as file:
                file.write(first)
                file.writelines(lines)
            self.store.upload(path, key)

    def _together(self, day: date) -> Iterator[pa.Table]:
        """The scored rows of a day, as many together as may be in memory."""
        waiting: list[pa.RecordBatch] = []
        for block in self._blocks(day, self._scored):
            waiting.append(block)
            if sum(one.num_rows for one in waiting) >= LOG_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
        if waiting:
            yield pa.Table.from_batches(waiting)

    def _blocks(self, day: date | None, files: Sequence[Any]) -> Iterator[pa.RecordBatch]:
        """The blocks of a day in their order, whichever part scored them."""
        number = 0
        while (where := self._places.get((day, number))) is not None:
            part, place = where
            yield files[part].get_batch(place)
            number += 1


def _values(rows: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """Scores [rows, classes]; null is NaN, which is like no score."""
    if not rows.num_rows:
        return np.empty((0, len(columns)))
    return np.column_stack([rows[name].to_numpy() for name in columns])


def _as(values: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    return values if values.type == kind else values.cast(kind)
