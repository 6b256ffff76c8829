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

import hashlib
import io
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from perennial.errors import StoredDataDamaged
from perennial.profiles.columns import Integers
from perennial.profiles.layout import Layout
from perennial.profiles.profile import Profile, added
from perennial.profiles.scan import EPOCH
from perennial.profiles.state import LEVELS, ColumnState, JointState, State
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "2"
MARK = 12  # letters of a digest that tell batches apart; the table's labels have as many
_BATCH = re.compile(r"(\d{4}-\d\d-\d\d)_(\d{4}-\d\d-\d\d)-([0-9a-f]+)\.parquet")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class _Lines:
    """The rows of a profile's Parquet file, as they are collected."""

    texts: dict[str, int]
    parts: list[tuple[Integers, Integers, Integers, Integers, Integers, Integers]]

    def code(self, text: str) -> int:
        return self.texts.setdefault(text, len(self.texts))

    def add(self, day: int, part: str, column: str, counts: Integers, other: str = "") -> None:
        cells = np.flatnonzero(counts)
        codes = [np.full(len(cells), value, np.int64) for value in (day, self.code(part), self.code(column), self.code(other))]
        self.parts.append((codes[0], codes[1], codes[2], codes[3], cells, counts[cells]))


def encode(profile: Profile, facts: dict[str, str] | None = None) -> bytes:
    """A profile by day as Parquet.

    Args:
        profile: its blocks are days.
        facts: further words for the metadata of the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines, joint = _Lines({}, []), profile.layout.joint
    named = np.array([tuple(map(lines.code, names)) for names in joint.places], np.int64).reshape(-1, 3)
    for label, state in profile.blocks.items():
        day = (label - EPOCH).days
        lines.add(day, "rows", "", np.array([state.rows]))
        for name, column in state.columns.items():
            lines.add(day, "nulls", name, np.array([column.nulls]))
            lines.add(day, "cells", name, column.cells)
            lines.add(day, "exact", name, column.exact)
            for other, n in column.unseen.items():
                lines.add(day, "unseen", name, np.array([n]), other)
        lines.add(day, "levels", "", state.joint.levels)
        level, number = np.nonzero(state.joint.by_level)
        lines.parts.append((np.full(len(level), day, np.int64), *named[number].T, level, state.joint.by_level[level, number]))
    days, *codes, cells, counts = (
        (np.concatenate(pieces) for pieces in zip(*lines.parts, strict=True)) if lines.parts else [np.zeros(0)] * 6
    )
    texts = pa.array(list(lines.texts), pa.string())
    table = pa.table(
        {
            "day": pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32()),
            **{
                name: pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), texts)
                for name, numbers in zip(("part", "column", "other"), codes, strict=True)
            },
            "cell": pa.array(cells.astype(np.int32)),
            "count": pa.array(counts.astype(np.int64)),
        }
    )
    metadata = {"perennial.format": FORMAT, "perennial.layout": profile.layout.digest, **(facts or {})}
    out = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), out, compression="zstd")
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
    days = table["day"].cast("int32").to_numpy().astype(np.int64)
    codes, texts = {}, {}
    for name in ("part", "column", "other"):
        array = table[name].combine_chunks() if table.num_rows else None
        texts[name] = [] if array is None else array.dictionary.to_pylist()
        codes[name] = np.zeros(0, np.int64) if array is None else array.indices.to_numpy().astype(np.int64)
    cells, counts = table["cell"].to_numpy(), table["count"].to_numpy()
    known, place = np.unique(days, return_inverse=True)
    # One key for each (part, column, other); what is left of the loop is over keys, not over lines.
    key = (codes["part"] * max(len(texts["column"]), 1) + codes["column"]) * max(len(texts["other"]), 1) + codes["other"]
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.concatenate([[True], key[order][1:] != key[order][:-1]])) if len(key) else np.zeros(0, np.int64)
    rows, levels = np.zeros(len(known), np.int64), np.zeros((len(known), LEVELS), np.int64)
    by_level = np.zeros((len(known), LEVELS, layout.joint.size), np.int64)
    nulls = {column.name: np.zeros(len(known), np.int64) for column in layout.columns}
    by_cell = {
        "cells": {column.name: np.zeros((len(known), column.cells), np.int64) for column in layout.columns},
        "exact": {
            column.name: np.zeros((len(known), len(column.values) + 1 if column.values else 0), np.int64) for column in layout.columns
        },
    }
    unseen: dict[str, list[dict[str, int]]] = {column.name: [{} for _ in known] for column in layout.columns}
    for begin, end in zip(begins, [*begins[1:], len(key)][: len(begins)], strict=True):
        lines = order[begin:end]
        first = lines[0]
        part, column, other = (texts[name][codes[name][first]] for name in ("part", "column", "other"))
        where, cell, count = place[lines], cells[lines], counts[lines]
        if part == "rows":
            rows[where] = count
        elif part == "levels":
            levels[where, cell] = count
        elif part == "nulls":
            nulls[column][where] = count
        elif part in ("cells", "exact"):
            by_cell[part][column][where, cell] = count
        elif part == "unseen":
            for i, n in zip(where, count, strict=True):
                unseen[column][i][other] = int(n)
        else:
            by_level[where, cell, layout.joint.places[part, column, other]] = count
    states = {}
    for i, day in enumerate(known):
        columns = {
            name: ColumnState(
                int(nulls[name][i]), by_cell["cells"][name][i], by_cell["exact"][name][i], dict(sorted(unseen[name][i].items()))
            )
            for name in layout.names
        }
        states[EPOCH + timedelta(days=int(day))] = State(
            layout, int(rows[i]), columns, JointState(levels[i], by_level[i], layout.joint.rows)
        )
    return Profile(layout, states)


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
