"""What the log says of the signals that a team adds to a release."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from perennial.monitoring.signal_values import columns_of, edge_of, grouped
from perennial.specs import SignalSpec

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
YES_NO = ("no", "yes")


def answers(*rows: tuple[Any, ...], **more: list[Any]) -> pa.Table:
    """Rows of (id, version, scores, outcome, batch, batch of the outcome), a second apart."""
    ids, versions, scores, outcomes, batches, came = zip(*rows, strict=True) if rows else ((),) * 6
    columns = {
        "prediction_id": pa.array(ids, pa.string()),
        "model_version": pa.array(versions, pa.int64()),
        "served_at": pa.array([NOON + timedelta(seconds=at) for at in range(len(rows))], pa.timestamp("us", "UTC")),
        "scores": pa.array(scores, pa.list_(pa.float64())),
        "outcome": pa.array(outcomes, pa.float64()),
        "_batch": pa.array(batches, pa.string()),
        "outcome_batch": pa.array(came, pa.string()),
    }
    return pa.table({**columns, **more})


def values(table: pa.Table, task: str = "binary", classes: tuple[str, ...] = YES_NO, edge: float | None = None, **spec: Any) -> Any:
    one = SignalSpec(**{"name": "mine", "low": -1e9, "high": 1e9, **spec})
    edges = {} if edge is None else {"mine": edge}
    return grouped(table, task, classes, (one,), candidate=2, champion=1, edges=edges).get("mine")


TABLE = answers(
    ("a-0", 1, [0.9, 0.1], 0.0, "1", "7"),
    ("b-0", 2, [0.2, 0.8], 0.0, "1", "8"),
    ("b-1", 2, [0.1, 0.9], 1.0, "1", "8"),  # the same request
    ("c-00", 2, [0.5, 0.5], None, "2", None),
    ("d", 1, [0.7, 0.3], 1.0, "2", "7"),  # an id that names no row
    ("e-0", 3, [0.0, 1.0], 1.0, "2", "7"),  # another version
    milliseconds=pa.array([1.0, 2.0, 3.0, None, 5.0, 6.0]),
    input_km=pa.array([10, 20, 30, 40, 50, 60]),
    input_late=pa.array([True, False, None, True, True, True]),
)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        ("score", [([0.8], [0.1]), ([0.5], [0.3])]),
        ("no", [([0.2], [0.9]), ([0.5], [0.7])]),
        ("milliseconds", [([2.0], [1.0]), ([], [5.0])]),
        ("km", [([20.0], [10.0]), ([40.0], [50.0])]),
        ("late", [([0.0], [1.0]), ([1.0], [1.0])]),
        ("unheard", None),
    ],
)
def test_a_column_of_the_log(column: str, found: Any) -> None:
    """SE-09: of the first row of each request of the two versions, by the batch in which they came; a column that is not there has none."""
    assert values(TABLE, column=column) == found


def test_an_event_is_so_or_not() -> None:
    """SE-09: a condition, also of the class that an answer names: one half is enough for the positive one of two."""
    bounds = {"low": None, "high": None}
    for event, found in (
        ("> 0.5", [([1.0], [0.0]), ([0.0], [0.0])]),
        (">= 0.5", [([1.0], [0.0]), ([1.0], [0.0])]),
        ("< 0.5", [([0.0], [1.0]), ([0.0], [1.0])]),
        ("<=.5", [([0.0], [1.0]), ([1.0], [1.0])]),
        ("== 0.1", [([0.0], [1.0]), ([0.0], [0.0])]),
        ("!= 0.1", [([1.0], [0.0]), ([1.0], [1.0])]),
    ):
        assert values(TABLE, column="score", event=event, **bounds) == found
    assert values(TABLE, column="class", event="== yes", **bounds) == [([1.0], [0.0]), ([1.0], [0.0])]
    assert values(TABLE, column="class", event="!= yes", **bounds) == [([0.0], [1.0]), ([0.0], [1.0])]
    assert values(TABLE, column="milliseconds", event="> 0", **bounds) == [([1.0], [1.0]), ([], [1.0])]  # without a value it is neither
    three = answers(("a-0", 2, [0.2, 0.5, 0.3], 0.0, "1", "7"), ("b-0", 1, [0.2, 0.3, 0.5], 0.0, "1", "7"))
    assert values(three, "multiclass", ("r", "s", "t"), column="class", event="== s", **bounds) == [([1.0], [0.0])]
    assert values(three, "multiclass", ("r", "s", "t"), column="t") == [([0.3], [0.5])]
    late = answers(("a-0", 2, [0.1, 0.2, 0.7], 2.0, "1", "7"), ("b-0", 1, [0.2, 0.1, 0.7], 0.0, "1", "7"))
    assert values(late, "multiclass", ("r", "s", "t"), column="class", event="== t", **bounds) == [([1.0], [1.0])]
    assert values(late, "multiclass", ("r", "s", "t"), source="outcomes", column="error") == [([0.0], [1.0])]
    even = answers(("a-0", 2, [0.5, 0.5], 1.0, "1", "7"), ("b-0", 1, [0.5, 0.5], 0.0, "1", "7"))
    assert values(even, source="outcomes", column="error") == [([0.0], [1.0])]
    assert values(even, "anomaly", (), source="outcomes", column="error") == [([0.0], [1.0])]
    alarm = answers(("a-0", 2, [3.5, 1.0], None, "1", None), ("b-0", 1, [0.2, 0.0], None, "1", None))
    assert values(alarm, "anomaly", (), column="score", event="> 2", **bounds) == [([1.0], [0.0])]
    assert values(alarm, "anomaly", (), column="score", low=0, high=9) == [([3.5], [0.2])]


def test_outcomes_come_in_batches_of_their_own() -> None:
    """SE-09: a prediction whose outcome is unknown has no value; an answer is wrong or not, a regression errs by so much."""
    assert values(TABLE, source="outcomes", column="outcome") == [([], [0.0, 1.0]), ([0.0], [])]
    assert values(TABLE, source="outcomes", column="error") == [([], [0.0, 1.0]), ([1.0], [])]
    numbers = answers(("a-0", 1, [3.0], 5.0, "1", "7"), ("b-0", 2, [7.0], 6.5, "2", "7"), ("c-0", 2, [7.0], None, "2", None))
    assert values(numbers, "regression", (), source="outcomes", column="error") == [([0.5], [2.0])]
    assert values(numbers, "regression", (), column="score") == [([], [3.0]), ([7.0, 7.0], [])]


def test_a_quantile_is_the_champions_of_before() -> None:
    """SE-09: of 200 values at least; beyond it is above, or below where a higher value is better. An unknown one has no values."""
    spec = {"column": "score", "quantile": 0.5, "low": None, "high": None}
    assert values(TABLE, **spec) is None
    assert values(TABLE, edge=0.3, **spec) == [([1.0], [0.0]), ([1.0], [0.0])]
    assert values(TABLE, edge=0.3, direction="higher", **spec) == [([0.0], [1.0]), ([0.0], [0.0])]
    one = SignalSpec(name="mine", column="score", quantile=0.9)
    history = [(f"r{at}-0", 1, [0.0, at / 200], None, "1", None) for at in range(200)]
    others = [(f"s{at}-0", 2, [0.0, 9.0], None, "1", None) for at in range(200)]
    assert edge_of(answers(*history, *others), "binary", YES_NO, one, 1) == pytest.approx(0.8955)
    assert edge_of(answers(*history[1:], *others), "binary", YES_NO, one, 1) is None
    erring = SignalSpec(name="mine", source="outcomes", column="error", quantile=0.5)
    numbers = answers(*((f"r{at}-0", 1, [10.0], 10.0 + at, "1", "2") for at in range(201)))
    assert edge_of(numbers, "regression", (), erring, 1) == 100.0


def test_nothing_answered_is_no_value() -> None:
    """SE-09: no row, or none of these versions."""
    assert values(answers(), column="score") is None
    assert values(answers(("a-0", 3, [0.1, 0.9], 1.0, "1", "7")), column="score") is None
    assert values(answers(("a-0", 2, [0.1, math.nan], 1.0, "1", "7")), column="score") is None
    assert values(answers(("a-0", 2, [0.1, 0.9], 1.0, None, None)), column="score") is None  # in no batch yet


def test_values_stand_in_order_of_time() -> None:
    """SE-09: however the rows are stored."""
    rows = answers(*((f"r{at}-0", 2, [0.0, at / 8], None, "1", None) for at in range(8)))
    assert values(rows.take([3, 0, 7, 2, 1, 6, 5, 4]), column="score") == [([at / 8 for at in range(8)], [])]
    mixed = answers(*((f"r{at:03d}-0", 2, [0.0, at / 512], None, str(at % 2), None) for at in range(512)))
    assert values(mixed, column="score") == [([at / 512 for at in range(first, 512, 2)], []) for first in (0, 1)]


def test_only_columns_that_are_watched_are_read() -> None:
    """SE-09: what every prediction has is read anyway."""
    signals = [
        SignalSpec(name="a", column="km", low=0, high=1),
        SignalSpec(name="b", column="milliseconds", low=0, high=1),
        SignalSpec(name="c", column="score", low=0, high=1),
        SignalSpec(name="d", source="outcomes", column="outcome", low=0, high=1),
    ]
    assert columns_of(signals, ("speed", "km", "outcome")) == ["milliseconds", "input_km"]
    assert columns_of(signals[2:], ("speed", "km", "outcome")) == []
