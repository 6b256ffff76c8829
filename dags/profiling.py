"""Profiles the whole table of {title}: counts its rows by day, in parts that run in parallel.

**When.** Only by hand: for a table that existed before Perennial, or one that is too large for one machine. New batches are counted by
`{name}_ingestion` when they land.

**What it does.** `plan` fixes the table version and the layout. `share_out` splits the work into as many parts as the run asks for,
`profile_part` counts one part (each is a task of its own, and a pod if stages run as pods), and `merge` adds them up. The result does not
depend on the number of parts. It is stored in `profiles/{name}/versions/`.

| task | it fails when | what to do |
| --- | --- | --- |
| `plan` | the dataset has no rows | ingest a batch |
| `share_out` | never | nothing |
| `profile_part` | the store does not answer or there is too little memory; retried | choose more parts |
| `merge` | a part is missing | clear that part |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It sends alerts, for the models \
that learn from `{name}`, when a count failed, and when the next one succeeds | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from perennial import discovery
from perennial.specs import DatasetSpec
from perennial_airflow import sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.share_out import ShareOut
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import param, result_of, stage_task, stage_tasks

PARAMS = {
    "parts": Param(4, type="integer", minimum=1, maximum=1000, title="Parts", description="Number of parts in which the table is counted."),
    "version": Param(
        None, type=["null", "integer"], minimum=1, title="Version", description="Table version to count; the newest if empty."
    ),
}


def profiling(spec: DatasetSpec) -> DAG:
    """The profiling DAG of one dataset."""
    with DAG(schedule=None, params=PARAMS, **dag_defaults(spec, "profiling", __doc__)) as dag:
        plan = stage_task("profile", spec, task={"task_id": "plan"}, version=param("version"), plan="true")
        share_out = ShareOut(task_id="share_out", planned_by="plan", parts=param("parts"), arguments={"dataset": spec.name})
        profile_part = stage_tasks("profile", spec, share_out.output, task={"task_id": "profile_part"})
        merge = stage_task("profile", spec, task={"task_id": "merge"}, version=result_of("plan", "version"), merge=param("parts"))
        found_by = dict.fromkeys(("plan", "profile_part", "merge"), sightings.in_stage("profile"))
        alert = TellIncidents(task_id="alert", spec=spec, found_by=found_by)
        plan >> share_out >> profile_part >> merge
        [plan, profile_part, merge] >> alert.as_teardown()
    return dag


for spec in wanted(discovery.datasets().values(), "profiling"):
    profiling(spec)
