"""Trains a candidate of {title} and lets the gate decide whether it becomes a version.

**When.** Every night, when `{dataset}` has a new snapshot, when monitoring requests retraining, or by hand. An event only
wakes the DAG: `validate` finds out what is new since the last version, and skips the rest if nothing is.

**What it does.** `validate` decides on which snapshot and why. `train` fits on the oldest days, stops early on the validation
days and seals a version folder. `evaluate` measures it on the newest days, beside the champion. `register` is the gate: a
candidate that is not good enough, or not better than the champion, is refused and keeps its run and its reason. A
registered candidate starts `{name}_release`.

A run uses the code it began with: `validate` notes the identity of the model's folder and of its dataset's file, and a later stage that
finds other files stops with a sentence instead of evaluating one label with another. Comments do not count. Start another run then.

| task | it fails when | what to do |
| --- | --- | --- |
| `validate` | the data do not allow training | read its sentence |
| `train` | it broke: it is tried again and goes on from its checkpoint. Files that cannot be read or were changed: not tried again | read \
its sentence, or the traceback in its log |
| `evaluate` | it broke; tried again | the same |
| `register` | the gate refused the candidate: not tried again | read the sentence, open *Evaluation* and *MLflow run* |
| `alert` | the store does not answer; tried again, and the run does not fail by it. It tells people of a stage that failed for good, \
however it was ended, and of its next success | docs/runbook.md |
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import param, result_of, run_page, stage_task

PARAMS = {
    "reason": Param(
        None, type=["null", "string"], maxLength=500, title="Reason", description="Your words for the record: why this training is wanted."
    ),
    "snapshot": Param(
        None, type=["null", "integer"], minimum=0, title="Snapshot", description="Table version to train on; the newest if empty."
    ),
    "max_epochs": Param(
        None, type=["null", "integer"], minimum=1, title="Max epochs", description="Overrides the spec's limit for this run."
    ),
    "force": Param(
        False, type="boolean", title="Force", description="Train even if nothing is new: costs compute, and the gate still decides."
    ),
}
# Nobody starts a nightly or woken run; `validate` refines the hint by what it finds new.
CAUSE = "{{ {'manual': 'manual', 'scheduled': 'schedule'}.get(dag_run.run_type, 'data') }}"


def training(spec: ModelSpec) -> DAG:
    """The training DAG of one model."""
    nightly = CronTriggerTimetable(spec.retrain.schedule, timezone="UTC")
    schedule = AssetOrTimeSchedule(timetable=nightly, assets=assets.snapshot(spec.dataset) | assets.retraining(spec))
    with DAG(schedule=schedule, params=PARAMS, **dag_defaults(spec, "training", __doc__)) as dag:
        validate = stage_task(
            "validate", spec, cause=CAUSE, snapshot=param("snapshot"), force=param("force"), reason=param("reason"), run_url=run_page()
        )
        train = stage_task(
            "train",
            spec,
            snapshot=result_of("validate", "snapshot"),
            cause=result_of("validate", "cause"),
            request=result_of("validate", "request"),
            code=result_of("validate", "code"),
            max_epochs=param("max_epochs"),
            reason=param("reason"),
            run_url=run_page(),
        )
        candidate: dict[str, Any] = {
            "digest": result_of("train", "digest"),
            "run_id": result_of("train", "run_id"),
            "code": result_of("validate", "code"),
        }
        evaluate = stage_task("evaluate", spec, **candidate)
        register = stage_task(
            "register",
            spec,
            task={"outlets": [assets.candidate(spec)], "announces": assets.candidate_registered},
            **candidate,
            evaluation=result_of("evaluate", "evaluation"),
        )
        found_by = {stage: sightings.in_stage(stage) for stage in ("validate", "train", "evaluate")}
        alert = TellIncidents(task_id="alert", spec=spec, found_by={**found_by, "register": sightings.in_gate})
        validate >> train >> evaluate >> register
        # A teardown: it comes after everything, however that ended, and a run whose training failed is red although people were told.
        [validate, train, evaluate, register] >> alert.as_teardown()
    return dag


for spec in discovery.models().values():
    training(spec)
