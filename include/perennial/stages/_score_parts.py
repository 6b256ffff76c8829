"""Scores the rows of a plan, or of one of its parts: block by block, so that memory holds a block of rows and no more.

A block is so many rows of one day as are scored together. The blocks of a plan are numbered; of n parts the i-th has every n-th one, so
that what comes of them together does not depend on the number of parts. A part leaves three files, the last of which says that it is whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial import encoding
from perennial.column_types import cells
from perennial.counted import counted
from perennial.data.added_columns import row_schema
from perennial.errors import CandidateRefused, Fault, StoredDataDamaged
from perennial.score_datasets import KEY, score_columns
from perennial.served_tables import INPUT
from perennial.serving.batch import Answers
from perennial.specs import DatasetSpec
from perennial.stages._score_answers import Answering
from perennial.stages._score_plan import ScorePlan, Source, columns_of
from perennial.store import Store

log = logging.getLogger("perennial.score")

SAY_SECONDS = 10.0
HELD_BACK = pa.schema([("key", pa.string()), ("event_time", pa.string()), ("why", pa.string())])
_DIGITS = 32  # of the hash in an id: two rows would have the same once in 10^38 pairs


class PartRecord(BaseModel):
    """What one part of a plan came to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks: tuple[tuple[date | None, int], ...] = Field(description="Day and number within it of each block, in order.")
    scored: int
    held_back: int
    difference: float = Field(description="Largest difference of a score from that of the row alone, of the rows that were tried.")
    tolerance: float = Field(description="Of the version's export: by how much a score may differ with the rows beside it.")
    classes: tuple[str, ...] = Field(description="Of the version, or `value`.")
    first: str = Field(default="", description="Why the first row was held back.")
    where: str = Field(description="Where scores were computed, for a sentence.")


@dataclass(frozen=True)
class Part:
    """One of several parts of a plan, counted from 1."""

    number: int = 1
    of: int = 1

    def file(self, ending: str) -> str:
        """Name of one of its files."""
        return f"{self.number}of{self.of}.{ending}"

    def has(self, place: int) -> bool:
        """Whether the block at that place is its own."""
        return place % self.of == self.number - 1


FILES = ("scored.arrow", "held_back.arrow", "json")  # of a part; the record comes last


def scored_schema(dataset: DatasetSpec, plan: ScorePlan, classes: Sequence[str]) -> pa.Schema:
    """What a part keeps of each scored row: what the table of scores gets, and the inputs for the table of predictions."""
    table = row_schema(dataset)
    return pa.schema(
        [
            pa.field("prediction_id", pa.string()),
            pa.field("event_time", pa.timestamp("us")),
            *(pa.field(KEY + name, table.field(name).type) for name in dataset.key_columns),
            *(pa.field(name, pa.float64()) for name in score_columns(classes)),
            *(pa.field(INPUT + name, table.field(name).type) for name in plan.inputs),
        ]
    )


def prediction_id(plan: ScorePlan, key: Sequence[object]) -> str:
    """The id of the score that a version gives to a row of a source: always the same, so that an outcome finds it again."""
    values = [value.isoformat() if isinstance(value, datetime) else value for value in key]
    identity = json.dumps([plan.model, plan.digest, plan.source, *values], ensure_ascii=False, default=str)
    return f"{hashlib.sha256(identity.encode()).hexdigest()[:_DIGITS]}-0"


def score_part(dataset: DatasetSpec, plan: ScorePlan, part: Part, source: Source, version: Answering, folder: Path) -> PartRecord:
    """Score the blocks of a part and write its files into a folder.

    Raises:
        CandidateRefused: together with others a row gets a score that differs from its own by more than the tolerance of the export.
        Fault: the version fails at every row.
    """
    schema = scored_schema(dataset, plan, version.names)
    blocks: list[tuple[date | None, int]] = []
    scored = held_back = failed = 0
    difference, first, failure = 0.0, "", ""
    said = time.monotonic()
    with (
        pa.OSFile(str(folder / part.file("scored.arrow")), "wb") as one,
        pa.ipc.new_file(one, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as good,
        pa.OSFile(str(folder / part.file("held_back.arrow")), "wb") as other,
        pa.ipc.new_file(other, HELD_BACK) as bad,
    ):
        for day, number, rows in _blocks(dataset, plan, part, source):
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                share = counted(scored + held_back, "row")
                log.info("%s: %s of about %s are done, now %s.", plan.model, share, f"{plan.rows // part.of:,}", day or "rows of no day")
            answers = answers_of(rows, plan.inputs, version) if day else _undated(rows, dataset, version)
            difference = max(difference, answers.difference)
            if difference > version.tolerance:
                raise CandidateRefused(
                    f"Version {plan.version} of {plan.model} gives a row another score beside other rows than alone: by {difference:.2g}, "
                    f"and {version.tolerance:g} is the tolerance of its export. Nothing was written. Train it again, or score one row "
                    "at a time (scoring.rows_at_once=1)."
                )
            good.write_batch(_as_batch(rows, dataset, plan, version, answers, schema))
            bad.write_batch(_held_back(rows, dataset, answers))
            blocks.append((day, number))
            scored += len(answers.scores)
            held_back += len(answers.held_back)
            failed += answers.failed
            first = first or next(iter(answers.held_back.values()), "")
            failure = failure or (first if answers.failed else "")
    if failed and not scored:
        raise Fault(f"Version {plan.version} of {plan.model} failed at every row; the first: {failure}")
    record = PartRecord(
        blocks=tuple(blocks), scored=scored, held_back=held_back, difference=difference, tolerance=version.tolerance,
        classes=version.names, first=first, where=version.where,
    )  # fmt: skip
    (folder / part.file("json")).write_text(record.model_dump_json())
    return record


def keep_part(store: Store, plan: ScorePlan, part: Part, folder: Path) -> None:
    """Put the files of a part into the store."""
    for ending in FILES:
        store.upload(folder / part.file(ending), f"{plan.folder}/parts/{part.file(ending)}")


def fetch_part(store: Store, plan: ScorePlan, part: Part, folder: Path) -> None:
    """Fetch the files of a part. Raises Fault if it has not been scored."""
    for ending in reversed(FILES):
        try:
            store.download(f"{plan.folder}/parts/{part.file(ending)}", folder / part.file(ending))
        except KeyError:
            raise Fault(
                f"Part {part.number} of {part.of} of {plan.words} has not been scored: run "
                f"`perennial score --model {plan.model} --planned {plan.name} --partition {part.number}/{part.of}`, "
                "then put the parts together again."
            ) from None


def read_record(folder: Path, part: Part) -> PartRecord:
    """What a part came to, from its file. Raises StoredDataDamaged if it cannot be read."""
    try:
        return PartRecord.model_validate_json((folder / part.file("json")).read_text())
    except ValidationError:
        raise StoredDataDamaged(f"The record of part {part.number} of {part.of} cannot be read: score that part again.") from None


def _blocks(dataset: DatasetSpec, plan: ScorePlan, part: Part, source: Source) -> Iterator[tuple[date | None, int, pa.Table]]:
    """The blocks of a part: day, number within the day, rows."""
    place = 0
    days: list[date | None] = [*plan.days, *([None] if plan.undated else [])]
    for day in days:
        for number, rows in enumerate(source.of_day(day, columns_of(dataset, plan.inputs), plan.rows_at_once)):
            if part.has(place):
                yield day, number, rows
            place += 1


def answers_of(rows: pa.Table, inputs: Sequence[str], version: Answering) -> Answers:
    """Scores of a block. What JSON cannot carry, and so no request can have, is held back before."""
    columns = {name: cells(rows[name].to_pylist()) for name in inputs}
    asked = encoding.rows_from_columns(columns, list(inputs))
    infinite = {place: why for place, row in enumerate(asked) if (why := _infinite(row))}
    places = [place for place in range(len(asked)) if place not in infinite]
    answers = version.answers([asked[place] for place in places]) if places else Answers(_no_scores(version))
    held_back = infinite | {places[place]: why for place, why in answers.held_back.items()}
    return Answers(answers.scores, dict(sorted(held_back.items())), answers.failed, answers.difference)


def _infinite(row: dict[str, Any]) -> str:
    for name, value in row.items():
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, float) and math.isinf(one) for one in values):
            return f"{name} is infinite: it must be finite."
    return ""


def _undated(rows: pa.Table, dataset: DatasetSpec, version: Answering) -> Answers:
    why = f"{dataset.time_column} is missing, and it is the event time: a score belongs to a day."
    return Answers(_no_scores(version), dict.fromkeys(range(rows.num_rows), why))


def _no_scores(version: Answering) -> Any:
    import numpy as np

    return np.empty((0, len(version.names)))


def _as_batch(
    rows: pa.Table, dataset: DatasetSpec, plan: ScorePlan, version: Answering, answers: Answers, schema: pa.Schema
) -> pa.RecordBatch:
    good = rows.take(pa.array([place for place in range(rows.num_rows) if place not in answers.held_back], pa.int64()))
    keys = zip(*(good[name].to_pylist() for name in dataset.key_columns), strict=True)
    columns = [
        pa.array([prediction_id(plan, key) for key in keys], pa.string()),
        good[dataset.time_column],
        *(good[name] for name in dataset.key_columns),
        *(pa.array(answers.scores[:, place], pa.float64()) for place in range(len(version.names))),
        *(good[name] for name in plan.inputs),
    ]
    arrays = [_one(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _held_back(rows: pa.Table, dataset: DatasetSpec, answers: Answers) -> pa.RecordBatch:
    places = pa.array(list(answers.held_back), pa.int64())
    keys = rows.select(list(dict.fromkeys(dataset.key_columns))).take(places).to_pylist()
    times = rows[dataset.time_column].take(places).to_pylist()
    columns = [
        [json.dumps(key, ensure_ascii=False, default=_plain) for key in keys],
        [None if when is None else when.isoformat() for when in times],
        list(answers.held_back.values()),
    ]
    return pa.record_batch([pa.array(column, pa.string()) for column in columns], schema=HELD_BACK)


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
