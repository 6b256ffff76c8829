"""An experiment goes on, look by look."""

from __future__ import annotations

import time

import pytest
from airflow.sdk.exceptions import TaskDeferred

from perennial_airflow import sightings
from perennial_airflow.operators.experiment_stage import ExperimentStage
from perennial_airflow.stage_end import StageRefused

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

LEDGER = """
file = os.environ["PERENNIAL_HOME"] + "/looks"
looks = int(open(file).read()) if os.path.exists(file) else 0
open(file, "w").write(str(looks + 1))
action, verdict = {actions}[looks]
end(
    0, outcome="done", sentence=f"Given {{given[1:]}}.", action=action, verdict=verdict, version=8, champion=7, evidence={{"units": looks}},
    look_again_seconds=60,
)
"""
ASKED = {"model": "m", "action": "start", "versions": "7,8", "metric": "error", "run": "manual 1"}


def _follow(context):
    """Run as Airflow does, with a new operator for every resumption; returns the result and the pauses, in seconds."""
    pauses, resume = [], {}
    while True:
        task = ExperimentStage(task_id="run_experiment", stage="experiment", arguments=dict(ASKED))
        try:
            return (task.resume_execution(resume["method"], resume["kwargs"], context) if resume else task.execute(context)), pauses
        except TaskDeferred as deferred:
            pauses.append(round(deferred.trigger.at - time.time()))
            resume = {"method": deferred.method_name, "kwargs": {**deferred.kwargs, "event": deferred.trigger.at}}


def test_it_looks_until_the_end(stages, task_log, task_instance):
    """SE-09, OP-10: The first look starts it, those that follow only look; between two it waits in the triggerer."""
    stages.do(LEDGER.format(actions=[("started", ""), ("hold", ""), ("hold", ""), ("ended", "better")]))
    result, pauses = _follow({"ti": task_instance()})
    assert (result["action"], result["verdict"], pauses) == ("ended", "better", [60, 60, 60])
    told = [text.split(". Looking")[0] for _, text in task_log.lines if text.startswith("Given ")]
    assert told[0] == "Given ['start', '--model=m', '--versions=7,8', '--metric=error', '--run=manual 1']"
    assert told[1:3] == ["Given ['look', '--model=m']"] * 2


def test_a_new_try_asks_for_the_same_start(stages, task_log, task_instance):
    """SE-09, DE-22: with the name of its run, by which the ledger knows what became of it."""
    stages.do(LEDGER.format(actions=[("ended", "no_difference")]))
    result, pauses = _follow({"ti": task_instance(try_number=2)})
    assert (result["verdict"], pauses) == ("no_difference", [])
    assert "--run=manual 1" in result["sentence"]


def test_harm_fails_the_task_and_is_an_incident(stages, task_log, task_instance):
    """SE-09, MN-09: red and not tried again; a worse version is no failure."""
    stages.do(LEDGER.format(actions=[("ended", "harm")]))
    ti = task_instance()
    with pytest.raises(StageRefused):
        _follow({"ti": ti})
    result = {**ti.pushed["return_value"], "links": {}}
    seen = sightings.in_experiment(result)
    assert [(one.kind, one.key) for one in seen if isinstance(one, sightings.Seen)] == [("release", "version 8")]
    assert not [one for one in sightings.in_experiment({**result, "verdict": "worse"}) if isinstance(one, sightings.Seen)]
    assert sightings.in_experiment(None) == []
