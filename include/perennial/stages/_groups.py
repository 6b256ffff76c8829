"""The groups that a dataset's spec names: how many rows of each are in the table, and what a version's snapshot says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perennial.answer_names import outcome_names
from perennial.quality.groups import (
    MISSING,
    MOST_GROUPS,
    GroupCounts,
    counts_of,
    coverage,
    label_rates,
    missingness,
    names_of,
)
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas

    from perennial.profiles.state import State

NEWEST_BATCHES = 200  # by which it is known what is usual


def usual_groups(store: Store, spec: DatasetSpec) -> dict[str, GroupCounts]:
    """Rows by group of the newest batches that are in the table, for each column in `groups` of the spec that it has.

    They are those of the profiles that are kept; of a small table, which has none, its rows are counted.
    """
    from perennial.data.snapshots import table_of
    from perennial.profiles.store import ProfileStore

    if not spec.groups:
        return {}
    kept = ProfileStore(store, spec.name)
    layout = kept.layout()
    states = []
    if layout:
        newest = sorted(kept.batches(), key=lambda batch: (batch.last, batch.key))[-NEWEST_BATCHES:]
        states = [kept.open(batch, layout).merged() for batch in newest]
    usual, unknown = {}, []
    for group in spec.groups:
        by_batch = [_of_state(state, group.column) for state in states]
        counts = [batch for batch in by_batch if batch is not None]
        if counts and len(counts) == len(by_batch):
            usual[group.column] = GroupCounts(_added(counts), counts)
        else:
            unknown.append(group.column)
    table = table_of(store, spec)
    if unknown and table.version():
        usual |= _of_table(table, unknown)
    return usual


def _of_state(state: State, column: str) -> dict[str, int] | None:
    """Rows by group as a profile has counted them; None if it did not by name."""
    if column not in state.columns:
        return None
    counted, layout = state.columns[column], state.layout.column(column)
    if layout.kind == "category":
        if layout.hashed:
            return None
        counts = dict(zip(layout.categories, counted.cells.tolist(), strict=False)) | counted.unseen
    else:
        counts = {str(int(value)): int(n) for value, n in zip(layout.values, counted.exact.tolist(), strict=False)}
    if sum(counts.values()) != counted.cells.sum():  # of some rows the names were not kept
        return None
    return {name: n for name, n in {**counts, MISSING: counted.nulls}.items() if n}


def _of_table(table: Any, columns: list[str]) -> dict[str, GroupCounts]:
    from perennial.data.merging import BATCH

    frame = table.scan([*columns, BATCH]).to_pandas()
    usual = {}
    for column in columns:
        by_batch = [counts_of(values) for _, values in frame.groupby(BATCH, sort=False)[column]]
        usual[column] = GroupCounts(_added(by_batch), by_batch[-NEWEST_BATCHES:])
    return usual


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for batch in counts:
        total.update(batch)
    return dict(total)


def groups_of_snapshot(
    spec: ModelSpec,
    dataset: DatasetSpec,
    train: pandas.DataFrame,
    test: pandas.DataFrame,
    labels: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Coverage, labels and gaps by group, of the rows that a version learned from and those that it was measured on, as JSON carries it.

    Args:
        spec: of the model.
        dataset: names the columns.
        train: rows of the training part.
        test: rows of the test part, whose shares are compared with those.
        labels: class number or value of each row by part, NaN where it is not known.
    """
    import numpy as np
    import pandas

    lines = []
    for group in dataset.groups:
        if group.column not in train.columns:
            continue
        parts = {"train": train, "test": test}
        names = {part: names_of(rows[group.column]) for part, rows in parts.items()}
        counts = {part: counts_of(names[part]) for part in parts}
        if len({*counts["train"], *counts["test"]}) > MOST_GROUPS:
            lines.append({"column": group.column, "too_many": len({*counts["train"], *counts["test"]})})
            continue
        shares = coverage(group.column, counts["test"], GroupCounts(counts["train"]))
        every = pandas.concat([train, test], ignore_index=True)
        gaps = {
            c.name: every[c.name].isna().to_numpy() for c in dataset.columns if c.nullable and c.name in every and c.name != group.column
        }
        lines.append(
            {
                "column": group.column,
                "shares": [
                    {"group": each.group, "train": counts["train"].get(each.group, 0), "test": each.rows, "share": each.share,
                     "low": each.low, "high": each.high, "usual": each.usual, "state": each.state}
                    for each in shares.groups
                ],
                "effect": shares.effect,
                "p": shares.p,
                "labels": label_rates(names["train"] + names["test"], np.concatenate([labels["train"], labels["test"]]),
                                      outcome_names(spec.task, spec.classes)),
                "gaps": missingness(names["train"] + names["test"], gaps),
            }
        )  # fmt: skip
    return lines
