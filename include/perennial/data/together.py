"""Batches that go into a table in one commit: each keeps its digest, its label and its facts, and can be taken out alone.

Only batches of which every row is simply added go together. Which they are is decided here; `tables.py` commits.

    >>> import pyarrow as pa
    >>> monday, tuesday, again = (Staged(d, d, pa.table({"ride": rides}), {}) for d, rides in {"m": [1, 2], "t": [3], "a": [2]}.items())
    >>> [batch.digest for batch in going([monday, tuesday, again], pa.table({"ride": [3]}), ["ride"])]
    ['m']
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from perennial.data.merging import BATCH, matches

TOGETHER = "perennial.batches"  # fact of a commit of several batches, as JSON: the facts of each, in their order


@dataclass(frozen=True)
class Staged:
    """A batch that is ready to be appended."""

    digest: str
    label: str
    rows: pa.Table  # one for each key
    facts: Mapping[str, str]  # further ones, for the commit
    same: tuple[str, ...] = ()  # names of those that every batch of the dataset has alike

    @property
    def said(self) -> dict[str, str]:
        """What the commit tells of it, as if it were the commit of this batch alone."""
        own = {"batch": self.digest, "label": self.label, "rows": str(self.rows.num_rows), **self.facts}
        return {f"perennial.{name}": value for name, value in own.items()}

    @property
    def of_all(self) -> dict[str, str]:
        """The facts that every batch of the dataset has alike, as the commit tells them of itself."""
        return {f"perennial.{name}": self.facts[name] for name in self.same if name in self.facts}


def going(batches: Sequence[Staged], known: pa.Table, key: Sequence[str]) -> list[Staged]:
    """The batches of which no key is in the table, nor in a batch before them: all others are for a commit of their own.

    Args:
        batches: in their order.
        known: the keys of the table's rows, as far as they may be the same.
        key: columns that tell rows apart; none if nothing does.
    """
    if not key or not batches:
        return list(batches)
    places = np.repeat(np.arange(len(batches)), [batch.rows.num_rows for batch in batches])
    keys = pa.concat_tables([batch.rows.select(list(key)) for batch in batches], promote_options="default")
    out = set(places[matches(keys, known, key)[0]].tolist()) if known.num_rows else set[int]()
    if keys.group_by(list(key)).aggregate([]).num_rows < keys.num_rows:
        one, other = matches(keys, keys, key)
        out |= set(places[one][places[one] > places[other]].tolist())
    return [batch for place, batch in enumerate(batches) if place not in out]


def joined(batches: Sequence[Staged]) -> pa.Table:
    """The rows of all, each with the label of its batch; a column that one of them lacks is null in its rows."""
    labelled = [batch.rows.append_column(BATCH, pa.repeat(pa.scalar(batch.label, pa.string()), batch.rows.num_rows)) for batch in batches]
    return pa.concat_tables(labelled, promote_options="default")


def facts_of(commit: Mapping[str, str]) -> list[dict[str, str]]:
    """The facts of each batch that a commit took in, newest first; none of a commit that took in none."""
    if "perennial.batch" in commit:
        return [dict(commit)]
    if TOGETHER in commit:
        return list(reversed(json.loads(commit[TOGETHER])))
    return []
