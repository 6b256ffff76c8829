"""Rows with their labels, read part by part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import WriterProperties, write_deltalake

from perennial.data import tables
from perennial.data.labelled_rows import LabelledRows
from perennial.data.labels import UnknownByDay
from perennial.data.snapshots import Snapshot, label_of, unknown_of
from perennial.data.splits import part_of, split
from perennial.data.tables import Statistics, Table
from perennial.errors import StoredDataDamaged, StoreUnreachable
from perennial.specs import DatasetSpec, GateSpec, ModelSpec, SplitSpec
from perennial.store import FolderStore

MakeRows = Callable[..., pa.Table]
Label = Callable[[Any], Any]


def model(**cut: Any) -> ModelSpec:
    return ModelSpec(
        name="amounts", title="Amounts", owner="tests", dataset="sales", task="regression", inputs=("shop",), label="amount",
        gate=GateSpec(metric="rmse", floors={}), split=SplitSpec(**{"test_days": 2, "validation_days": 3, "min_train_rows": 5, **cut}),
    )  # fmt: skip


def read_by(snapshot: Snapshot, label: Label, **given: Any) -> tuple[np.ndarray, set[str]]:
    """All labels, and the columns that were read for them."""
    rows = LabelledRows(snapshot, model(), SimpleNamespace(label=label))
    labels = rows.whole_pass(lambda: np.concatenate([part.labels for part in rows.read(**given)]))
    return labels, rows.columns


@pytest.mark.parametrize(
    ("label", "read"),
    [
        (lambda columns: columns["items"], {"items"}),
        (lambda columns: columns.get("items"), {"items"}),
        (lambda columns: columns.get("nothing", columns["items"]), {"items"}),
        (lambda columns: columns["items"] if "open" in columns and "nothing" not in columns else None, {"items"}),
        (lambda columns: columns["items"] if columns["amount"].max() > 60 else columns["amount"] * 0 + 1, {"items"}),
        (lambda columns: {**columns}["items"], {"items", "open", "shop"}),
        (lambda columns: dict(columns)["items"], {"items", "open", "shop"}),
        (lambda columns: (columns | {"more": 1})["items"], {"items", "open", "shop"}),
        (lambda columns: ({"more": 1} | columns)["items"], {"items", "open", "shop"}),
        (lambda columns: next(values for name, values in columns.items() if name == "items"), {"items", "open", "shop"}),
        (lambda columns: columns[next(name for name in columns if name == "items")], {"items", "open", "shop"}),
        (lambda columns: columns["items"] if len(columns) == 5 else None, {"items", "open", "shop"}),
        (lambda columns: columns.pop("items"), {"items", "open", "shop"}),
        (lambda columns: pd.DataFrame(columns)["items"], {"items", "open", "shop"}),
        (lambda columns: columns.setdefault("items"), {"items", "open", "shop"}),
    ],
)
def test_what_a_label_reads_is_read(snapshot: Snapshot, label: Label, read: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """OP-10: By whatever way it asks for columns, of all rows or first of later ones, and no other."""
    monkeypatch.setattr(tables, "PART_ROWS", 50)
    labels, columns = read_by(snapshot, label)
    assert labels.tolist() == [1.0] * 288
    assert columns == {"sold", "amount"} | read


def test_a_column_that_is_not_there_is_the_label_s_own_mistake(snapshot: Snapshot) -> None:
    """DE-15: It sees the error that any dict gives."""
    with pytest.raises(KeyError, match="nothing"):
        read_by(snapshot, lambda columns: columns["nothing"])


def test_rows_are_told_by_day(snapshot: Snapshot) -> None:
    """DM-12: From the first moment on, up to the last one."""
    labels, _ = read_by(snapshot, lambda columns: columns["amount"], since=datetime(2013, 1, 2), until=datetime(2013, 1, 3))
    assert sorted(labels) == list(range(24, 48))


def test_files_are_held_against_their_hashes_before_they_are_read(snapshot: Snapshot) -> None:
    """MO-17: The files of the days that are read, each once."""
    damaged = next(file for file in snapshot.table.files(snapshot.version) if file["max.sold"] < datetime(2013, 1, 5))
    path = Path(snapshot.store.root, "tables/sales", damaged["path"])
    path.write_bytes(path.read_bytes()[:-1])
    rows = LabelledRows(snapshot, model(), SimpleNamespace(label=lambda columns: columns["amount"]), vouched=True)
    assert sum(len(part.labels) for part in rows.read(since=datetime(2013, 1, 5))) == 192
    with pytest.raises(StoredDataDamaged, match=f"{damaged['path']} was changed after it was written"):
        list(rows.read())


def days_of_shops(spec: DatasetSpec, folder: Path, *, days: int = 24, row_group: int = 96) -> Snapshot:
    """One file: a sale of four shops each hour, in row groups of whole days."""
    hours = [datetime(2013, 1, 1) + timedelta(hours=hour) for hour in range(24 * days)]
    rows = pa.table(
        {
            "sold": pa.array([hour for hour in hours for _ in range(4)], pa.timestamp("us")),
            "shop": [shop for _ in hours for shop in "abcd"],
            "amount": pa.array([float(place) for place in range(4 * len(hours))]),
            "items": pa.array([place % 7 for place in range(4 * len(hours))]),
            "open": [True] * 4 * len(hours),
        }
    )
    store = FolderStore(str(folder))
    Table(store, "sales").append(rows.slice(0, 0), "none")
    write_deltalake(
        f"{folder}/tables/sales", rows, mode="append", schema_mode="merge", writer_properties=WriterProperties(max_row_group_size=row_group)
    )
    return Snapshot(spec, 2, store)


def test_row_groups_and_columns_that_are_not_used_are_not_read(spec: DatasetSpec, tmp_path: Path) -> None:
    """OP-10: Of one file with 24 days the bytes of the older ones, and of the columns that nobody asked for, may be anything."""
    snapshot, wanted = days_of_shops(spec, tmp_path), model(train_days=5)
    features = SimpleNamespace(label=lambda columns: columns["amount"])
    before = split(snapshot, wanted, features, ["shop"])
    (file,) = (name["path"] for name in snapshot.table.files(2))
    path = tmp_path / "tables/sales" / file
    footer, content = pq.read_metadata(path), bytearray(path.read_bytes())
    assert footer.num_row_groups == 24
    kept = 0
    for number in range(24):
        for place in range(footer.num_columns):
            column = footer.row_group(number).column(place)
            begin, length = column.dictionary_page_offset or column.data_page_offset, column.total_compressed_size
            if number < 24 - 10 or column.path_in_schema in ("items", "open"):
                content[begin : begin + length] = b"\xff" * length
            else:
                kept += 1
    path.write_bytes(content)
    after = split(snapshot, wanted, features, ["shop"])
    assert kept == 40  # two of the five columns are garbage; one names the batch
    assert (
        after.bounds
        == before.bounds
        == {"train": ["2013-01-15", "2013-01-20"], "validation": ["2013-01-20", "2013-01-23"], "test": ["2013-01-23", "2013-01-25"]}
    )
    assert after.train.equals(before.train)
    assert after.train.columns.tolist() == ["shop", "sold"]
    assert (len(after.train), len(after.validation), len(after.test)) == (480, 288, 192)
    assert after.test.columns.tolist() == ["sold"]
    with pytest.raises(StoreUnreachable, match=r"The table sales in the store .* cannot be used"):
        split(snapshot, model(train_days=6), features, ["shop"])


def test_as_many_rows_are_read_of_a_long_table_as_of_a_short_one(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OP-10, DM-08: The same days are used: what comes before them costs nothing."""
    read: list[int] = []
    parts = Table.parts

    def counted(*given: Any) -> Any:
        for batch in parts(*given):
            read.append(batch.num_rows * batch.num_columns)
            yield batch

    monkeypatch.setattr(Table, "parts", counted)
    sums = []
    for days in (12, 60):
        snapshot = days_of_shops(spec, tmp_path / str(days), days=days)
        cut = split(snapshot, model(train_days=5), SimpleNamespace(label=lambda columns: columns["amount"]), ["shop"])
        assert len(cut.train) == 480
        sums.append(sum(read))
        read.clear()
    assert sums[0] == sums[1] == 96 * 2 + 960 * 3 + 0


def simple_split(snapshot: Snapshot, spec: ModelSpec, features: Any) -> dict[str, Any]:
    """An independent reckoning: all rows at once."""
    every = snapshot.rows()
    label = label_of(every, features, spec)
    rows, cut = every[label == label].reset_index(drop=True), spec.split
    if cut.by == "time":
        day = rows["sold"].dt.normalize()
        end = day.max() + timedelta(days=1)
        test, validation = end - timedelta(days=cut.test_days), end - timedelta(days=cut.test_days + cut.validation_days)
        begin = day.min() if cut.train_days is None else validation - timedelta(days=cut.train_days)
        place = np.select([day >= test, day >= validation, day >= begin], ["test", "validation", "train"], "none")
    else:
        place = part_of(rows, cut, snapshot.dataset)
        begin = rows["sold"][place == "train"].min().normalize()
    used = (every["sold"] >= begin).to_numpy()
    frames = {name: rows[place == name].reset_index(drop=True) for name in ("train", "validation", "test")}
    return {"unknown": unknown_of(spec, every[used], label[used]).as_json(), "frames": frames}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "cut", [{"train_days": 9}, {}, {"by": "random", "test_days": None, "validation_days": None}, {"by": "group", "group": ("items",)}]
)
def test_a_split_is_that_of_all_rows_at_once(
    spec: DatasetSpec, tmp_path: Path, cut: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-12: The same rows in the same order, of the same types, whether or not rows that are not used have nulls, in whatever order files
    have their days."""
    monkeypatch.setattr(tables, "PART_ROWS", 37)
    rng, store = np.random.default_rng(seed), FolderStore(str(tmp_path / "store"))
    table, large = Table(store, "sales"), 2**60 if seed == 1 else 0
    for number in range(3):
        minutes = rng.integers(0, 40 * 1440, 150) if seed % 2 else number * 14 * 1440 + rng.integers(0, 14 * 1440, 150)
        sold = [datetime(2024, 1, 1) + timedelta(minutes=int(minute)) for minute in minutes]
        missing = (rng.random(150) < 0.3) & (number == seed % 3)
        unlabelled = (minutes > 36 * 1440) & (seed in (2, 5))
        columns = {
            "sold": pa.array(sold, pa.timestamp("us")),
            "shop": [f"{number}-{place}" for place in range(150)],
            "amount": pa.array(rng.integers(0, 4, 150).astype(float), mask=unlabelled),
            "items": pa.array(rng.integers(0, 9, 150) + large * (number == 0), mask=missing),
            "open": pa.array(rng.random(150) < 0.5, mask=missing),
        }
        table.append(pa.table(columns), str(number), key=spec.key)
    snapshot = Snapshot(spec, 3, store)
    wanted = (
        model(**cut)
        if "by" not in cut
        else model().model_copy(update={"split": SplitSpec(min_train_rows=5, **{name: value for name, value in cut.items() if value})})
    )
    wanted = wanted.model_copy(update={"task": "binary", "classes": ("few", "many")})
    wanted = wanted.model_copy(update={"split": wanted.split.model_copy(update={"max_unknown_labels": 1.0})})
    features = SimpleNamespace(label=lambda columns: np.where(columns["amount"] < 3, columns["amount"] // 2, np.nan))
    simple, found = simple_split(snapshot, wanted, features), split(snapshot, wanted, features)
    assert found.unknown.as_json() == simple["unknown"]
    assert simple["unknown"]["rows"] > 0
    for name, frame in simple["frames"].items():
        pd.testing.assert_frame_equal(getattr(found, name), frame, check_exact=True)
        assert found.parts[name].labels().tolist() == label_of(frame, features, wanted).tolist()
    narrow = split(snapshot, wanted, features, ["items", "open"])
    for name in ("train", "validation"):
        frame = getattr(narrow, name)
        pd.testing.assert_frame_equal(frame, simple["frames"][name][list(frame.columns)], check_exact=True)
    assert narrow.test["sold"].tolist() == simple["frames"]["test"]["sold"].tolist()


def test_statistics_are_those_of_all_files(spec: DatasetSpec, tmp_path: Path, make_sales: MakeRows) -> None:
    """OP-10: Of columns that a file lacks, that the log tells of, and that it does not tell of since there are too many."""
    store = FolderStore(str(tmp_path / "store"))
    wide = {f"c{place:02}": pa.array([place, None if place % 2 else 7, 3]) for place in range(40)}
    Table(store, "sales").append(make_sales(3).select(["sold", "shop"]), "first")
    Table(store, "sales").append(pa.table({**{name: make_sales(3)[name] for name in ("sold", "shop", "items")}, **wide}), "second")
    table = Table(store, "sales", pa.schema([("absent", pa.int64())]))
    found = table.statistics(["items", "c00", "c39", "c38", "absent"], 2)
    assert found == {
        "items": Statistics(4, 1, 2),
        "c00": Statistics(3, 0, 7),
        "c39": Statistics(4, 3, 39),
        "c38": Statistics(3, 3, 38),
        "absent": Statistics(6, None, None),
    }


def test_unknown_labels_add_up() -> None:
    """DM-10: Of two parts of the rows they are those of all; rows without a time are of no day."""
    values = np.array(["a", "b", None, "c", "b", "b"], dtype=object)
    labels = np.array([0.0, np.nan, np.nan, np.nan, np.nan, 1.0])
    times = np.array(["2024-01-01", "2024-01-02", "2024-01-02", "NaT", "2024-01-03", "2024-01-03"], "datetime64[us]")
    parts = [UnknownByDay.count(values[cut], labels[cut], times[cut]) for cut in (slice(0, 4), slice(4, 6))]
    both = parts[0] + parts[1]
    assert (
        both.since().as_json() == UnknownByDay.count(values, labels).since().as_json() == {"rows": 3, "of": 5, "values": {"b": 2, "c": 1}}
    )
    assert both.since(date(2024, 1, 2)).as_json() == {"rows": 2, "of": 3, "values": {"b": 2}}
    assert both.since(date(2024, 1, 4)).as_json() == {"rows": 0, "of": 0, "values": {}}
    assert UnknownByDay.count(None, labels).since().as_json() == {"rows": 0, "of": 0, "values": {}}
