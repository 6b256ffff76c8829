"""Profiles as files: Parquet that any reader opens, written once for each batch when it lands.

One row of such a file is one count. Its columns:

| part | column | other | cell | count |
| --- | --- | --- | --- | --- |
| `rows` | | | 0 | rows of the day |
| `nulls` | column | | 0 | rows without a finite value |
| `cells` | column | | number of the cell (`Grid`, place of the category, or hash) | rows |
| `exact` | column | | place of the value in the layout; one more for all others | rows |
| `unseen` | column | name of a category that the layout does not know | 0 | rows |
| `levels` | | | level of the joint sample | rows |
| `mean`, `square`, `product`, `share`, `cross`, `cos`, `sin` | first name of the sum | second name, if any | level | sum in fixed point |

before which stands `day`, the day (UTC) it belongs to. What is not there is zero. The schema's metadata say `perennial.format`, FORMAT now,
and `perennial.layout`, the digest of the layout on which was counted; the layout itself is JSON.

    >>> import tempfile
    >>> import pyarrow as pa
    >>> from perennial.profiles.layout import fit_layout
    >>> from perennial.profiles.profile import profile
    >>> from perennial.profiles.store import ProfileStore
    >>> from perennial.store import open_store
    >>> rows = pa.table({"day": pa.array([15887, 15887, 15888], pa.date32()), "carrier": ["UA", "AA", "UA"]})
    >>> kept = ProfileStore(open_store(tempfile.mkdtemp()), "flights")
    >>> layout = kept.keep_layout(fit_layout(rows, ["carrier"]))
    >>> kept.write("2013-07.csv", profile(rows, layout, day="day"))
    True
    >>> kept.read().merged().rows
    3

In the store, below `profiles/<name>/`: `layout.json`; `batches/<first day>_<last day>-<mark>.parquet`, one for each batch; `owed/<batch>`,
a batch whose profile is still to be made (`owed/<batch>~<other>`: made again, since another one replaced rows of it);
`versions/<version>.parquet`, all days of one version of a table.
"""

from __future__ import annotations

import functools
import hashlib
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from perennial.errors import StoredDataDamaged
from perennial.profiles.columns import Integers, values_in_memory
from perennial.profiles.layout import Layout
from perennial.profiles.profile import Profile, added
from perennial.profiles.scan import EPOCH
from perennial.profiles.state import LEVELS, ColumnState, JointState, State
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "2"
TOGETHER = 128  # days whose lines are in memory at once
MARK = 12  # letters of a digest that tell batches apart; the table's labels have as many
_BATCH = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)-([0-9a-f]+)\.parquet")
_DIGEST = re.compile(r"[0-9a-f]{64}")


Name = tuple[str, str, str]  # part, column and other


@dataclass
class _Lines:
    """The lines of a profile's Parquet file, as they are collected: of one name after the other, each over all days."""

    of_days: Integers  # since 1970
    names: list[Name] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)  # lines of each name
    days: list[Integers] = field(default_factory=list)
    cells: list[Integers] = field(default_factory=list)
    counts: list[Integers] = field(default_factory=list)

    def add(self, counts: Integers, *names: Name) -> None:
        """Add counts, shape [names, days, cells] or, of one name, [days, cells]. What is zero makes no line."""
        flat, cells = np.ascontiguousarray(counts).reshape(-1), counts.shape[-1]
        places = flat.nonzero()[0]
        of_days, of_cells = np.divmod(places, max(cells, 1))
        of_names, of_days = np.divmod(of_days, len(self.of_days))
        self.names += names
        self.lengths += np.bincount(of_names, minlength=len(names)).tolist()
        self.days.append(self.of_days.take(of_days))
        self.cells.append(of_cells.astype(np.int32))
        self.counts.append(flat.take(places))

    def table(self) -> pa.Table:
        """The lines as a table."""
        import pyarrow as pa

        texts = {text: place for place, text in enumerate(dict.fromkeys(text for name in self.names for text in name))}
        codes = np.array([[texts[text] for text in name] for name in self.names], np.int32)
        named = [
            pa.DictionaryArray.from_arrays(pa.array(np.repeat(codes[:, place], self.lengths)), pa.array(list(texts), pa.string()))
            for place in range(3)
        ]
        numbers = [pa.array(np.concatenate(pieces)) for pieces in (self.days, self.cells, self.counts)]
        return pa.table([numbers[0].cast(pa.date32()), *named, *numbers[1:]], schema=_schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([("day", pa.date32()), ("part", text), ("column", text), ("other", text), ("cell", pa.int32()), ("count", pa.int64())])


def _lines(layout: Layout, days: Sequence[date], states: Sequence[State]) -> pa.Table:
    """The lines of some days."""
    lines = _Lines(np.array([(day - EPOCH).days for day in days], np.int32))
    lines.add(np.array([[state.rows] for state in states]), ("rows", "", ""))
    for name in layout.names:
        columns = [state.columns[name] for state in states]
        lines.add(np.array([[column.nulls] for column in columns]), ("nulls", name, ""))
        lines.add(np.stack([column.cells for column in columns]), ("cells", name, ""))
        lines.add(np.stack([column.exact for column in columns]), ("exact", name, ""))
        for other in sorted({other for column in columns for other in column.unseen}):
            lines.add(np.array([[column.unseen.get(other, 0)] for column in columns]), ("unseen", name, other))
    lines.add(np.stack([state.joint.levels for state in states]), ("levels", "", ""))
    lines.add(np.stack([state.joint.by_level for state in states]).transpose(2, 0, 1), *layout.joint.places)
    return lines.table()


def encode(profile: Profile, facts: dict[str, str] | None = None) -> bytes:
    """A profile by day as Parquet.

    Args:
        profile: its blocks are days.
        facts: further words for the metadata of the schema.
    """
    import pyarrow.parquet as pq

    layout, out = profile.layout, io.BytesIO()
    days, states = list(profile.blocks), list(profile.blocks.values())
    metadata = {"perennial.format": FORMAT, "perennial.layout": layout.digest, **(facts or {})}
    packed = dict.fromkeys(("day", "cell", "count"), "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(
        out, _schema().with_metadata(metadata), compression="zstd", use_dictionary=["part", "column", "other"], column_encoding=packed
    ) as file:
        for first in range(0, len(days), TOGETHER):
            file.write_table(_lines(layout, days[first : first + TOGETHER], states[first : first + TOGETHER]))
    return out.getvalue()


def decode(data: bytes, layout: Layout, key: str = "given") -> Profile:
    """Read a profile from a Parquet file.

    Args:
        data: the file.
        layout: on which it was counted.
        key: where it is, for a sentence.

    Raises:
        StoredDataDamaged: it is no profile, or one of another format or on another layout.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    again = "Delete it: it is made again from the table."
    try:
        table = pq.read_table(io.BytesIO(data), read_dictionary=["part", "column", "other"]).combine_chunks()
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items() if k.startswith(b"perennial.")}
    except (pa.ArrowException, UnicodeDecodeError):
        raise StoredDataDamaged(f"The profile {key} cannot be read: it is no Parquet file. {again}") from None
    if (version := metadata.get("perennial.format")) != FORMAT:
        raise StoredDataDamaged(
            f"The profile {key} has the format {version or 'of no profile'}, and {FORMAT} is what is known here: "
            "use the version that wrote it, or delete it to have it made again from the table."
        )
    if metadata.get("perennial.layout") != layout.digest:
        raise StoredDataDamaged(f"The profile {key} was counted on another layout than the one that is kept beside it. {again}")
    return _assembled(table, layout)


def _assembled(table: pa.Table, layout: Layout) -> Profile:
    """The profile that the lines of a file tell, in whatever order they stand."""
    if not table.num_rows:
        return Profile(layout, {})
    numbers, cells, counts = (
        values_in_memory(table[name].combine_chunks(), kind) for name, kind in (("day", np.int32), ("cell", np.int32), ("count", np.int64))
    )
    earliest = int(numbers.min())
    days = np.bincount(numbers - earliest).nonzero()[0]
    place_of_day = np.zeros(int(days[-1]) + 1, np.int64)
    place_of_day[days] = np.arange(len(days))
    places = place_of_day.take(numbers - earliest)

    width, spans = _row(layout)
    names, of_lines = _names(table)
    counted, unseen = np.zeros((len(days), width), np.int64), {name: [dict[str, int]() for _ in days] for name in layout.names}
    begins, steps = np.array([(0, 0) if name[0] == "unseen" else spans[name] for name in names], np.int64).T
    lines = slice(None)
    if (named := (steps == 0)[of_lines]).any():
        for place, name, n in zip(places[named].tolist(), of_lines[named].tolist(), counts[named].tolist(), strict=True):
            unseen[names[name][1]][place][names[name][2]] = n
        lines = ~named
    of_lines = of_lines[lines]
    counted.reshape(-1)[places[lines] * width + begins.take(of_lines) + steps.take(of_lines) * cells[lines]] = counts[lines]

    states = {}
    for place, day in enumerate(days.tolist()):
        row = counted[place]
        columns = {}
        for column in layout.columns:
            (nulls, _), (begin, _), (exact, _) = (spans[part, column.name, ""] for part in ("nulls", "cells", "exact"))
            listed = len(column.values) + 1 if column.values else 0
            columns[column.name] = ColumnState(
                int(row[nulls]),
                row[begin : begin + column.cells],
                row[exact : exact + listed],
                dict(sorted(unseen[column.name][place].items())),
            )
        levels, sums = row[1 : 1 + LEVELS], row[width - LEVELS * layout.joint.size :].reshape(LEVELS, -1)
        states[EPOCH + timedelta(days=earliest + day)] = State(
            layout, int(row[0]), columns, JointState(levels, sums.reshape(LEVELS, layout.joint.size), layout.joint.rows)
        )
    return Profile(layout, states)


@functools.lru_cache(maxsize=64)
def _row(layout: Layout) -> tuple[int, dict[Name, tuple[int, int]]]:
    """How all counts of a day stand in one row: its width, and for each name the place of cell 0 and the step from a cell to the next."""
    spans: dict[Name, tuple[int, int]] = {("rows", "", ""): (0, 1), ("levels", "", ""): (1, 1)}
    width = 1 + LEVELS
    for column in layout.columns:
        for part, cells in (("nulls", 1), ("cells", column.cells), ("exact", len(column.values) + 1 if column.values else 0)):
            spans[part, column.name, ""] = width, 1
            width += cells
    for name, place in layout.joint.places.items():
        spans[name] = width + place, layout.joint.size
    return width + LEVELS * layout.joint.size, spans


def _names(table: pa.Table) -> tuple[list[Name], Integers]:
    """The names of the lines, and which of them each line has, shape [lines]."""
    columns = [table[name].combine_chunks() for name in ("part", "column", "other")]
    texts = [column.dictionary.to_pylist() for column in columns]
    codes = [values_in_memory(column.indices, np.int32) for column in columns]
    changes = [code[1:] != code[:-1] for code in codes]
    begins = np.concatenate([[0], (changes[0] | changes[1] | changes[2]).nonzero()[0] + 1])
    sizes = tuple(map(len, texts))
    keys, of_runs = np.unique(np.ravel_multi_index([code[begins] for code in codes], sizes), return_inverse=True)
    named = zip(*(places.tolist() for places in np.unravel_index(keys, sizes)), strict=True)
    names = [(texts[0][part], texts[1][column], texts[2][other]) for part, column, other in named]
    return names, np.repeat(of_runs, np.diff(begins, append=len(codes[0])))


def mark_of(batch: str) -> str:
    """The part of a profile's file name that identifies its batch: the beginning of the batch's digest."""
    return (batch if _DIGEST.fullmatch(batch) else hashlib.sha256(batch.encode()).hexdigest())[:MARK]


@dataclass(frozen=True)
class KeptBatch:
    """The profile of one batch in the store."""

    key: str
    mark: str
    first: date
    last: date


@dataclass(frozen=True)
class OwedProfile:
    """The profile of a batch that is still to be made."""

    key: str
    batch: str
    label: str  # what its rows say in the column that names their batch
    because: str = ""  # digest of a later batch that replaced or deleted rows of it


class ProfileStore:
    """Profiles of one table: of a dataset by its name, or of live traffic (`<model>/inputs`, `<model>/scores`, `<model>/outcomes`).

    Args:
        store: where they are.
        name: whose they are.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name, self.folder = store, name, f"profiles/{name}"

    def layout(self) -> Layout | None:
        """The table's layout; None if it is not fixed yet.

        Raises:
            StoredDataDamaged: what is stored is no layout.
        """
        key = f"{self.folder}/layout.json"
        try:
            return Layout.model_validate_json(self.store.read(key))
        except KeyError:
            return None
        except ValidationError as error:
            raise StoredDataDamaged(
                f"The layout {key} cannot be read ({error.error_count()} faults): restore it, "
                f"or delete the folder {self.folder} to have all profiles made again."
            ) from None

    def keep_layout(self, layout: Layout) -> Layout:
        """Fix the table's layout, unless it is fixed already; returns the fixed layout."""
        self.store.put_if_absent(f"{self.folder}/layout.json", layout.model_dump_json().encode())
        return self.layout() or layout

    def owe(self, batch: str, label: str, because: str = "") -> None:
        """Record, before a batch is appended, that its profile must be made.

        Args:
            batch: its digest.
            label: what its rows say in the column that names their batch.
            because: digest of a later batch that is about to replace or delete rows of it; its profile must then be made again.
        """
        self.store.write(f"{self.folder}/owed/{batch}{f'~{because}' if because else ''}", label.encode())

    def owed(self) -> dict[str, str]:
        """The batches whose profile is still to be made: labels by digest."""
        return {owed.batch: owed.label for owed in self.owed_profiles()}

    def owed_profiles(self) -> list[OwedProfile]:
        """The profiles that are still to be made, and why."""
        owed_profiles = []
        for item in self.store.list(f"{self.folder}/owed"):
            batch, _, because = item.key.removeprefix(f"{self.folder}/owed/").partition("~")
            try:
                owed_profiles.append(OwedProfile(item.key, batch, self.store.read(item.key).decode(), because))
            except KeyError:
                continue  # made by another run since the list was read
        return owed_profiles

    def forgive(self, batch: str) -> None:
        """Remove the record that a profile must be made: it exists, or the batch was not appended."""
        self.store.delete(f"{self.folder}/owed/{batch}")

    def settle(self, owed_profiles: Iterable[OwedProfile]) -> None:
        """Remove records of profiles that were made; those that were written since stay."""
        for owed in owed_profiles:
            self.store.delete(owed.key)

    def forgive_others(self, because: str) -> None:
        """Remove the records that profiles of others must be made again because of a batch, which was not appended."""
        self.settle(owed for owed in self.owed_profiles() if owed.because == because)

    def write(self, batch: str, profile: Profile) -> bool:
        """Store the profile of a batch, once; False if it exists already."""
        days = list(profile.blocks) or [date.min]
        key = f"{self.folder}/batches/{days[0]}_{days[-1]}-{mark_of(batch)}.parquet"
        written = self.store.put_if_absent(key, encode(profile, {"perennial.batch": batch}))
        self.forgive(batch)
        return written

    def replace(self, batch: str, profile: Profile) -> None:
        """Store the profile of a batch in place of the one that it has."""
        days = list(profile.blocks) or [date.min]
        key = f"{self.folder}/batches/{days[0]}_{days[-1]}-{mark_of(batch)}.parquet"
        for kept in self.batches():
            if kept.mark == mark_of(batch) and kept.key != key:
                self.store.delete(kept.key)
        self.store.write(key, encode(profile, {"perennial.batch": batch}))

    def remove(self, batch: str) -> None:
        """Remove the profile of a batch that has no rows in the table any more."""
        for kept in self.batches():
            if kept.mark == mark_of(batch):
                self.store.delete(kept.key)
        self.forgive(batch)

    def batches(self, first: date | None = None, last: date | None = None) -> list[KeptBatch]:
        """The profiles of batches that have rows from `first` to `last`, both included; all if absent."""
        kept_batches = []
        for item in self.store.list(f"{self.folder}/batches"):
            name = _BATCH.fullmatch(item.key.rsplit("/", 1)[1])
            if name:
                kept = KeptBatch(item.key, name[3], date.fromisoformat(name[1]), date.fromisoformat(name[2]))
                if (first is None or kept.last >= first) and (last is None or kept.first <= last):
                    kept_batches.append(kept)
        return kept_batches

    def has(self, batch: str) -> bool:
        """Whether a batch has a profile."""
        return mark_of(batch) in {kept.mark for kept in self.batches()}

    def open(self, kept: KeptBatch, layout: Layout) -> Profile:
        """The profile of one batch. Raises StoredDataDamaged."""
        return decode(self.store.read(kept.key), layout, kept.key)

    def read(self, first: date | None = None, last: date | None = None, marks: Collection[str] | None = None) -> Profile | None:
        """The profile by day from `first` to `last`, both included, summed over batches; None if there is no layout yet.

        Args:
            first: first day; from the beginning if absent.
            last: last day; to the end if absent.
            marks: batches that count; all if absent.

        Raises:
            StoredDataDamaged: a profile cannot be read.
        """
        if (layout := self.layout()) is None:
            return None
        kept = [b for b in self.batches(first, last) if marks is None or b.mark in marks]
        return added((self.open(batch, layout) for batch in kept), layout).select(first, last)

    def version_key(self, version: int, part: str = "") -> str:
        """Store key of the profile of a table version, or of a part of it such as `1of4`."""
        return f"{self.folder}/versions/{version}{f'/{part}' if part else ''}.parquet"
