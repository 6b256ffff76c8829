"""What was served as rows to learn from: which predictions count, with which outcome, beside which rows of the dataset."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial import discovery
from perennial.commands.replay import Told, prepare
from perennial.commands.traffic import rows_as_calls
from perennial.data.served_rows import PREDICTION, newest_outcomes
from perennial.data.snapshots import Snapshot, label_of, model_snapshot, table_of, unknown_of
from perennial.data.splits import split
from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged, TrainingRefused, UnknownName
from perennial.lineage.manifest import Manifest
from perennial.lineage.version_folder import publish
from perennial.monitoring.outcomes import join, outcome_rows
from perennial.served_tables import SCORED, SCORED_FILE
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec, SplitSpec
from perennial.stages._references import References
from perennial.stages._snapshots import labels_used, snapshot_of
from perennial.store import FolderStore, Store

ROWS = DatasetSpec(
    name="claims", title="Claims", owner="tests", key=("id",), event_time="at", time_zone="America/New_York",
    columns=(
        Column(name="id", type="int"), Column(name="at", type="timestamp"), Column(name="sum", type="float"),
        Column(name="town", type="string", nullable=True), Column(name="fraud", type="bool", nullable=True),
    ),
)  # fmt: skip
BY_KEY = ModelSpec(
    name="frauds", title="Frauds", owner="tests", dataset="claims", task="binary", classes=("no", "yes"), inputs=("id", "sum"),
    label="fraud", labels="outcomes", gate=GateSpec(floors={}), split=SplitSpec(test_days=1, validation_days=1, min_train_rows=2),
)  # fmt: skip
SINCE = BY_KEY.model_copy(update={"inputs": ("sum",), "served_since": date(2024, 1, 3)})
FIRST = datetime(2024, 1, 1)
FEATURES = SimpleNamespace(label=lambda columns: [np.nan if value is None else float(value) for value in columns["fraud"]])
UTC = pa.timestamp("us", "UTC")


@pytest.fixture(autouse=True)
def _dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "dataset", {"claims": ROWS}.__getitem__)


def land(store: Store, *claims: tuple[int, int, bool | None]) -> int:
    """Append claims: id, day, whether it was fraud; each has the sum 1."""
    ids, days, frauds = zip(*claims, strict=True)
    table = table_of(store, ROWS)
    times = pa.array([FIRST + timedelta(days=day) for day in days], pa.timestamp("us"))
    rows = {"id": pa.array(ids, pa.int64()), "at": times, "sum": [1.0] * len(ids), "town": ["A"] * len(ids)}
    return table.append(pa.table({**rows, "fraud": pa.array(frauds, pa.bool_())}), f"{(table.version() or 0) + 1:064d}")


def serve(store: Store, *predictions: tuple[str, int, int] | tuple[str, int, int, dict[str, Any]], label: str = "") -> int:
    """Append predictions: prediction id, id of the claim, day; each has the sum 2. More may be told of one: `shadow`, `hour`, `sum`."""
    table, lines = Table(store, "frauds_predictions"), []
    for number, (identity, claim, day, *more) in enumerate(predictions):
        told: dict[str, Any] = more[0] if more else {}
        hour = told.get("hour", 0)
        lines.append(
            {
                "prediction_id": identity, "model_version": 1, "shadow": told.get("shadow", False),
                "served_at": datetime(2024, 3, 1, tzinfo=timezone.utc) + timedelta(seconds=number + 1000 * (table.version() or 0)),
                "event_time": (FIRST + timedelta(days=day, hours=hour)).replace(tzinfo=timezone.utc), "scores": [0.5, 0.5],
                "milliseconds": 1.0, "input_id": claim, "input_sum": told.get("sum", 2.0),
            }
        )  # fmt: skip
    schema = pa.schema({
        "prediction_id": pa.string(), "model_version": pa.int64(), "shadow": pa.bool_(), "served_at": UTC, "event_time": UTC,
        "scores": pa.list_(pa.float64()), "milliseconds": pa.float64(), "input_id": pa.int64(), "input_sum": pa.float64(),
    })  # fmt: skip
    return table.append(pa.Table.from_pylist(lines, schema), f"{(table.version() or 0) + 1:064d}", label=label)


def happen(store: Store, *outcomes: tuple[str, float, int]) -> int:
    """Append outcomes: prediction id, outcome, day on which it was told."""
    table = Table(store, "frauds_outcomes")
    rows = [
        {"prediction_id": i, "outcome": y, "time": (FIRST + timedelta(days=day)).replace(tzinfo=timezone.utc)} for i, y, day in outcomes
    ]
    return table.append(outcome_rows(rows, "f"), f"{(table.version() or 0) + 1:064d}")


def learned(snapshot: Snapshot | None, spec: ModelSpec = BY_KEY) -> dict[int, tuple[float, float | None]]:
    """Sum and label of each claim of a snapshot, none of them twice."""
    assert snapshot is not None
    rows = snapshot.rows()
    labels = [None if value != value else value for value in label_of(rows, FEATURES, spec).tolist()]
    assert rows["id"].is_unique
    assert snapshot.count() == len(rows)
    assert snapshot.coverage("fraud").labelled == sum(label is not None for label in labels)
    return {int(i): (amount, label) for i, amount, label in zip(rows["id"], rows["sum"], labels, strict=True)}


def test_rows_that_may_never_be_null_are_learned_from_beside_predictions(tmp_path: Path) -> None:
    """DM-03: A table whose first rows came from a file that forbids nulls has such columns; predictions stand beside them all the same."""
    store, table = FolderStore(str(tmp_path)), table_of(FolderStore(str(tmp_path)), ROWS)
    schema = pa.schema([
        pa.field("id", pa.int64(), nullable=False), pa.field("at", pa.timestamp("us"), nullable=False),
        pa.field("sum", pa.float64(), nullable=False), pa.field("town", pa.string()), pa.field("fraud", pa.bool_()),
    ])  # fmt: skip
    table.append(pa.table({"id": [1], "at": [FIRST], "sum": [1.0], "town": ["A"], "fraud": [True]}, schema), "1" * 64)
    serve(store, ("a", 2, 1))
    happen(store, ("a", 0.0, 2))
    assert learned(model_snapshot(store, BY_KEY)) == {1: (1.0, 1.0), 2: (2.0, 0.0)}


CLAIMS = st.dictionaries(st.integers(0, 4), st.sampled_from([True, False, None]), max_size=3)
SERVED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=3)  # id of the claim, whether it was a shadow's
TOLD = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.0, 1.0]), st.integers(0, 60)), max_size=4)


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(st.tuples(CLAIMS, SERVED, TOLD), min_size=1, max_size=3), moment=st.integers(0, 60))
def test_each_thing_is_learned_from_once_as_a_dictionary_would(steps: list[Any], moment: int) -> None:
    """DM-03, MN-03: Of a claim in both the prediction counts once its outcome is known, the last one served of several, with the newest
    outcome by the moment; else the row. What comes later changes no older snapshot, and gives another digest."""
    claims: dict[int, bool | None] = {}
    numbers = itertools.count()
    served: list[tuple[str, int]] = []
    told: list[tuple[str, float, int]] = []
    older: list[tuple[Snapshot, dict[int, Any], str]] = []

    def expected(by: int) -> dict[int, tuple[float, float | None]]:
        known = {identity: outcome for identity, outcome, day in sorted(told, key=lambda one: one[2]) if day <= by}
        rows = {claim: (2.0, None) for _, claim in served} | {c: (1.0, None if y is None else float(y)) for c, y in claims.items()}
        return rows | {claim: (2.0, known[identity]) for identity, claim in served if identity in known}

    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder)
        land(store, (99, 0, True))
        claims[99] = True
        for new_claims, predictions, outcomes in steps:
            if fresh := [(claim, claim, y) for claim, y in new_claims.items() if claim not in claims]:
                land(store, *fresh)
                claims |= {claim: y for claim, _, y in fresh}
            if predictions:
                named = [(f"p{next(numbers)}", claim, shadow) for claim, shadow in predictions]
                serve(store, *((name, claim, claim, {"shadow": shadow}) for name, claim, shadow in named))
                served += [(name, claim) for name, claim, shadow in named if not shadow]
            if outcomes:
                happen(store, *((f"p{number}", y, day) for number, y, day in outcomes))
                told += [(f"p{number}", y, day) for number, y, day in outcomes]
            newest = model_snapshot(store, BY_KEY)
            assert learned(newest) == expected(1000)
            assert newest is not None
            assert newest.served is not None
            by_then = replace(newest.served, known_by=(FIRST + timedelta(days=moment)).replace(tzinfo=timezone.utc))
            at_moment = {c: row for c, row in expected(moment).items() if c == 99 or c in claims or c <= moment + 1}
            if moment > 8:
                assert learned(replace(newest, labels=by_then)) == at_moment
            if claims or predictions or outcomes:
                older.append((newest, learned(newest), newest.digest))
        for snapshot, rows, digest in older:
            assert snapshot.served is not None
            again = model_snapshot(store, BY_KEY, snapshot.version, snapshot.served.version, snapshot.served.predictions)
            assert again is not None
            assert (learned(again), again.digest) == (rows, digest)
        same = {(s.version, s.served.version, s.served.predictions) for s, _, _ in older if s.served}
        assert len({digest for _, _, digest in older}) == len(same)


EARLY, LATE = (1, 0, True), (2, 5, False)  # claims of the dataset before and after the third of January


@pytest.mark.parametrize(
    ("spec", "predictions", "outcomes", "rows"),
    [
        (BY_KEY, [], [], {1: (1, 1), 2: (1, 0)}),
        (BY_KEY, [("a-0", 2, 5)], [], {1: (1, 1), 2: (1, 0)}),
        (BY_KEY, [("a-0", 2, 5)], [("a-0", 1, 9)], {1: (1, 1), 2: (2, 1)}),
        (BY_KEY, [("a-0", 7, 5)], [], {1: (1, 1), 2: (1, 0), 7: (2, None)}),
        (BY_KEY, [("a-0", 7, 5, {"shadow": True})], [("a-0", 1, 9)], {1: (1, 1), 2: (1, 0)}),
        (BY_KEY, [("a-0", 7, 5), ("b-0", 7, 6, {"sum": 3.0})], [("a-0", 1, 9)], {1: (1, 1), 2: (1, 0), 7: (2, 1)}),
        (BY_KEY, [("a-0", 7, 5), ("b-0", 7, 6, {"sum": 3.0})], [("a-0", 1, 9), ("b-0", 0, 9)], {1: (1, 1), 2: (1, 0), 7: (3, 0)}),
        (BY_KEY, [("a-0", 7, 5), ("a-0", 8, 6)], [("a-0", 1, 9)], {1: (1, 1), 2: (1, 0), 8: (2, 1)}),
        (BY_KEY, [("a-0", 7, 50_000)], [("a-0", 1, 9)], {1: (1, 1), 2: (1, 0)}),
        (BY_KEY, [("a-0", None, 5)], [("a-0", 1, 9)], {1: (1, 1), 2: (1, 0)}),
        (BY_KEY, [("a-0", 7, 5)], [("a-0", 1, 900_000)], {1: (1, 1), 2: (1, 0), 7: (2, None)}),
        (SINCE, [], [], {1: (1, 1)}),
        (SINCE, [("a-0", 2, 5)], [("a-0", 1, 9)], {1: (1, 1), 2: (2, 1)}),
        (SINCE, [("a-0", 1, 1, {"hour": 23}), ("b-0", 3, 2)], [("a-0", 0, 9), ("b-0", 0, 9)], {1: (1, 1), 3: (2, 0)}),
    ],
)  # fmt: skip
def test_which_rows_count(store: FolderStore, spec: ModelSpec, predictions: list[Any], outcomes: list[Any], rows: dict[int, Any]) -> None:
    """DM-03: Shadows, predictions of far future, of unknown key and before `served_since` never; of an id used twice the last one; an
    outcome that is told of the far future not yet."""
    land(store, EARLY, LATE)
    seen = model_snapshot(store, spec)
    assert seen is not None
    for take, lines in ((serve, predictions), (happen, outcomes)):
        if lines:
            take(store, *lines)
    if spec is SINCE:  # its predictions know no id
        snapshot = model_snapshot(store, spec)
        assert snapshot is not None
        days = {0: 1, 5: 2, 2: 3}
        found = snapshot.rows()
        told = zip(found["at"], found["sum"], label_of(found, FEATURES, spec), strict=True)
        assert {days[(at - FIRST).days]: (amount, label) for at, amount, label in told} == rows
    else:
        assert learned(model_snapshot(store, spec)) == rows
    assert seen.digest == replace(seen, labels=seen.labels).digest


def test_of_scores_of_batches_those_of_a_file_are_learned_from(store: FolderStore) -> None:
    """SE-03, DM-03: Rows of a table or a query that a batch scored are in tables already; those of a file may be nowhere else."""
    serve(store, ("a", 11, 1), label=f"{SCORED}claims/version 1/2024-01-02")
    serve(store, ("b", 12, 1), label=f"{SCORED}query-1f/version 1/2024-01-02")
    serve(store, ("c", 13, 1), label=f"{SCORED_FILE}1f/version 1/2024-01-02")
    serve(store, ("d", 14, 1))
    land(store, (1, 0, True))
    happen(store, *((identity, 1.0, 2) for identity in "abcd"))
    assert {claim for claim, (amount, _) in learned(model_snapshot(store, BY_KEY)).items() if amount == 2.0} == {13, 14}


def test_replayed_rows_are_not_learned_from_twice(store: FolderStore) -> None:
    """MN-03: What `perennial traffic` asked for is a row of the dataset, whose key its id is made from, also where no input tells it."""
    land(store, (1, 3, True), (2, 5, False))
    calls = list(rows_as_calls(store, SINCE, ROWS, FIRST, FIRST + timedelta(days=9)))
    serve(store, *((f"{call.id}-0", 0, 3 + place) for place, call in enumerate(calls)), (f"{'0' * 24}-0", 0, 7))
    snapshot = model_snapshot(store, SINCE)
    assert snapshot is not None
    assert snapshot.rows([PREDICTION])[PREDICTION].tolist() == [f"{'0' * 24}-0"]


def test_outcomes_of_young_predictions_wait_for_the_delay(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-12: As in a label feed; rows of the dataset have their labels. The usual delay is seen in the outcomes."""
    monkeypatch.setattr(discovery, "dataset", {"claims": ROWS.model_copy(update={"label_delay_days": 2})}.__getitem__)
    land(store, EARLY)
    serve(store, ("a-0", 7, 3), ("b-0", 8, 5))
    happen(store, ("a-0", 1, 6), ("a-0", 0, 30), ("b-0", 1, 9))
    snapshot = model_snapshot(store, BY_KEY)
    assert snapshot is not None
    assert snapshot.served is not None
    assert snapshot.usual_delay_days() == 3  # told at midnight UTC, which is the evening before
    moment = datetime(2024, 1, 7, 12, tzinfo=timezone.utc)
    earlier = replace(snapshot, labels=replace(snapshot.served, known_by=moment))
    assert learned(earlier) == {1: (1, 1), 7: (2, 1), 8: (2, None)}
    others = [replace(snapshot, labels=replace(snapshot.served, **told)) for told in ({"delay_days": 3}, {"since": date(2024, 1, 1)})]
    assert len({one.digest for one in (snapshot, earlier, *others)}) == 4


def test_a_split_goes_over_rows_and_predictions(store: FolderStore) -> None:
    """DM-12: Bootstrap from the dataset's own rows; what was served since is validated and tested on, newest days last. An outcome that is
    no class is left out and counted."""
    land(store, *((claim, claim, claim % 2 == 0) for claim in range(4)))
    serve(store, *((f"{claim}-0", claim, claim) for claim in range(4, 8)))
    happen(store, ("4-0", 1, 9), ("5-0", 0, 9), ("6-0", 1, 9), ("7-0", 4, 9))
    lenient = BY_KEY.model_copy(update={"split": BY_KEY.split.model_copy(update={"max_unknown_labels": 0.5})})
    snapshot = model_snapshot(store, lenient)
    assert snapshot is not None
    cut = split(snapshot, lenient, FEATURES)
    assert [part["id"].tolist() for part in (cut.train, cut.validation, cut.test)] == [[0, 1, 2, 3, 4], [5], [6]]
    assert [part["sum"].tolist() for part in (cut.train, cut.validation, cut.test)] == [[1, 1, 1, 1, 2], [2], [2]]
    assert cut.unknown.sentence == "1 of 8 labels (12.5%) are no class and left out: `4.0` (1)."
    with pytest.raises(TrainingRefused, match="1 of 8 labels"):
        split(snapshot, BY_KEY, FEATURES)
    rows = snapshot.rows()
    regression = BY_KEY.model_copy(update={"task": "regression", "classes": ()})
    assert label_of(rows, FEATURES, regression).tolist()[-1] == 4
    assert unknown_of(regression, rows, label_of(rows, FEATURES, regression)).rows == 0


def test_a_manifest_gives_the_same_snapshot_later(store: FolderStore) -> None:
    """MO-17: Versions, digests and moment are recorded; what comes later changes nothing; where the log of a version is gone a sentence
    says so, and a changed byte is damage."""
    land(store, EARLY)
    serve(store, ("a-0", 7, 3))
    happen(store, ("a-0", 1, 6))
    snapshot = model_snapshot(store, BY_KEY)
    assert snapshot is not None
    used = labels_used(snapshot, "fraud")
    manifest = Manifest(
        model="frauds", run_key="k", dataset="claims", snapshot=1, snapshot_digest=snapshot.digest, labels=used, code_digest="c",
        lock_digest="l", parameters={}, seed=1, cause="data", event_time_end="",
    )  # fmt: skip
    serve(store, ("b-0", 8, 4))
    happen(store, ("a-0", 0, 7))
    manifest = Manifest.model_validate_json(manifest.model_dump_json())
    again = snapshot_of(store, ROWS, manifest)
    assert (again.digest, learned(again)) == (snapshot.digest, {1: (1, 1), 7: (2, 1)})
    assert manifest.digest == manifest.model_copy(update={"labels": used.model_copy(update={"snapshot": 9, "predictions": 9})}).digest
    assert manifest.digest != manifest.model_copy(update={"labels": used.model_copy(update={"digest": "other"})}).digest
    assert manifest.labels_of("claims") is None
    assert manifest.labels.newest_day == date(2024, 1, 4)
    path = f"tables/frauds_predictions/{Table(store, 'frauds_predictions').files(1)[0]['path']}"
    store.write(path, store.read(path)[:-1] + b"?")
    with pytest.raises(StoredDataDamaged, match="frauds_predictions"):
        again.refuse_damaged()
    for item in list(store.list("tables/frauds_outcomes")):
        store.delete(item.key)
    with pytest.raises(StoredDataDamaged, match="Version 1 of the table frauds_outcomes is gone, it has none: what was served and learned"):
        snapshot_of(store, ROWS, manifest)


def test_the_reference_of_drift_has_what_was_served(store: FolderStore, tmp_path: Path) -> None:
    """MN-01: The newest days that a version learned from are compared with its traffic: predictions among them, not the dataset's rows in
    their place."""
    land(store, *((claim, claim, True) for claim in range(6)))
    serve(store, ("a-0", 7, 4), ("b-0", 8, 4), ("c-0", 9, 7))
    happen(store, ("a-0", 1, 9), ("b-0", 0, 9))
    snapshot = model_snapshot(store, SINCE)
    assert snapshot is not None
    (tmp_path / "signature.json").write_text(json.dumps({"inputs": [{"name": "sum"}]}))
    manifest = Manifest(
        model="frauds", run_key="k", dataset="claims", snapshot=1, snapshot_digest=snapshot.digest, labels=labels_used(snapshot, "fraud"),
        code_digest="c", lock_digest="l", parameters={}, seed=1, cause="data", event_time_end="",
    )  # fmt: skip
    digest = publish(store, "frauds", tmp_path, manifest)
    spec = SINCE.model_copy(update={"monitoring": SINCE.monitoring.model_copy(update={"reference_days": 7})})
    references = References(store, spec, ROWS, {1: digest})
    assert references.snapshot(1)[0].newest() == FIRST + timedelta(days=7)
    counted = references.profile(1)
    assert {day.day: int(n) for day, n in zip(counted.blocks, counted.rows(), strict=True)} == {2: 1, 5: 2, 8: 1}
    assert sorted(references.sampled(1, ["sum"])["sum"].to_pylist()) == [1.0, 2.0, 2.0, 2.0]


def test_a_replay_goes_over_rows_and_predictions(store: FolderStore, tmp_path: Path) -> None:
    """MN-10: Days and labels of the history are those of a training."""
    land(store, *((claim, claim, True) for claim in range(6)))
    serve(store, ("a-0", 7, 4), ("b-0", 8, 4), ("c-0", 9, 7))
    happen(store, ("a-0", 1, 9), ("c-0", 0, 9))
    snapshot = model_snapshot(store, SINCE)
    assert snapshot is not None
    world = prepare(snapshot, SINCE, FEATURES, 0, tmp_path, Told(False))
    assert {(day - FIRST.date()).days: counts for day, counts in world.counts.items()} == {0: (1, 1), 1: (1, 1), 4: (2, 1), 7: (1, 1)}
    assert {(day - FIRST.date()).days: world.rehearsal.labels(day).tolist() for day in world.days} == {0: [1], 1: [1], 4: [1], 7: [0]}


def test_versions_are_checked(store: FolderStore) -> None:
    """DM-03: Without outcomes the dataset's rows alone are a snapshot; a version that a table does not have gets a sentence."""
    assert model_snapshot(store, BY_KEY) is None
    land(store, EARLY)
    snapshot = model_snapshot(store, BY_KEY, labels=0, predictions=0)
    assert snapshot is not None
    assert learned(snapshot) == {1: (1, 1)}
    assert snapshot.words == "snapshot 1 of claims with outcomes 0 of predictions 0 of frauds, known by 2024-01-01 00:00 UTC"
    with pytest.raises(UnknownName, match="no version 2 of the table frauds_outcomes: it has no rows yet"):
        model_snapshot(store, BY_KEY, labels=2)
    serve(store, ("a-0", 7, 3))
    with pytest.raises(UnknownName, match="no version 2 of the table frauds_predictions: it has the versions 1 to 1"):
        model_snapshot(store, BY_KEY, predictions=2)


@settings(max_examples=20, deadline=None)
@given(told=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0]), st.integers(0, 2)), max_size=8))
def test_the_newest_outcome_is_the_one_that_monitoring_takes(told: Sequence[tuple[str, float, int]]) -> None:
    """MN-03: Of equal times the later line."""
    times = [datetime(2024, 1, 1 + day, tzinfo=timezone.utc) for *_, day in told]
    rows = outcome_rows([{"prediction_id": i, "outcome": y, "time": t} for (i, y, _), t in zip(told, times, strict=True)], "f")
    predictions = pa.table({"prediction_id": pa.array(sorted({i for i, *_ in told}), pa.string())})
    predictions = predictions.append_column("served_at", pa.nulls(predictions.num_rows, UTC))
    joined, _ = join(predictions, rows)
    assert newest_outcomes(rows).sort_by("prediction_id") == joined.select(["prediction_id", "outcome"]).sort_by("prediction_id")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"inputs": ("sum",), "served_since": date(2024, 1, 3)}, None),
        ({"inputs": ("sum",)}, "a prediction cannot be told from a row of claims: its inputs lack id of the key. Say from which day on"),
        ({"inputs": ("id", "fraud")}, "its inputs name its label fraud: an outcome is not known at prediction time"),
        (
            {"split": SplitSpec(by="group", group=("town",), test_share=0.2, validation_share=0.2)},
            "its split by group goes by town, which is no input, so that its predictions have none",
        ),
    ],
)
def test_a_model_that_cannot_tell_its_predictions_is_named(changes: dict[str, Any], why: str | None) -> None:
    """MO-01: Found before anything is trained, with the line to write."""
    wrong = ModelSpec(**{**BY_KEY.model_dump(), **changes}).misfit(ROWS)
    assert (wrong is None) == (why is None)
    assert why is None or (wrong and why in wrong[1])


def test_served_since_is_of_outcomes() -> None:
    """MO-01: It means nothing elsewhere."""
    with pytest.raises(ValueError, match='set labels="outcomes"'):
        ModelSpec(**{**SINCE.model_dump(), "labels": None})
    assert BY_KEY.datasets == ("claims",)
