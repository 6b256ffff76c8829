"""Outcomes join their predictions, however late, repeated or contradictory."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from perennial.classes import outcome_number
from perennial.data.tables import Table
from perennial.monitoring.outcomes import (
    Counts,
    collect_outcomes,
    count_new,
    join,
    outcome_rows,
    outcomes_of,
)
from perennial.monitoring.performance import by_day
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore

NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)
COMMON = {"title": "T", "owner": "tests", "dataset": "flights", "label": "late", "inputs": ("carrier",), "gate": GateSpec(floors={})}
BINARY = ModelSpec(name="delays", task="binary", classes=("on_time", "late"), **COMMON)
COLOURS = ModelSpec(name="colours", task="multiclass", classes=("red", "it's", "blue"), **COMMON)
MINUTES = ModelSpec(name="minutes", task="regression", **COMMON | {"gate": GateSpec(metric="rmse", floors={})})


def predictions(*entries):
    """Rows (id, day of February, hour served)."""
    ids, days, hours = zip(*entries, strict=True)
    return pa.table(
        {
            "prediction_id": pa.array(ids),
            "model_version": pa.array([1] * len(ids), pa.int32()),
            "event_time": pa.array([datetime(2013, 2, d, tzinfo=timezone.utc) for d in days], pa.timestamp("us", "UTC")),
            "served_at": pa.array([NOW + timedelta(hours=h) for h in hours], pa.timestamp("us", "UTC")),
            "scores": pa.array([[0.5, 0.5]] * len(ids), pa.list_(pa.float64())),
        }
    )


def outcomes(*entries):
    """Rows (id, outcome, hour)."""
    return outcome_rows([{"prediction_id": i, "outcome": o, "time": NOW + timedelta(hours=h)} for i, o, h in entries], "test")


def labels(joined):
    """Outcome by prediction."""
    return dict(zip(joined["prediction_id"].to_pylist(), joined["outcome"].to_pylist(), strict=True))


def test_the_last_outcome_by_its_own_time_counts():
    """MN-03: Not the last to arrive; what it overrules is counted."""
    joined, counts = join(predictions(("a", 1, 0), ("b", 1, 0), ("c", 1, 0)), outcomes(("a", 1, 5), ("a", 0, 3), ("b", 1, 1), ("b", 1, 2)))
    assert labels(joined) == {"a": 1.0, "b": 1.0, "c": None}
    assert counts == Counts(predictions=3, labelled=2, repeated=1, contradicted=1, predicted_twice=0)


def test_an_unknown_outcome_waits_for_its_prediction():
    """MN-03: It is joined when the prediction comes."""
    early = outcomes(("late-one", 1, 0), ("late-one", 1, 3), ("b", 1, 0))
    everything = [predictions(("a", 1, 0), ("b", 2, 0))]
    assert join(everything[0], early)[1].labelled == 1
    everything.append(predictions(("late-one", 2, 1)))
    assert labels(join(everything[1], early)[0]) == {"late-one": 1.0}


def test_only_outcomes_of_the_predictions_are_read_in(tmp_path):
    """MN-03: However late they came and however often: of a table of any size what matters is kept, and joins as the whole table would."""
    table = Table(FolderStore(str(tmp_path)), "delays_outcomes")
    table.append(outcomes(*((f"other-{i}", 1, 0) for i in range(500)), ("a", 0, 1), ("b", 1, 2)), "first")
    table.append(outcomes(("a", 1, 9000), ("c", 0, 3)), "second")
    rows, history = predictions(("a", 1, 0), ("b", 1, 0)), predictions(("c", 2, 0), ("d", 3, 0))
    found = outcomes_of([rows, history], table.dataset())
    assert sorted(found["prediction_id"].to_pylist()) == ["a", "a", "b", "c"]
    for some in (rows, history):
        one, whole = join(some, found), join(some, table.scan())
        assert (labels(one[0]), one[1]) == (labels(whole[0]), whole[1])
    assert labels(join(rows, found)[0]) == {"a": 1.0, "b": 1.0}


def test_late_labels_change_only_their_own_window():
    """MN-03: An outcome that comes weeks later changes the day of its prediction and no other."""
    rows = predictions(("a", 1, 0), ("b", 2, 0), ("c", 3, 0))
    before = by_day("binary", join(rows, outcomes(("b", 1, 1), ("c", 0, 1)))[0])
    after = by_day("binary", join(rows, outcomes(("b", 1, 1), ("c", 0, 1), ("a", 1, 900)))[0])
    assert before[1:] == after[1:]
    assert (before[0].labelled, after[0].labelled) == (0, 1)


def test_an_id_used_twice_counts_once():
    """MN-03: Of two predictions with one id the last one served counts."""
    joined, counts = join(predictions(("a", 1, 0), ("a", 2, 5)), outcomes(("a", 1, 6)))
    assert joined["event_time"].to_pylist() == [datetime(2013, 2, 2, tzinfo=timezone.utc)]
    assert counts.predicted_twice == 1


def test_without_any_outcome_everything_is_unlabelled():
    """MN-03: An empty table of outcomes joins to nothing."""
    joined, counts = join(predictions(("a", 1, 0)), outcome_rows([], ""))
    assert labels(joined) == {"a": None}
    assert counts == Counts(predictions=1)


@pytest.mark.parametrize(
    ("model", "given", "number"),
    [
        (BINARY, 1, 1.0), (BINARY, "0", 0.0), (BINARY, "late", 1.0), (BINARY, True, 1.0), (BINARY, "FALSE", 0.0), (BINARY, 2, None),
        (BINARY, 0.5, None), (BINARY, "", None), (BINARY, None, None),
        (COLOURS, "it's", 1.0), (COLOURS, 2.0, 2.0), (COLOURS, "true", None), (COLOURS, "green", None), (COLOURS, -1, None),
        (MINUTES, "-12.5", -12.5), (MINUTES, float("nan"), None), (MINUTES, "inf", None), (MINUTES, "soon", None),
    ],
)  # fmt: skip
def test_outcomes_are_numbers_or_names(model, given, number, tmp_path):
    """MN-03: A class by name or number, or a finite value; the log is read by the same rule as a file."""
    assert outcome_number(given, model.classes) == number
    store = FolderStore(str(tmp_path))
    value = None if isinstance(given, float) and given != given else given
    store.write(f"outcomes/{model.name}/a.jsonl", (json.dumps({"id": "x-0", "outcome": value, "time": NOW.isoformat()}) + "\n").encode())
    table = Table(store, f"{model.name}_outcomes")
    taken = collect_outcomes(store, model, table)
    assert (taken.rows, taken.damaged) == ((0, 1) if number is None else (1, 0))
    assert table.scan(["outcome"])["outcome"].to_pylist() == ([] if number is None else [number])


def test_new_outcomes_are_counted_against_what_is_known():
    """MN-03: First ones, repetitions, contradictions, and those that wait."""
    counts = count_new(outcomes(("a", 1, 0), ("b", 0, 0), ("c", 1, 0)), outcomes(("a", 1, 0), ("b", 1, 0)), predictions(("a", 1, 0)))
    assert (counts.first, counts.repeated, counts.other, counts.unknown) == (1, 1, 1, 2)
