"""Fits the scores of {title} to newly labelled days: the champion's weights with another scale and shift.

**When.** Daily, on the spec's `retrain.recalibrate_schedule`, or by hand. It is skipped while no day was labelled since the last
look, while a training or a release is under way, and where the spec says `recalibrate=False`.

**What it does.** `recalibrate` fits two parameters to the newest labelled days but for the last of them, and judges on those. What is
shown to be better than the champion is registered as a version and starts `{name}_release`; what is not leaves everything as it is.

| task | it fails when | what to do |
| --- | --- | --- |
| `recalibrate` | the recalibrated version scores its golden rows otherwise where it is served: not tried again | read its sentence; run \
`make setup` again |
| `alert` | the store does not answer; tried again, and the run does not fail by it. It tells people of a recalibration that failed for \
good, and of the next that works | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import run_page, stage_task


def recalibration(spec: ModelSpec) -> DAG:
    """The recalibration DAG of one model."""
    schedule = CronTriggerTimetable(spec.retrain.recalibrate_schedule, timezone="UTC")
    with DAG(schedule=schedule, **dag_defaults(spec, "recalibration", __doc__)) as dag:
        recalibrate = stage_task(
            "recalibrate",
            spec,
            task={"outlets": [assets.candidate(spec)], "announces": assets.candidate_registered},
            run_url=run_page(),
        )
        alert = TellIncidents(task_id="alert", spec=spec, found_by={"recalibrate": sightings.in_stage("recalibrate")})
        recalibrate >> alert.as_teardown()
    return dag


for spec in discovery.models().values():
    recalibration(spec)
