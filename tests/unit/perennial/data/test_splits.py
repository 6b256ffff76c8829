"""The split of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perennial.data.merging import Rule
from perennial.data.row_counts import RowCounts
from perennial.data.snapshots import Snapshot, latest_snapshot
from perennial.data.splits import part_of, split
from perennial.data.tables import Table
from perennial.errors import TrainingRefused
from perennial.specs import DatasetSpec, GateSpec, ModelSpec, SplitSpec
from perennial.store import FolderStore

MakeRows = Callable[..., pa.Table]

FEATURES = SimpleNamespace(label=lambda columns: np.asarray(columns["amount"], dtype=float))


def model(**cut: object) -> ModelSpec:
    return ModelSpec(
        name="amounts", title="Amounts", owner="tests", dataset="sales", task="regression", inputs=("shop",), label="amount",
        gate=GateSpec(metric="rmse", floors={}),
        split=SplitSpec(**{"test_days": 2, "validation_days": 3, "min_train_rows": 5, **cut}),
    )  # fmt: skip


def test_a_row_trains_once_its_label_replaced_a_missing_one(store: FolderStore, spec: DatasetSpec, make_days: MakeRows) -> None:
    """DM-03, DM-12: The same row comes again with its label; the snapshot from before stays without."""
    table, rule = Table(store, "sales"), Rule(spec.key, by_row=True, on_known_key="replace")
    table.merge(make_days(12, unlabelled_last=3), "rows", rule, event_time="sold")
    known = make_days(12)
    assert table.merge(known, "labels", rule, event_time="sold").counts == RowCounts(replaced=72, unchanged=216)
    before, now = (split(Snapshot(spec, version, store), model(), FEATURES) for version in (1, 2))
    assert (before.bounds["test"], now.bounds["test"]) == (["2013-01-08", "2013-01-10"], ["2013-01-11", "2013-01-13"])
    assert sorted(now.test["amount"]) == known["amount"].to_pylist()[-48:]


@pytest.mark.parametrize("most", [0.0, 0.5])
def test_labels_that_are_no_class_are_counted(store: FolderStore, spec: DatasetSpec, most: float, make_days: MakeRows) -> None:
    """DM-10: Of the days that are used, to the newest; a label that is not there yet is none of them. More than the spec allows is refused,
    by value."""
    rows = make_days(12, unlabelled_last=1)
    shops = [
        "Fair" if place % 24 == 5 and place > 47 else None if place % 24 == 6 else "Good" if place % 2 else "Ideal" for place in range(288)
    ]
    Table(store, "sales").append(rows.set_column(1, "shop", pa.array(shops)), "one")
    found = latest_snapshot(store, spec)
    assert found is not None
    classes = {"Good": 0.0, "Ideal": 1.0}
    features = SimpleNamespace(label=lambda columns: [classes.get(value, np.nan) for value in columns["shop"]])
    wanted = model(train_days=5, max_unknown_labels=most).model_copy(update={"task": "binary", "classes": tuple(classes), "label": "shop"})
    if not most:
        with pytest.raises(
            TrainingRefused,
            match=r"10 of 230 labels \(4.3%\) are no class and left out: `Fair` \(10\), and 0.0% may be. The classes are Good, Ideal",
        ):
            split(found, wanted, features)
        return
    assert split(found, wanted, features).unknown.as_json() == {"rows": 10, "of": 230, "values": {"Fair": 10}}


def test_the_split_is_by_whole_days_without_overlap(snapshot: Snapshot) -> None:
    """DM-12: Newest days are tested on, those before validate, all others train; every row is in one part."""
    parts = split(snapshot, model(), FEATURES)
    assert parts.bounds == {
        "train": ["2013-01-01", "2013-01-08"],
        "validation": ["2013-01-08", "2013-01-11"],
        "test": ["2013-01-11", "2013-01-13"],
    }
    assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [7 * 24, 3 * 24, 2 * 24]
    assert parts.train["sold"].max() < parts.validation["sold"].min()
    assert parts.validation["sold"].max() < parts.test["sold"].min()


def test_train_days_bound_the_past(snapshot: Snapshot) -> None:
    """DM-12: Older days are left out."""
    parts = split(snapshot, model(train_days=2), FEATURES)
    assert parts.bounds["train"] == ["2013-01-06", "2013-01-08"]
    assert len(parts.train) == 48


def test_rows_without_a_label_are_left_out(store: FolderStore, spec: DatasetSpec, make_days: MakeRows) -> None:
    """DM-12: The last test day is the newest day whose label is known."""
    Table(store, "sales").append(make_days(12, unlabelled_last=3), "one")
    parts = split(Snapshot(spec, 1, store), model(), FEATURES)
    assert parts.bounds["test"] == ["2013-01-08", "2013-01-10"]
    assert not parts.test["amount"].isna().any()


@pytest.mark.parametrize(
    ("count", "labelled", "said"),
    [
        (3, 3, "is too small for amounts: 0 rows for train, .* it needs 5 for train"),
        (2, 0, "no row with a known amount: ingest batches that have outcomes"),
    ],
)
def test_too_little_is_refused(store: FolderStore, spec: DatasetSpec, count: int, labelled: int, said: str, make_days: MakeRows) -> None:
    """DM-12: The sentence counts and says what to do."""
    Table(store, "sales").append(make_days(count, unlabelled_last=count - labelled), "one")
    with pytest.raises(TrainingRefused, match=said):
        split(Snapshot(spec, 1, store), model(), FEATURES)


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([(10, 11)], "has gaps: no row of 2013-01-10 to 2013-01-11 has a known amount, so amounts has .* 0 rows for validation"),
        ([(8, 8), (10, 11)], "no row of 2013-01-10 to 2013-01-11 has .* 0 rows for validation"),
        ([(3, 9)], "no row of 2013-01-03 to 2013-01-09 has a known amount, so amounts has 48 rows for train"),
    ],
)
def test_days_that_lack_are_named(
    store: FolderStore, spec: DatasetSpec, make_days: MakeRows, gaps: list[tuple[int, int]], said: str
) -> None:
    """DM-12: A snapshot with a gap is not too small: it lacks these days, as far as they are why a part has too few rows."""
    rows = make_days(12)
    days = pc.day(rows["sold"]).to_numpy()
    out = np.zeros(len(rows), bool)
    for first, last in gaps:
        out |= (days >= first) & (days <= last)
    Table(store, "sales").append(rows.filter(pa.array(~out)), "one")
    with pytest.raises(TrainingRefused, match=said):
        split(Snapshot(spec, 1, store), model(test_days=1, validation_days=2, min_train_rows=70), FEATURES)


@pytest.fixture
def make_shops(make_days: MakeRows) -> MakeRows:
    """Rows of so many shops, all of one day."""

    def shops(count: int, rows_each: int = 4) -> pa.Table:
        names = [f"shop {n}" for n in range(count) for _ in range(rows_each)]
        rows = make_days(len(names) // 24 + 1).slice(0, len(names))
        day = pa.array(np.datetime64("2013-01-01", "us") + np.arange(len(names)).astype("timedelta64[s]"))
        return rows.set_column(0, "sold", day).set_column(1, "shop", pa.array(names))

    return shops


BY_SHOP = {"by": "group", "group": ("shop",)}


def by(**cut: object) -> ModelSpec:
    """The model, split otherwise than by time."""
    return model().model_copy(update={"split": SplitSpec(**{"min_train_rows": 5, **cut})})


def cut_of(store: FolderStore, spec: DatasetSpec, wanted: ModelSpec) -> dict[str, pa.Table]:
    found = latest_snapshot(store, spec)
    assert found is not None
    parts = split(found, wanted, FEATURES)
    return {"train": parts.train, "validation": parts.validation, "test": parts.test}


def test_groups_never_straddle_and_keep_their_part(store: FolderStore, spec: DatasetSpec, make_shops: MakeRows) -> None:
    """DM-12: All rows of a group are in one part, shares are about as asked, and new rows change nobody's part."""
    Table(store, "sales").append(make_shops(200), "one")
    before = {name: set(part["shop"]) for name, part in cut_of(store, spec, by(**BY_SHOP)).items()}
    assert sum(map(len, before.values())) == 200
    assert not before["train"] & before["test"] | before["train"] & before["validation"] | before["test"] & before["validation"]
    assert 25 <= len(before["test"]) <= 55
    assert 8 <= len(before["validation"]) <= 35
    Table(store, "sales").append(make_shops(300, 1), "two")
    after = {name: set(part["shop"]) for name, part in cut_of(store, spec, by(**BY_SHOP)).items()}
    assert all(before[name] <= after[name] for name in before)


def test_rows_keep_their_part_by_their_key(store: FolderStore, spec: DatasetSpec, make_days: MakeRows) -> None:
    """DM-12: At random each row by its key, whatever else is in the snapshot; another seed gives another assignment."""
    Table(store, "sales").append(make_days(5), "one")
    before = cut_of(store, spec, by(by="random"))
    Table(store, "sales").append(make_days(5, datetime(2013, 2, 1)), "two")
    after = cut_of(store, spec, by(by="random"))
    assert all(set(before[name]["sold"]) < set(after[name]["sold"]) for name in before)
    assert set(cut_of(store, spec, by(by="random", seed=1))["test"]["sold"]) != set(after["test"]["sold"])


def test_a_group_is_the_same_whether_or_not_others_are_missing(spec: DatasetSpec) -> None:
    """DM-12: Whole numbers come as floats where one of them is missing; a missing value is a group of its own."""
    whole, gaps = pd.DataFrame({"items": [1, 2, 3, 2]}), pd.DataFrame({"items": [1.0, 2.0, 3.0, 2.0, np.nan, np.nan]})
    cut = SplitSpec(by="group", group=("items",), test_share=0.4, validation_share=0.3)
    parts = part_of(gaps, cut, spec).tolist()
    assert part_of(whole, cut, spec).tolist() == parts[:4]
    assert parts[4] == parts[5]
    assert parts[1] == parts[3]


def test_too_few_groups_are_refused(store: FolderStore, spec: DatasetSpec, make_shops: MakeRows) -> None:
    """DM-12: A part without a group cannot be trained or tested on: the sentence names the column."""
    Table(store, "sales").append(make_shops(1, 24), "one")
    with pytest.raises(TrainingRefused, match=r"it needs 5 for train, and some shop for each part\. Ingest more"):
        cut_of(store, spec, by(**BY_SHOP))
