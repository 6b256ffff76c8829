"""Labels that come after their rows: what a snapshot knows of a label feed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial import discovery
from perennial.data.labels import Coverage, coverage_of
from perennial.data.readers import read_batch
from perennial.data.snapshots import Snapshot, empty_dataset, model_snapshot, table_of
from perennial.data.splits import split
from perennial.errors import StoredDataDamaged, TrainingRefused, UnknownName
from perennial.lineage.manifest import LabelsUsed
from perennial.specs import Column, DatasetSpec, GateSpec, LabelSpec, ModelSpec, SplitSpec
from perennial.stages._snapshots import labels_used
from perennial.store import FolderStore, Store

ROWS = DatasetSpec(
    name="claims", title="Claims", owner="tests", key=("id",), event_time="at",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="sum", type="float"),
        Column(name="fraud", type="bool", nullable=True),
    ),
)  # fmt: skip
FEED = DatasetSpec(
    name="verdicts", title="Verdicts", owner="tests", key=("id", "known"), event_time="known",
    columns=(Column(name="id", type="int"), Column(name="known", type="timestamp"), Column(name="fraud", type="bool", nullable=True)),
)  # fmt: skip
MODEL = ModelSpec(
    name="frauds", title="Frauds", owner="tests", dataset="claims", task="binary", classes=("no", "yes"), inputs=("sum",), label="fraud",
    labels=LabelSpec(dataset="verdicts", key=("id",), columns=("fraud",), known_at="known"), gate=GateSpec(floors={}),
    split=SplitSpec(test_days=1, validation_days=1, min_train_rows=2),
)  # fmt: skip
FIRST = datetime(2024, 1, 1)
FEATURES = SimpleNamespace(label=lambda columns: [np.nan if value is None else float(value) for value in columns["fraud"]])


@pytest.fixture(autouse=True)
def _datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "dataset", {"claims": ROWS, "verdicts": FEED}.__getitem__)


def claims(count: int, first: int = 0) -> pa.Table:
    """One claim a day."""
    days = [FIRST + timedelta(days=n) for n in range(first, first + count)]
    times, ids = pa.array(days, pa.timestamp("us")), range(first, first + count)
    return pa.table({"id": ids, "at": times, "sum": [1.0] * count, "fraud": pa.nulls(count, pa.bool_())})


def tell(store: Store, *verdicts: tuple[int, int, bool | None]) -> int:
    """Append verdicts to the feed: id, hours after the first day, whether it was fraud."""
    ids, hours, frauds = zip(*verdicts, strict=True)
    known = pa.array([FIRST + timedelta(hours=h) for h in hours], pa.timestamp("us"))
    rows = pa.table({"id": pa.array(ids, pa.int64()), "known": known, "fraud": pa.array(frauds, pa.bool_())})
    table = table_of(store, FEED)
    return table.append(rows, f"{(table.version() or 0) + 1:064d}")


def labelled(store: Store, rows: pa.Table, *verdicts: tuple[int, int, bool | None]) -> Snapshot:
    """The snapshot of these rows and verdicts."""
    table_of(store, ROWS).append(rows, "1f" * 32)
    tell(store, *verdicts)
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    return snapshot


VERDICTS = st.dictionaries(
    st.tuples(st.integers(0, 5), st.integers(0, 200)), st.sampled_from([True, False, None]), min_size=1, max_size=12
)  # (id, hours) -> fraud; an id from 4 on has no row


@settings(max_examples=12, deadline=None)
@given(batches=st.lists(VERDICTS, min_size=1, max_size=3), moments=st.lists(st.integers(-1, 210), min_size=2, max_size=4))
def test_only_what_was_known_by_then_counts(batches: list[dict[tuple[int, int], bool | None]], moments: list[int]) -> None:
    """DM-03, DM-13: As a dictionary would have it, at every moment: no label that became known later ever enters, the latest of a key
    wins, in whatever order they land. What lands afterwards changes nothing of an older snapshot, and makes another of the newest."""
    told: dict[tuple[int, int], bool | None] = {}
    older: list[tuple[Snapshot, list[object]]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        table_of(store, ROWS).append(claims(4), "1f" * 32)
        for batch in batches:
            new = {key: fraud for key, fraud in batch.items() if key not in told}
            if not new:
                continue
            told |= new
            tell(store, *((claim, hours, fraud) for (claim, hours), fraud in new.items()))
            newest = model_snapshot(store, MODEL)
            assert newest is not None
            assert newest.labels is not None
            assert newest.labels.known_by == FIRST + timedelta(hours=max(72, *(hours for _, hours in told)))
            for hours in (*moments, 10_000):
                moment = FIRST + timedelta(hours=hours)
                snapshot = replace(newest, labels=replace(newest.labels, known_by=moment))
                known = {claim: fraud for (claim, when), fraud in sorted(told.items(), key=lambda item: item[0][1]) if when <= hours}
                assert snapshot.rows()["fraud"].tolist() == [known.get(claim) for claim in range(4)]
            assert newest.digest not in {snapshot.digest for snapshot, _ in older}
            older.append((newest, newest.rows()["fraud"].tolist()))
        for snapshot, frauds in older:
            again = model_snapshot(store, MODEL, 1, snapshot.labels.feed.version if snapshot.labels else None)
            assert again is not None
            assert (again.rows()["fraud"].tolist(), again.digest) == (frauds, snapshot.digest)


def test_rows_keep_their_order_and_other_columns(store: FolderStore) -> None:
    """DM-03: Rows without a label stay, a verdict without a row is nobody's; the rows' own column of that name is not read; other
    columns are read without the feed."""
    own = claims(3).set_column(3, "fraud", pa.array([True, True, True]))
    snapshot = labelled(store, own, (2, 99, False), (7, 99, True))
    rows = snapshot.rows()
    assert list(rows.columns) == ["id", "at", "sum", "fraud"]
    assert (rows["id"].tolist(), rows["fraud"].tolist()) == ([0, 1, 2], [None, None, False])
    assert snapshot.rows(["fraud"], since=datetime(2024, 1, 3))["fraud"].tolist() == [False]
    store.delete(f"tables/verdicts/{table_of(store, FEED).files()[0]['path']}")
    assert snapshot.rows(["sum", "id"])["id"].tolist() == [0, 1, 2]


def test_the_digest_follows_labels_and_moment(store: FolderStore) -> None:
    """DM-06, DM-13: Relabelling alone, or rows alone, is another snapshot; a snapshot without a feed has the digest that it always had."""
    snapshot = labelled(store, claims(3), (0, 80, True))
    assert snapshot.digest.startswith("labelled:")
    assert snapshot.rows_digest == replace(snapshot, labels=None).digest
    tell(store, (0, 81, False))
    relabelled = model_snapshot(store, MODEL)
    assert relabelled is not None
    assert relabelled.rows_digest == snapshot.rows_digest
    table_of(store, ROWS).append(claims(1, 3), "2f" * 32)
    longer = model_snapshot(store, MODEL, labels=1)
    assert longer is not None
    assert len({snapshot.digest, relabelled.digest, longer.digest}) == 3
    assert snapshot.digests == (snapshot.digest,)
    used = labels_used(snapshot, "fraud")
    assert isinstance(used, LabelsUsed)
    assert snapshot.labels is not None
    read = LabelsUsed.model_validate_json(used.model_dump_json())
    assert replace(snapshot, labels=replace(snapshot.labels, delay_days=read.delay_days)).digest == snapshot.digest


def test_labels_of_young_rows_wait_for_the_delay(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-12, DM-13: With a label delay, what is reported early does not outweigh what comes later: the rows of those days wait."""
    delayed = ROWS.model_copy(update={"label_delay_days": 1.5})
    monkeypatch.setattr(discovery, "dataset", {"claims": delayed, "verdicts": FEED}.__getitem__)
    snapshot = labelled(store, claims(5), *((claim, 60, True) for claim in range(5)))
    assert snapshot.rows()["fraud"].tolist() == [True, True, True, None, None]  # the moment is the fifth day, 00:00
    assert snapshot.coverage("fraud").labelled_days == [datetime(2024, 1, day).date() for day in (1, 2, 3)]


def test_a_split_has_labelled_rows_alone(store: FolderStore) -> None:
    """DM-12: The days are those of labelled rows, and the coverage says how many the others are."""
    cut = split(labelled(store, claims(9), *((claim, 24 * claim + 5, claim % 2 == 0) for claim in range(6))), MODEL, FEATURES)
    assert [part["id"].tolist() for part in (cut.train, cut.validation, cut.test)] == [[0, 1, 2, 3], [4], [5]]
    assert cut.coverage.sentence() == "57% of the rows of the last 7 days (to 2024-01-09) have a label yet."
    assert cut.coverage.as_json()["2024-01-07"] == [1, 0]


@pytest.mark.parametrize(
    ("verdicts", "why"), [(1, "too small for frauds: 0 rows for train"), (0, "no row with a known fraud: ingest labels")]
)
def test_too_few_labels_are_refused_with_their_coverage(store: FolderStore, verdicts: int, why: str) -> None:
    """DM-12: The sentence names both tables, the moment, and how many rows have a label."""
    given = [(claim, 200, True) for claim in range(verdicts)] or [(77, 200, True)]
    snapshot = labelled(store, claims(4), *given)
    with pytest.raises(
        TrainingRefused, match=rf"^Snapshot 1 of claims with labels 1 of verdicts, known by 2024-01-09 08:00.* {why}"
    ) as refused:
        split(snapshot, MODEL, FEATURES)
    assert ("25% of the rows of the last 7 days (to 2024-01-04) have a label yet." in str(refused.value)) == bool(verdicts)


def test_both_tables_are_needed(store: FolderStore) -> None:
    """DM-03: Rows without any verdict are no snapshot yet; the sentence's name is the feed's; versions are checked in both."""
    assert model_snapshot(store, MODEL) is None
    assert empty_dataset(store, MODEL) == "claims"
    table_of(store, ROWS).append(claims(3), "1f" * 32)
    assert model_snapshot(store, MODEL) is None
    assert empty_dataset(store, MODEL) == "verdicts"
    tell(store, (0, 80, True))
    with pytest.raises(UnknownName, match="no snapshot 2 of verdicts"):
        model_snapshot(store, MODEL, labels=2)


def test_a_changed_byte_of_the_feed_is_damage(store: FolderStore) -> None:
    """MO-17: Before a training both tables are read."""
    snapshot = labelled(store, claims(3), (0, 80, True))
    path = f"tables/verdicts/{table_of(store, FEED).files()[0]['path']}"
    store.write(path, store.read(path)[:-1] + b"?")
    with pytest.raises(StoredDataDamaged, match="verdicts"):
        snapshot.refuse_damaged()


def test_the_delay_of_labels_is_seen_in_the_feed(store: FolderStore) -> None:
    """DM-03, MN-10: Nine of ten labels were known two days after their row, one later; corrections count not; a longer delay of the dataset
    does."""
    late = [(claim, 24 * claim + (53 if claim else 200), True) for claim in range(10)]
    snapshot = labelled(store, claims(12), *late, (3, 900, False))
    assert snapshot.usual_delay_days() == 2
    assert replace(snapshot, labels=None).usual_delay_days() == 0
    slow = replace(snapshot, dataset=ROWS.model_copy(update={"label_delay_days": 3.5}))
    assert slow.usual_delay_days() == 4


def test_rows_that_landed_without_labels_train_once_these_are_known(store: FolderStore, tmp_path: Path) -> None:
    """DM-03: A file of rows with an empty label, then a file of labels, as people have them: read, landed, joined as of the snapshot."""
    (tmp_path / "rows.csv").write_text("id,at,sum,fraud\n" + "".join(f"{n},2024-01-0{n} 06:00:00,1.5,\n" for n in range(1, 7)))
    (tmp_path / "labels.csv").write_text("id,fraud,known\n" + "".join(f"{n},{n % 2 == 0},2024-01-0{n + 2} 09:00:00\n" for n in range(1, 7)))
    table_of(store, ROWS).append(read_batch(tmp_path / "rows.csv", ROWS), "1f" * 32, key=ROWS.key)
    assert model_snapshot(store, MODEL) is None
    table_of(store, FEED).append(read_batch(tmp_path / "labels.csv", FEED), "2f" * 32, key=FEED.key)
    snapshot = model_snapshot(store, MODEL)
    assert snapshot is not None
    assert snapshot.words == "snapshot 1 of claims with labels 1 of verdicts, known by 2024-01-08 09:00"
    cut = split(snapshot, MODEL, FEATURES)
    assert cut.train["fraud"].tolist() == [False, True, False, True]


def test_coverage_of_days() -> None:
    """DM-12: Days without rows are none; of no rows there is nothing to say."""
    times = np.array(["2024-01-01T23:59", "2024-01-01T00:00", "2024-02-01T12:00"], dtype="datetime64[us]")
    coverage = coverage_of(times, np.array([True, False, False]))
    assert coverage.as_json() == {"2024-01-01": [2, 1], "2024-02-01": [1, 0]}
    assert coverage.sentence() == "0% of the rows of the last 7 days (to 2024-02-01) have a label yet."
    assert (coverage.labelled, Coverage().sentence(), coverage_of(times[:0], np.array([], dtype=bool))) == (1, "", Coverage())


@pytest.mark.parametrize(
    ("labels", "model", "feed", "why"),
    [
        ({}, {}, {}, None),
        ({"key": ("idd",)}, {}, {}, "its labels.key names idd, which the dataset claims does not have"),
        ({"key": ("sum",)}, {}, {}, "its labels.key names sum, which the dataset verdicts does not have"),
        ({"columns": ("froud",)}, {}, {}, "its labels.columns names froud, which the dataset verdicts does not have"),
        ({"known_at": "then"}, {}, {}, "its labels.known_at names then, which the dataset verdicts does not have"),
        ({}, {"label": "sum"}, {}, "its label is sum, which labels.columns does not name"),
        ({}, {"inputs": ("sum", "fraud")}, {}, "its inputs name fraud, which its label feed brings: at prediction time it is not known"),
        ({}, {"slices": ("fraud", "town")}, {}, "its slices name town, which the dataset claims does not have"),
        ({}, {}, {"key": ("id", "known", "fraud")}, "its label feed verdicts has the key id, known, fraud: it must be id, known, so that"),
        ({}, {}, {"time_zone": "Europe/Oslo"}, "verdicts has the time zone Europe/Oslo and its dataset claims UTC: give them the same"),
        (
            {},
            {},
            {"columns": (Column(name="id", type="string"), *FEED.columns[1:])},
            "its labels.key id is int in claims and string in verdicts: they must be the same",
        ),
        (
            {"known_at": "noted"},
            {},
            {"columns": (*FEED.columns, Column(name="noted", type="timestamp", nullable=True)), "key": ("id",)},
            "its labels.known_at noted must be a timestamp column of verdicts that is never missing",
        ),
    ],
)
def test_a_feed_that_does_not_fit_is_named(
    labels: dict[str, object], model: dict[str, object], feed: dict[str, object], why: str | None
) -> None:
    """MO-01: Found before anything is trained."""
    assert MODEL.labels is not None
    spec = ModelSpec(**{**MODEL.model_dump(), "labels": {**MODEL.labels.model_dump(), **labels}, **model})
    wrong = spec.misfit(ROWS, FEED.model_copy(update=feed))
    assert (wrong is None) == (why is None)
    assert why is None or (wrong and why in wrong[1])


def test_a_column_has_one_part_in_a_label_spec() -> None:
    """MO-01: Key, labels and time are columns of their own."""
    with pytest.raises(ValueError, match="name id twice"):
        LabelSpec(dataset="verdicts", key=("id",), columns=("id",), known_at="known")
