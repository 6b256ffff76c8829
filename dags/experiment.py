"""Tries another version of {title} beside the champion: an A/B test on real traffic, with a winner or "no difference shown".

**When.** Only by hand, with the versions, the metric, the unit and the least difference worth knowing.

**What it does.** The same unit (such as a user, whose key callers send in the header `x-perennial-unit`) gets the same version.
`run_experiment` looks again and again at what both have shown and waits in the triggerer between two looks. It ends when the interval
around the difference leaves zero (a winner), when no difference as great as the least one is shown at the planned number of units, at once
when the release's own signals show harm or units are not shared out as wanted, and after *Days* at the latest. The champion then serves
everything; a winner is told, and released only where *Promote* says so. Start, each change of shares and the end are in the ledger.

**To end it, or to change the shares,** trigger this DAG again with *Action*. `{name}_rollback` ends it at once, too. While it is under
way no version is released.

| task | it fails when | what to do |
| --- | --- | --- |
| `run_experiment` | it cannot begin, or the version did harm and was taken out: not retried, the champion serves | read its sentence; \
docs/experiments.md |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when the version did harm, and \
when looks failed | docs/runbook.md |
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import STARTED_BY, param, stage_task


def given(kind: str, title: str, description: str, **more: Any) -> Param:
    """A Param that may be left empty."""
    return Param(None, type=["null", kind], title=title, description=description, **more)


PARAMS = {
    "action": Param(
        "start",
        type="string",
        enum=["start", "look", "weigh", "stop"],
        title="Action",
        description="Start one; go on looking at the one under way; give the version that is tried another share of the units; stop it.",
    ),
    "versions": given(
        "string", "Versions", "To start: the champion and the version that is tried, such as 7,8.", pattern=r"^\s*\d+\s*,\s*\d+\s*$"
    ),
    "metric": given("string", "Metric", "To start: error, outcome, score, a signal of the release, or a condition such as score > 0.9."),
    "better": given("string", "Better", "Which value of the metric is better.", enum=["lower", "higher", None]),
    "low": given("number", "Low", "Lowest value of a mean that counts."),
    "high": given("number", "High", "Highest value of a mean that counts."),
    "unit": given("string", "Unit", "To start: what the key in the header x-perennial-unit is of, such as user_id."),
    "share": given(
        "number",
        "Share",
        "Percent of the units that get the version that is tried; half if empty.",
        exclusiveMinimum=0,
        exclusiveMaximum=100,
    ),
    "least": given("number", "Least difference", "To start: least difference worth knowing, in the metric's unit.", exclusiveMinimum=0),
    "power": Param(
        0.8, type="number", exclusiveMinimum=0.5, exclusiveMaximum=1, title="Power", description="Chance to show a difference of that size."
    ),
    "days": Param(28, type="number", exclusiveMinimum=0, title="Days", description="Longest time, days."),
    "promote": Param(False, type="boolean", title="Promote", description="Make a winner the champion at once."),
    "reason": Param("", type="string", maxLength=500, title="Reason", description="Why it is stopped or re-weighed; kept in the ledger."),
}
LONG_WAIT = {"retries": 100, "retry_delay": timedelta(seconds=5), "max_retry_delay": timedelta(minutes=1)}  # one count for days of looks


def experiment(spec: ModelSpec) -> DAG:
    """The experiment DAG of one model. One run looks while others may stop it or change the shares."""
    defaults = {**dag_defaults(spec, "experiment", __doc__), "max_active_runs": 4}
    with DAG(schedule=None, params=PARAMS, **defaults) as dag:
        asked = {name: param(name) for name in PARAMS}
        run = stage_task("experiment", spec, task={"task_id": "run_experiment", **LONG_WAIT}, **asked, run="{{ run_id }}", actor=STARTED_BY)
        alert = TellIncidents(task_id="alert", spec=spec, found_by={"run_experiment": sightings.in_experiment})
        run >> alert.as_teardown()
    return dag


for spec in wanted(discovery.models().values(), "experiment"):
    experiment(spec)
