"""Pictures of an experiment: each says what the view and the table behind it say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from perennial import discovery
from perennial.lineage.experiments import Look, Plan, keep_look
from perennial.lineage.ledger import Ledger
from perennial.specs import SignalSpec
from perennial.store import FolderStore
from perennial.views.experiment import ExperimentView, experiment_view
from perennial_airflow.console.pictures import experiment
from perennial_airflow.console.pictures.axes import milliseconds

BEGIN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def view(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> ExperimentView:
    """One of three looks, of which the first knows nothing yet."""
    monkeypatch.setattr(discovery, "_models", lambda: ({}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    store = FolderStore(str(tmp_path))
    facts: dict[str, Any] = {"champion": 1, "version": 2, "versions": {1: "a" * 64, 2: "b" * 64}, "actor": "jo", "reason": "So."}
    Ledger(store, "churn").append("experiment_weights", weights={1: 5_000, 2: 5_000}, salt="churn-0", after_seq=None, **facts)
    metric = SignalSpec(name="metric", source="outcomes", column="error", low=0, high=1)
    plan = Plan(champion=1, tried=2, metric=metric, unit="user_id", least=0.05)
    for day, known in enumerate(({}, {"difference": -0.02, "low": -0.2, "high": 0.16}, {"difference": -0.03, "low": -0.1, "high": 0.04})):
        counts = {"champion_units": 100 * day, "tried_units": 110 * day, "planned": 2_000 if known else None}
        keep_look(store, "churn", 0, plan, Look(time=BEGIN + timedelta(days=day), share=0.5, sentence="So.", **counts, **known))
    return experiment_view(store, "churn")


def test_the_difference_stands_against_zero_and_the_least_one(view: ExperimentView) -> None:
    """SE-09: with its interval; a look that knows nothing has no point."""
    picture = experiment.difference(view)
    assert json.loads(json.dumps(picture, allow_nan=False)) == picture
    lower, width, values = picture["series"]
    times = [milliseconds(BEGIN + timedelta(days=day)) for day in (1, 2)]
    assert values["data"] == [[times[0], -0.02], [times[1], -0.03]]
    assert [at for _, at in lower["data"]] == [-0.2, -0.1]
    assert [wide for _, wide in width["data"]] == [pytest.approx(0.36), pytest.approx(0.14)]
    assert [one["yAxis"] for one in values["markLine"]["data"]] == [0, 0.05, -0.05]
    assert (picture["yAxis"]["min"], picture["yAxis"]["max"]) == (-0.22, 0.176)  # beyond every interval that is drawn
    assert experiment.difference_rows(view.looks) == [
        ["2026-03-03 12:00:00", "-0.03", "-0.1 to +0.04", "goes on"],
        ["2026-03-02 12:00:00", "-0.02", "-0.2 to +0.16", "goes on"],
        ["2026-03-01 12:00:00", "", "", "goes on"],
    ]


def test_units_of_both_stand_beside_the_plan(view: ExperimentView) -> None:
    """SE-09: each by itself and together; the plan where it is known. A look that counted none, such as a change of shares, is left out."""
    champion, tried, both, planned = experiment.units(view)["series"]
    assert [count for _, count in champion["data"]] == [100, 200]
    assert [count for _, count in tried["data"]] == [110, 220]
    assert [count for _, count in both["data"]] == [210, 420]
    assert [count for _, count in planned["data"]] == [2_000, 2_000]
    assert experiment.unit_rows(view.looks)[0] == ["2026-03-03 12:00:00", "200", "220", "2,000"]
