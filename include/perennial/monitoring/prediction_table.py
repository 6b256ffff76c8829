"""Collects the log segments of servers into one Delta table of predictions, each row exactly once.

A segment grows each second for a minute (`perennial.served_log`), and what it has so far is taken in batches:

    1. the batch is written down, `<prefix>/batches/<number>.json`, by put-if-absent: it names parts of segments
    2. their rows are appended in one commit with the batch's name as digest, which the table takes once
    3. the segments that will not grow any more are removed

Whatever is killed, and however many collect at a time, the next call first finishes the last batch and only then looks for
segments, so that no part of one is ever in two batches.

A line that cannot be read holds nothing up: it is kept in `<prefix>/damaged/<batch>-<lines>.jsonl` with the reason, and counted.

    >>> import tempfile
    >>> from perennial import discovery
    >>> from perennial.data.tables import Table
    >>> from perennial.served_tables import predictions_name
    >>> from perennial.store import open_store
    >>> store, model = open_store(tempfile.mkdtemp()), discovery.model("flight_delays")
    >>> store.write("predictions/flight_delays/1.jsonl", b"cut o")
    >>> collect_predictions(store, model, discovery.dataset("flights"), Table(store, predictions_name(model.name)))
    Collected(segments=1, rows=0, damaged=1)
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from perennial.answer_names import answer_names
from perennial.clock import moment_sql, wall_sql
from perennial.column_types import kind_of
from perennial.monitoring.log_lines import Damage, LineField, Piece, Sql, in_pointer, read_lines
from perennial.served_ids import Indexed, write_ids
from perennial.served_log import Batch, Part, Segment, batch_key, finished, first_of, last_batch, read_part, segments, waiting
from perennial.served_tables import INPUT
from perennial.specs import Column, DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

SET_ASIDE = re.compile(r"\d+-(\d+)\.jsonl")
KEPT_BATCHES = 50  # far more than the collectors that could run at a time


Read = Callable[[Iterable[Piece]], "tuple[pa.Table, list[Damage]]"]
Index = Callable[["pa.Table", int], None]


_NUMBER = ("BIGINT", "UBIGINT", "DOUBLE")


def _float(text: str, kind: str) -> str:
    return f"case when isfinite(try_cast({text} as double)) then try_cast({text} as double) end"


def _int(text: str, kind: str) -> str:
    """Whole numbers may be written as 3.0."""
    number = f"try_cast({text} as double)"
    whole = f"when {number} = trunc({number}) then try_cast({number} as bigint)"
    return f"case when {kind} <> 'DOUBLE' then try_cast({text} as bigint) {whole} end"


def _moment(text: str, kind: str) -> str:
    return moment_sql(text)


def _as_it_is(text: str, kind: str) -> str:
    return text


def _bool(text: str, kind: str) -> str:
    return f"{text}::boolean"


TIME = ("VARCHAR",), _moment, "no time"
_FLOAT = _NUMBER, _float, "no number"
_BOOL = ("BOOLEAN",), _bool, "neither true nor false"


class Table(Protocol):
    """The interface that a table must have: exactly-once appends."""

    def version(self) -> int | None:
        """Newest version; None while there is no table."""
        ...

    def append(self, rows: pa.Table, batch_digest: str) -> int:
        """Append a batch unless its digest is in; returns the version that has it."""
        ...

    def has_batch(self, batch_digest: str) -> bool:
        """Whether the batch is in."""
        ...


@dataclass(frozen=True)
class Collected:
    """Counts of what one call collected."""

    segments: int = 0
    rows: int = 0
    damaged: int = 0  # lines that could not be read and are set aside: cut off by a crash, or not of the format

    def __add__(self, other: Collected) -> Collected:
        return Collected(self.segments + other.segments, self.rows + other.rows, self.damaged + other.damaged)


@dataclass(frozen=True)
class SetAside:
    """Lines of a log that could not be read, now and before, as long as their files are kept."""

    lines: int
    newest: str  # store key of the newest file

    @property
    def sentence(self) -> str:
        """A sentence on the unreadable lines, for a person."""
        folder = self.newest.rpartition("/")[0]
        return (
            f"{self.lines} logged lines could not be read and count nowhere: {folder}/ keeps them with the reason of each "
            f"(newest: {self.newest.removeprefix(folder + '/')})."
        )


def set_aside(store: Store, prefix: str) -> SetAside | None:
    """The lines set aside below a prefix; None if there are none."""
    keys = [stored.key for stored in store.list(_damaged(prefix)) if SET_ASIDE.fullmatch(stored.key.rpartition("/")[2])]
    if not keys:
        return None
    return SetAside(sum(int(key.rpartition("-")[2].removesuffix(".jsonl")) for key in keys), max(keys))


def collect_predictions(store: Store, model: ModelSpec, dataset: DatasetSpec, table: Table) -> Collected:
    """Take the finished segments of a model's prediction log into its table.

    Columns: prediction_id, model_version, shadow (no caller saw an answer of the version: it was a shadow's, or a fallback answered),
    served_at (UTC), event_time, scores (list of float), milliseconds, unit (the key that the caller named for experiments), and
    `input_<name>` for each input. Event time and inputs that are times are wall times of the dataset's zone, as in its own table, though
    Arrow calls them UTC: so days are the same days there and here.
    """

    fields = _fields(model, dataset)

    def read(pieces: Iterable[Piece]) -> tuple[pa.Table, list[Damage]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, damaged = read_lines(pieces, fields)
        of_no_version = pc.is_in(rows["fallback"], pa.array(["constant", "rule"]))  # as little the version's answers as a shadow's are
        shadow = pc.or_(pc.fill_null(rows["shadow"], False), pc.fill_null(of_no_version, False))
        filled = {"event_time": pc.coalesce(rows["event_time"], rows["served_wall"]), "shadow": shadow}
        for name, values in filled.items():
            rows = rows.set_column(rows.column_names.index(name), name, values)
        return rows.drop_columns(["line", "served_wall", "fallback"]), damaged

    def index(rows: pa.Table, number: int) -> None:
        write_ids(store, model.name, number, _requests(rows))

    return collect(store, f"predictions/{model.name}", table, read, index)


def _requests(rows: pa.Table) -> list[Indexed]:
    """The requests whose rows these are: a row's id is that of its request, `-` and its place."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(rows["prediction_id"], r"^(?P<request>.*)-(?P<place>\d{1,9})$")
    columns = {
        "id": pc.coalesce(pc.struct_field(parts, "request"), rows["prediction_id"]),
        "version": rows["model_version"],
        "shadow": rows["shadow"],
        "place": pc.coalesce(pc.cast(pc.struct_field(parts, "place"), pa.int64()), 0),
        "time": rows["served_at"],
    }
    requests = pa.table(columns).group_by(["id", "version", "shadow"]).aggregate([("place", "max"), ("time", "min")])
    return [Indexed(one["id"], one["version"], one["place_max"] + 1, one["time_min"], one["shadow"]) for one in requests.to_pylist()]


def prediction_schema(model: ModelSpec, dataset: DatasetSpec) -> pa.Schema:
    """The columns of the table of predictions, for whoever has predictions that no server logged."""
    rows, _ = read_lines([], _fields(model, dataset))
    return rows.drop_columns(["line", "served_wall", "fallback"]).schema


def _fields(model: ModelSpec, dataset: DatasetSpec) -> list[LineField]:
    """The fields of a logged line, as columns."""

    def wall_time(text: str, _: str) -> str:
        return wall_sql(text, dataset.time_zone)

    types: dict[str, tuple[tuple[str, ...], Sql, str]] = {
        "int": (_NUMBER, _int, "no whole number of 64 bits"),
        "float": _FLOAT,
        "string": (("VARCHAR",), _as_it_is, "no text"),
        "timestamp": (("VARCHAR",), wall_time, "no time"),
        "bool": _BOOL,
    }
    width = len(answer_names(model.task, model.classes))

    def how_logged(column: Column) -> tuple[tuple[str, ...], Sql, str]:
        if (kind := kind_of(column.type)) is None:
            return types[column.type]
        json_types, sql, fault = kind.logged
        return json_types, sql(column), fault

    def scores(text: str, _: str) -> str:
        array = f"try_cast({text} as double[])"
        return f"case when len({array}) = {width} and len(list_filter({array}, lambda x: isfinite(x))) = {width} then {array} end"

    return [
        LineField("prediction_id", "/id", ("VARCHAR",), lambda text, _: f"nullif({text}, '')", "no text", required=True),
        LineField(
            "model_version",
            "/version",
            ("BIGINT", "UBIGINT"),
            lambda text, _: f"try_cast({text} as integer)",
            "no number of a version",
            required=True,
        ),
        LineField("shadow", "/shadow", *_BOOL),
        LineField("fallback", "/fallback", ("VARCHAR",), lambda text, _: text, "no text"),
        LineField("served_at", "/time", *TIME, required=True),
        LineField("event_time", "/event_time", ("VARCHAR",), wall_time, "no time"),
        LineField("scores", "/scores", ("ARRAY",), scores, f"no list of {width} numbers", required=True),
        LineField("served_wall", "/time", ("VARCHAR",), wall_time, "no time"),
        LineField("milliseconds", "/ms", *_FLOAT),
        LineField("unit", "/unit", ("VARCHAR",), _as_it_is, "no text"),
        *(LineField(INPUT + name, f"/row/{in_pointer(name)}", *how_logged(dataset.column(name))) for name in model.inputs),
    ]


def collect(store: Store, prefix: str, table: Table, read: Read, index: Index | None = None) -> Collected:
    """Take what is logged directly below a prefix into a table; what comes meanwhile is left to the next call.

    The folder is listed once, unless another collects at the same time.

    Args:
        store: where the segments are.
        prefix: their folder.
        table: where their rows go.
        read: gives the rows of pieces of the log, and those of their lines that are damaged.
        index: is given the rows of each batch, and its number, before they are in the table; after a kill it is given them again.
    """
    total, there = Collected(), None
    while True:
        batch = last_batch(store, prefix)  # before the listing: what earlier ones took is removed by now, what this one took follows
        total += _take(store, prefix, batch, table=table, read=read, index=index)
        listed = segments(store, prefix)
        there = there or {one.name: one.size for one in listed}  # of servers that write faster than is read a call would never end
        listed = [replace(one, size=min(one.size, there[one.name])) for one in _removed(store, prefix, batch, listed) if one.name in there]
        sizes = {one.name: one.size for one in listed}
        parts: Sequence[Part] = waiting(listed, batch.ends)
        while parts:
            batch = batch.after(first_of(parts, sizes), sizes)
            if not store.put_if_absent(batch_key(prefix, batch.number), batch.encoded()):
                break  # another collector wrote one down first: help it finish
            total += _take(store, prefix, batch, table=table, read=read, index=index)
            for part in batch.parts:
                if part.end is None:
                    store.delete(f"{prefix}/{part.name}")
            store.delete(batch_key(prefix, max(batch.number - KEPT_BATCHES, 0)))
            parts = parts[len(batch.parts) :]
        else:
            return total


def _removed(store: Store, prefix: str, batch: Batch, listed: Sequence[Segment]) -> list[Segment]:
    """Remove what is taken whole, now that the batch is in; the segments that are left."""
    whole = {part.name: part.etag for part in batch.parts if part.end is None}
    taken = {one.name for one in listed if one.name in whole and whole[one.name] in ("", one.etag)}
    for one in finished(listed, batch.ends, time.time()):
        stored = store.stat(f"{prefix}/{one.name}")
        if stored and stored.size == one.size:  # a listing of many pages may have been made while it grew
            taken.add(one.name)
    for name in taken:
        store.delete(f"{prefix}/{name}")
    return [one for one in listed if one.name not in taken]


def _take(store: Store, prefix: str, batch: Batch, *, table: Table, read: Read, index: Index | None) -> Collected:
    """Take a batch in, unless it is."""
    digest, lost = f"{prefix}/{batch.number:08d}", list[str]()
    if not batch.parts or table.has_batch(digest):
        return Collected()
    rows, damaged = read(_pieces(store, prefix, batch.parts, lost))
    if lost:  # a segment goes only after the commit: one that is gone was committed by another collector since, or removed by hand
        if table.has_batch(digest):
            return Collected()
        log.error("%d of %d segments of %s are gone before they were taken in.", len(lost), len(batch.parts), prefix)
    if damaged:  # before the commit: whatever is killed, a line is in the table or kept here
        _set_aside(store, f"{_damaged(prefix)}/{batch.number:08d}-{len(damaged)}.jsonl", damaged, batch.parts)
    if index:
        index(rows, batch.number)
    table.append(rows, digest)
    return Collected(len(batch.parts) - len(lost), rows.num_rows, len(damaged))


def _pieces(store: Store, prefix: str, parts: Sequence[Part], lost: list[str]) -> Iterator[Piece]:
    """The bytes of parts, read one after the other; the names of those that are gone are added to `lost`."""
    for place, part in enumerate(parts):
        data = read_part(store, prefix, replace(part, begin=0))
        if data is None:
            lost.append(part.name)
        else:
            yield Piece(place, data[part.begin :], 1 + data.count(b"\n", 0, part.begin))


def _damaged(prefix: str) -> str:
    return f"{prefix}/damaged"


def _set_aside(store: Store, key: str, damaged: list[Damage], parts: Sequence[Part]) -> None:
    lines = [
        json.dumps({"segment": parts[unread.place].name, "line": unread.line, "fault": unread.fault, "text": unread.text})
        for unread in damaged
    ]
    store.write(key, "".join(f"{line}\n" for line in lines).encode())
    log.warning("%d logged lines could not be read and are set aside in %s. The first: %s", len(damaged), key, damaged[0].fault)
