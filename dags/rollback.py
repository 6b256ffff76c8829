"""Returns {title} to its last good version at once.

**When.** Only by hand. It takes seconds; no request is lost.

**What it does.** All traffic goes back to the version that served before, a release under way is ended, and the ledger gets an entry
with your reason. `perennial rollback --model {name}` does the same without Airflow.

| task | it fails when | what to do |
| --- | --- | --- |
| `rollback` | there is no earlier version to go back to, or not the one that was named: not retried | train and release one; look at \
what serves by now |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when a rollback failed, and when \
the next one succeeds | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import STARTED_BY, param, stage_task

PARAMS = {
    "version": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Version",
        description="Go back to this version or not at all; to the one that served before if empty.",
    ),
    "reason": Param(
        "asked for by a person", type="string", minLength=1, maxLength=500, title="Reason", description="Why; kept in the ledger."
    ),
}


def rollback(spec: ModelSpec) -> DAG:
    """The rollback DAG of one model."""
    with DAG(schedule=None, params=PARAMS, **dag_defaults(spec, "rollback", __doc__)) as dag:
        go_back = stage_task("rollback", spec, version=param("version"), reason=param("reason"), actor=STARTED_BY)
        alert = TellIncidents(task_id="alert", spec=spec, found_by={"rollback": sightings.in_rollback})
        go_back >> alert.as_teardown()
    return dag


for spec in wanted(discovery.models().values(), "rollback"):
    rollback(spec)
