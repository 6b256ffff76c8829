"""Stage profile: any table, whole or in parts, with the same result; batches are made up for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.engine import in_process
from perennial.errors import Fault, StoredDataDamaged, UnknownName
from perennial.profiles.profile import profile
from perennial.profiles.store import ProfileStore, decode
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.stages import profile as stage
from perennial.store import FolderStore

SPEC = DatasetSpec(
    name="sales", title="Sales", owner="tests", key=("shop",), event_time="sold",
    columns=(Column(name="sold", type="timestamp"), Column(name="shop", type="string"), Column(name="amount", type="float", nullable=True)),
)  # fmt: skip
SETTINGS = Settings(store="unused")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(discovery, "datasets", lambda: {"sales": SPEC})
    monkeypatch.setattr(discovery, "models", dict)
    monkeypatch.setattr(stage, "FIT_ROWS", 50)
    return


@pytest.fixture
def store(tmp_path) -> FolderStore:
    return FolderStore(str(tmp_path))


def batch(number: int, rows: int = 30) -> pa.Table:
    rng = np.random.default_rng(number)
    sold = [datetime(2013, 1, 1 + number) + timedelta(hours=i) for i in range(rows)]
    amount = pa.array(np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(size=rows)))
    return pa.table({"sold": pa.array(sold, pa.timestamp("us")), "shop": rng.choice(["a", "b", "ü"], rows), "amount": amount})


def append(store: FolderStore, number: int) -> tuple[str, str]:
    digest = f"{number:064x}"[::-1]
    label = f"{number}.csv ({digest[:12]})"
    Table(store, "sales").append(batch(number), digest, label=label)
    return digest, label


def run(store: FolderStore, **arguments: object):
    return stage.run(SETTINGS, store, **arguments)


def test_parts_give_the_whole_bit_for_bit(store: FolderStore) -> None:
    """DM-14, DE-22: 1, 2 and 4 parts, counted in any order and added, equal the whole; each part is some of the files."""
    for number in range(6):
        append(store, number)
    assert run(store, dataset="sales", plan=True).version == 6
    results = {}
    for parts in (1, 2, 4):
        counted = [run(store, dataset="sales", version=6, partition=(part, parts)) for part in range(parts, 0, -1)]
        assert sum(part.rows for part in counted) == 180
        merged = run(store, dataset="sales", version=6, merge=parts)
        assert (merged.rows, merged.days) == (180, 7)
        assert merged.sentence == "Version 6 of sales: 180 rows on 7 days counted."
        results[parts] = store.read(merged.profile)
        store.delete(merged.profile)
    assert len(set(results.values())) == 1
    whole = run(store, table="sales")
    assert store.read(whole.profile) == results[1]
    layout = ProfileStore(store, "sales").layout()
    assert decode(results[1], layout) == profile(pa.concat_tables([batch(n) for n in range(6)]), layout, day="sold")


def test_a_version_is_counted_once(store: FolderStore) -> None:
    """DM-14: The second time there is nothing to do; a new version is another one."""
    append(store, 1)
    assert run(store, dataset="sales").outcome == "done"
    assert run(store, dataset="sales").outcome == "skipped"
    assert run(store, dataset="sales", plan=True).outcome == "skipped"
    append(store, 2)
    assert run(store, dataset="sales").rows == 60
    assert run(store, dataset="sales", version=1).outcome == "skipped"


def test_any_table_is_counted(store: FolderStore) -> None:
    """DM-14: One without a spec: times with a zone, lists by what is measured of them, the day column found or named."""
    moments = pa.array([datetime(2013, 1, 1, 23, tzinfo=timezone.utc)] * 40, pa.timestamp("us", "UTC"))
    rows = pa.table({"event_time": moments, "scores": [[0.1, 0.9]] * 40, "ms": np.arange(40.0)})
    Table(store, "m_predictions").append(rows, "one")
    found = run(store, table="m_predictions")
    kept = ProfileStore(store, "m_predictions")
    assert {name.partition("[")[0] for name in kept.layout().names} == {"scores", "ms"}
    assert {"scores[length]", "ms"} < set(kept.layout().names)
    assert list(decode(store.read(found.profile), kept.layout()).blocks) == [date(2013, 1, 1)]
    Table(store, "visits").append(rows.rename_columns(["at", "scores", "ms"]), "one")
    with pytest.raises(UnknownName, match="name a date or timestamp column with --day; it has at, scores, ms"):
        run(store, table="visits")
    assert run(store, table="visits", day="at").rows == 40


def test_what_cannot_be_counted_is_told(store: FolderStore) -> None:
    """DM-14: No name, no table, no such version, a part that is missing or damaged."""
    with pytest.raises(UnknownName, match="give --table or --dataset"):
        run(store)
    with pytest.raises(UnknownName, match=r"There is no dataset 'sale'\. Did you mean sales"):
        run(store, dataset="sale")
    with pytest.raises(UnknownName, match=r"is not there or has no rows yet\. `perennial verify` lists the tables"):
        run(store, table="nowhere")
    append(store, 1)
    with pytest.raises(UnknownName, match="it has the versions 1 to 1"):
        run(store, dataset="sales", version=2)
    part = run(store, dataset="sales", partition=(1, 2))
    with pytest.raises(Fault, match="run `perennial profile --table sales --version 1 --partition 2/2`"):
        run(store, dataset="sales", merge=2)
    store.write(part.profile, b"damaged")
    with pytest.raises(StoredDataDamaged, match="count part 1/2 again"):
        run(store, dataset="sales", merge=2)
    with pytest.raises(UnknownName, match=r"has no column when: name a date or timestamp column with --day; it has sold"):
        run(store, dataset="sales", day="when")
    with pytest.raises(UnknownName, match=r"The column amount of the table sales is double, which is no date or time"):
        run(store, dataset="sales", day="amount")


def test_a_table_without_rows_is_told(store: FolderStore) -> None:
    """DM-14: There is a version, and nothing in it to count."""
    Table(store, "sales").append(batch(1).slice(0, 0), "0" * 64, label="0.csv (000000000000)")
    with pytest.raises(UnknownName, match="has no rows yet"):
        run(store, dataset="sales")


def test_a_time_in_no_year_keeps_no_batch_from_its_profile(store: FolderStore) -> None:
    """DM-14: A sender's milliseconds were read as microseconds: that row belongs to no day, all others to theirs."""
    for number in (1, 2):
        digest, label = f"{number:064x}"[::-1], f"{number}.csv ({f'{number:064x}'[::-1][:12]})"
        rows = batch(number)
        if number == 2:
            times = pa.array([10**18, *rows["sold"].cast(pa.int64()).to_pylist()[1:]]).cast(pa.timestamp("us"))
            rows = rows.set_column(0, "sold", times)
        Table(store, "sales").append(rows, digest, label=label)
        ProfileStore(store, "sales").owe(digest, label)
    assert stage.profile_owed(store, SPEC) == 2
    kept = ProfileStore(store, "sales").read()
    assert kept is not None
    assert int(kept.rows().sum()) == 59


def test_owed_profiles_wait_for_enough_rows_and_are_made_together(store: FolderStore) -> None:
    """DM-14, DE-22: One batch is too little to decide how rows are counted; the second brings both profiles; a third its own."""
    kept = ProfileStore(store, "sales")
    digests = {number: append(store, number) for number in (1, 2, 3)}
    small = FolderStore(store.root + "/other")
    few = ProfileStore(small, "sales")
    few.owe(*append(small, 1))
    assert stage.profile_owed(small, SPEC) == 0
    assert few.layout() is None
    assert len(few.owed()) == 1
    for digest, label in digests.values():
        kept.owe(digest, label)
    assert stage.profile_owed(store, SPEC) == 3
    assert kept.owed() == {}
    for number, (digest, _) in digests.items():
        (of_batch,) = [b for b in kept.batches() if digest.startswith(b.mark)]
        assert kept.open(of_batch, kept.layout()) == profile(batch(number), kept.layout(), day="sold")
    assert stage.profile_owed(store, SPEC) == 0


def test_batches_are_counted_in_one_pass(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-14, DE-22: Twelve owed batches take one pass over their rows, after one over their times; where the counts of all their days have
    no room in memory they are counted apart, with the same result."""
    passes = []
    run_pass = in_process.run
    monkeypatch.setattr(in_process, "run", lambda work, *rows: passes.append(work.columns) or run_pass(work, *rows))
    kept = ProfileStore(store, "sales")
    digests = {}
    for number in range(12):
        digests[number], label = append(store, number)
        kept.owe(digests[number], label)
    assert stage.profile_owed(store, SPEC) == 12
    assert passes == [("sold", "_batch"), ("shop", "amount", "sold", "_batch")]
    expected = {number: profile(batch(number), kept.layout(), day="sold") for number in range(12)}
    by_mark = {kept_batch.mark: kept.open(kept_batch, kept.layout()) for kept_batch in kept.batches()}
    assert {number: by_mark[digest[:12]] for number, digest in digests.items()} == expected
    for number, digest in digests.items():
        kept.owe(digest, f"{number}.csv ({digest[:12]})")
    monkeypatch.setattr(stage, "MEMORY", 1)
    passes.clear()
    assert stage.profile_owed(store, SPEC) == 12
    assert len(passes) == 13
    assert {kept_batch.mark: kept.open(kept_batch, kept.layout()) for kept_batch in kept.batches()} == by_mark
    assert kept.owed() == {}


def test_batches_are_together_as_far_as_their_days_have_room() -> None:
    """DM-14: In the order of their digests, up to the bound; one of more days than that is by itself."""
    assert list(stage.together({}, 5)) == []
    assert list(stage.together({"c": 1, "a": 2, "b": 2}, 5)) == [["a", "b", "c"]]
    assert list(stage.together({"c": 2, "a": 2, "b": 2}, 5)) == [["a", "b"], ["c"]]
    assert list(stage.together({"a": 1, "b": 9, "c": 1, "d": 4}, 5)) == [["a"], ["b"], ["c", "d"]]
    assert list(stage.together({"a": 1, "b": 1}, 0)) == [["a"], ["b"]]


def test_a_layout_is_decided_in_one_place(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-14: Once, by the first rows if there are enough; what is seen together are the columns that every model watches."""
    kept, table = ProfileStore(store, "sales"), Table(store, "sales")
    append(store, 1)
    assert stage.layout_of(kept, table, 1, SPEC, 31) is None
    models = [ModelSpec(name=f"m{n}", title="M", owner="tests", dataset="sales", task="regression", label="amount", inputs=inputs,
                        gate=GateSpec(metric="rmse", floors={}))
              for n, inputs in enumerate([("sold", "shop"), ("shop", "amount")])]  # fmt: skip
    monkeypatch.setattr(discovery, "models", lambda: {model.name: model for model in models})
    layout = stage.layout_of(kept, table, 1, SPEC, 30)
    assert layout.names == ("shop", "amount")
    assert layout.joint.columns == ("shop",)
    append(store, 2)
    assert stage.layout_of(kept, table, 2, SPEC, 1000) == layout == kept.layout()


def test_a_batch_that_is_not_in_the_table_stays_owed(store: FolderStore) -> None:
    """DM-14, DE-22: Another run may be about to append it."""
    kept = ProfileStore(store, "sales")
    for number in (1, 2):
        kept.owe(*append(store, number))
    kept.owe("f" * 64, "later.csv (ffffffffffff)")
    assert stage.profile_owed(store, SPEC) == 2
    assert kept.owed() == {"f" * 64: "later.csv (ffffffffffff)"}
