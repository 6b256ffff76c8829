"""Trains a candidate of {title} and registers it as a version if it passes the gate.

**When.** Once as soon as the model is there, every night, when `{dataset}` (or the label feed, if the model has one) has a new snapshot,
when monitoring requests retraining, or by hand. These events only trigger the DAG: `validate` checks what is new since the last version,
and skips the rest if nothing is.
If the model learns from outcomes (`labels="outcomes"`), `validate` first takes in what its servers logged: new outcomes are new data.

**What it does.** `validate` decides whether to train, on which snapshot and why. `train` fits on the oldest days, uses the validation
days for early stopping and seals a version folder. `evaluate` measures the candidate on the newest days, side by side with the champion.
`register` is the gate: it refuses a candidate that misses a floor or may be worse than the champion by the margin; such a candidate keeps
its run and its reason. A registered candidate starts `{name}_release`.

A run uses the code that it began with. `validate` records a hash of the model's folder and of its dataset's file. If a later stage finds
other files (changed comments do not count), it stops with a sentence; then start another run.

| task | it fails when | what to do |
| --- | --- | --- |
| `validate` | the data do not allow training | read its sentence |
| `train` | it broke: it is retried and continues from its checkpoint. If files cannot be read or were changed: not retried | read \
its sentence, or the traceback in its log |
| `evaluate` | it broke; retried | the same |
| `register` | the gate refused the candidate: not retried | read its sentence, open *Evaluation* and *MLflow run* |
| `close_run` | MLflow does not answer; retried. It runs only when `train` failed, and gives its run in MLflow the status KILLED if it \
was killed outright | read the last line of its log |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when a stage failed for good, \
however it was ended, and when the stage next succeeds; and when the gate has refused several candidates in a row | docs/runbook.md |
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, Param, TriggerRule

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.tell_incidents import TellIncidents, refusals
from perennial_airflow.stage_task import param, result_of, run_page, stage_task

PARAMS = {
    "reason": Param(
        None, type=["null", "string"], maxLength=500, title="Reason", description="Why this training is wanted, for the record."
    ),
    "snapshot": Param(
        None, type=["null", "integer"], minimum=0, title="Snapshot", description="Table version to train on; the newest if empty."
    ),
    "max_epochs": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Max epochs",
        description="Maximum number of epochs for this run; overrides the spec.",
    ),
    "force": Param(
        False, type="boolean", title="Force", description="Train even if nothing is new. This costs compute time; the gate still decides."
    ),
}
# Nobody starts a nightly or woken run; `validate` refines the hint by what it finds new.
CAUSE = "{{ {'manual': 'manual', 'scheduled': 'schedule'}.get(dag_run.run_type, 'data') }}"


def training(spec: ModelSpec) -> DAG:
    """The training DAG of one model."""
    # A model that is added after its data need not wait for the night: the first run of a DAG comes at once.
    nightly = CronTriggerTimetable(spec.retrain.schedule, timezone="UTC", run_immediately=True)
    data = [assets.snapshot(dataset) for dataset in spec.awaited]
    schedule = AssetOrTimeSchedule(timetable=nightly, assets=AssetAny(*data, assets.retraining(spec)))
    with DAG(schedule=schedule, params=PARAMS, **dag_defaults(spec, "training", __doc__)) as dag:
        validate = stage_task(
            "validate", spec, cause=CAUSE, snapshot=param("snapshot"), force=param("force"), reason=param("reason"), run_url=run_page()
        )
        train = stage_task(
            "train",
            spec,
            snapshot=result_of("validate", "snapshot"),
            labels=result_of("validate", "labels"),
            predictions=result_of("validate", "predictions"),
            joined=result_of("validate", "joined"),
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
        alert = TellIncidents(task_id="alert", spec=spec, found_by={**found_by, "register": sightings.in_gate}, looks=[refusals])
        close_run = stage_task("close", spec, task={"task_id": "close_run", "trigger_rule": TriggerRule.ALL_FAILED}, run_url=run_page())
        validate >> train >> evaluate >> register
        train >> close_run
        # A teardown: it comes after everything, however that ended, and a run whose training failed is red although people were told.
        [validate, train, evaluate, register] >> alert.as_teardown()
    return dag


for spec in wanted(discovery.models().values(), "training"):
    training(spec)
