"""Collects the log segments of servers into one Delta table of predictions, each row exactly once.

Servers write a segment a second; a commit for each would drown the table in versions. So segments are taken in batches:

    1. the batch is written down, `<prefix>/batches/<number>.json`, by put-if-absent: it names its segments
    2. their rows are appended in one commit with the batch's name as digest, which the table takes once
    3. the segments are removed

Whatever is killed, and however many collect at a time, the next call first finishes the last batch and only then looks for
segments, so that no segment is ever in two batches.

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
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from perennial.answer_names import answer_names
from perennial.clock import moment_sql, wall_sql
from perennial.column_types import kind_of
from perennial.errors import StoredDataDamaged
from perennial.monitoring.log_lines import Damage, LineField, Sql, in_pointer, read_lines
from perennial.served_ids import Indexed, write_ids
from perennial.served_tables import INPUT
from perennial.specs import Column, DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

SEGMENT = re.compile(r"[^/]+\.jsonl")
SET_ASIDE = re.compile(r"\d+-(\d+)\.jsonl")
MAX_BATCH_BYTES, MAX_BATCH_SEGMENTS = 256 << 20, 5000
KEPT_BATCHES = 50  # far more than the collectors that could run at a time


Read = Callable[[Sequence[Path]], "tuple[pa.Table, list[Damage]]"]
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

    def read(files: Sequence[Path]) -> tuple[pa.Table, list[Damage]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, damaged = read_lines(files, fields)
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
    """Take every segment that is directly below a prefix into a table, then remove it; one that comes meanwhile is left to the next call.

    Args:
        store: where the segments are.
        prefix: their folder.
        table: where their rows go.
        read: gives the rows of files, and those of their lines that are damaged.
        index: is given the rows of each batch, and its number, before they are in the table; after a kill it is given them again.
    """
    total = Collected()
    there = frozenset(name for name, _ in _segments(store, prefix))  # of servers that write faster than is read a call would never end
    number, segments = _last_batch(store, prefix)
    while True:
        if segments:
            total += _finish(store, prefix, number, segments, table=table, read=read, index=index)
        segments = _waiting(store, prefix, there)
        if not segments:
            return total
        number += 1
        if not store.put_if_absent(_batch(prefix, number), json.dumps({"segments": segments}).encode()):
            number, segments = _last_batch(store, prefix)  # another collector wrote one down first: help it finish
        store.delete(_batch(prefix, max(number - KEPT_BATCHES, 0)))


def _last_batch(store: Store, prefix: str) -> tuple[int, list[str]]:
    keys = [stored.key for stored in store.list(f"{prefix}/batches")]
    if not keys:
        return 0, []
    try:
        segments: list[str] = json.loads(store.read(keys[-1]))["segments"]
    except (ValueError, KeyError, TypeError):
        raise StoredDataDamaged(f"{keys[-1]} does not say which logged files it is of. Restore it from a copy of the store.") from None
    return int(Path(keys[-1]).stem), segments


def _segments(store: Store, prefix: str) -> Iterator[tuple[str, int]]:
    """Names and sizes, bytes."""
    for stored in store.list(prefix):
        name = stored.key.removeprefix(f"{prefix}/")
        if SEGMENT.fullmatch(name):
            yield name, stored.size


def _waiting(store: Store, prefix: str, there: Collection[str]) -> list[str]:
    """The first of some segments, as many as make a batch, that no other collector has taken."""
    names, total = [], 0
    for name, size in _segments(store, prefix):
        if name in there:
            names.append(name)
            total += size
            if total >= MAX_BATCH_BYTES or len(names) >= MAX_BATCH_SEGMENTS:
                break
    return names


def _batch(prefix: str, number: int) -> str:
    return f"{prefix}/batches/{number:08d}.json"


def _finish(store: Store, prefix: str, number: int, segments: list[str], *, table: Table, read: Read, index: Index | None) -> Collected:
    digest, done = f"{prefix}/{number:08d}", Collected()
    if not table.has_batch(digest):
        with tempfile.TemporaryDirectory(prefix="perennial-segments-") as folder:
            files = [file for name in segments if _downloaded(store, f"{prefix}/{name}", file := Path(folder, name))]
            # A segment goes only after the commit: one that is gone was committed by another collector since, or removed by hand.
            if len(files) == len(segments) or not table.has_batch(digest):
                if len(files) < len(segments):
                    log.error(
                        "%d of %d segments of %s are gone before they were taken in.", len(segments) - len(files), len(segments), prefix
                    )
                rows, damaged = read(files)
                if damaged:  # before the commit: whatever is killed, a line is in the table or kept here
                    _set_aside(store, f"{_damaged(prefix)}/{number:08d}-{len(damaged)}.jsonl", damaged, segments)
                if index:
                    index(rows, number)
                table.append(rows, digest)
                done = Collected(len(files), rows.num_rows, len(damaged))
    for name in segments:
        store.delete(f"{prefix}/{name}")
    return done


def _downloaded(store: Store, key: str, file: Path) -> bool:
    try:
        store.download(key, file)
    except KeyError:
        return False
    return True


def _damaged(prefix: str) -> str:
    return f"{prefix}/damaged"


def _set_aside(store: Store, key: str, damaged: list[Damage], segments: list[str]) -> None:
    lines = [
        json.dumps({"segment": segments[unread.file], "line": unread.line, "fault": unread.fault, "text": unread.text})
        for unread in damaged
    ]
    store.write(key, "".join(f"{line}\n" for line in lines).encode())
    log.warning("%d logged lines could not be read and are set aside in %s. The first: %s", len(damaged), key, damaged[0].fault)
