"""Recalibrates {title}: fits scale and shift of the champion's scores to newly labelled days, with the same weights.

**When.** Daily, on the spec's `retrain.recalibrate_schedule`, or by hand. It is skipped if no day was labelled since the last run, while a
training or a release is under way, and if the spec says `recalibrate=False`.

**What it does.** `recalibrate` fits two parameters to newly labelled days and judges the fit on the newest of them, which are held out. A
fit that is shown to be better than the champion is registered as a version and starts `{name}_release`; otherwise nothing changes.

| task | it fails when | what to do |
| --- | --- | --- |
| `recalibrate` | in the serving environment the recalibrated version scores its golden rows differently: not retried | read its sentence; \
run `make setup` again |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when a recalibration failed for \
good, and when the next one succeeds | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
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


for spec in wanted(discovery.models().values(), "recalibration"):
    recalibration(spec)
