"""Parts of the monitor stage that need no table; the whole is in tests/integration/monitoring."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from perennial.errors import UnknownName
from perennial.specs import GateSpec, ModelSpec
from perennial.stages.monitor import _scores, _window

COMMON = {
    "name": "m",
    "title": "M",
    "owner": "tests",
    "dataset": "flights",
    "label": "late",
    "inputs": ("carrier",),
    "gate": GateSpec(floors={}),
}
BINARY = ModelSpec(task="binary", classes=("on_time", "late"), **COMMON)


def rows(*scores):
    """Rows with scores."""
    return pa.table({"scores": pa.array([list(s) for s in scores], pa.list_(pa.float64()))})


def test_scores_are_shown_by_kind_of_model():
    """Positive scores in tenths, the likeliest class, or ranges of values; shares add up to one."""
    binary = _scores(BINARY, rows((0.95, 0.05), (0.15, 0.85)))
    assert [b["share"] for b in binary] == [0.5, 0, 0, 0, 0, 0, 0, 0, 0.5, 0]
    colours = _scores(
        ModelSpec(task="multiclass", classes=("red", "green", "blue"), **COMMON), rows((0.1, 0.2, 0.7), (0.5, 0.3, 0.2), (0, 0.1, 0.9))
    )
    assert [(b["label"], b["share"]) for b in colours] == [
        ("red", pytest.approx(1 / 3, abs=1e-5)),
        ("green", 0.0),
        ("blue", pytest.approx(2 / 3, abs=1e-5)),
    ]
    minutes = _scores(
        ModelSpec(task="regression", **COMMON | {"gate": GateSpec(metric="rmse", floors={})}), rows((10.0,), (20.0,), (20.0,))
    )
    assert (minutes[0]["share"], minutes[-1]["share"]) == (pytest.approx(1 / 3, abs=1e-5), pytest.approx(2 / 3, abs=1e-5))
    assert _scores(BINARY, rows()) == []


def test_half_a_window_is_completed_by_its_length():
    """A begin alone or an end alone gives a window of the spec's length; times without a zone are UTC."""
    first, last = datetime(2013, 2, 1), datetime(2013, 2, 3, tzinfo=timezone.utc)
    assert _window(first, None, 2) == _window(None, last, 2) == _window(first, last, 9)
    eastern = timezone(timedelta(hours=-5))
    assert _window(datetime(2013, 1, 31, 19, tzinfo=eastern), None, 2).first == first.replace(tzinfo=timezone.utc)


def test_a_window_that_runs_backwards_is_refused():
    """The sentence says which time goes where."""
    with pytest.raises(
        UnknownName, match="from 2013-02-03 00:00 to 2013-02-01 00:00 does not run forward: give the earlier time to --from"
    ):
        _window(datetime(2013, 2, 3), datetime(2013, 2, 1), 2)
