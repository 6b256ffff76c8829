"""Moves traffic from the champion of {title} to a candidate by evidence, and back by itself.

**When.** A candidate was registered, or by hand. The spec's `release.mode` says who lets it take traffic: the evidence
(`automatic`), a person's approval first (`approval`), or only a person who triggers this DAG (`manual`).

**What it does.** `move_traffic` takes looks at the evidence: errors and latency of both arms, and outcomes where there are any.
After each look it advances a step, holds, promotes the candidate or rolls it back, then waits in the triggerer. Every
change of weight and its evidence is in the ledger; a release that was interrupted goes on from the step it had reached.

| task | it fails when | what to do |
| --- | --- | --- |
| `may_start` | never; only in modes `approval`, where it waits for you, and `manual`, where it skips runs nobody started | Browse → Required Actions |
| `move_traffic` | the candidate was rolled back: not tried again, the champion serves | read its sentence, the evidence is in the ledger |
| `ask_person` | skipped unless the evidence left it open; then it waits for you | Browse → Required Actions: Promote or Roll back |
| `settle` | traffic could not be moved as decided | read its sentence; `{name}_rollback` goes back at once |
| `alert` | the store does not answer; tried again. It tells people of a candidate that the evidence rolled back, and of looks that failed | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, BaseOperator, Param, TriggerRule, chain

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults
from perennial_airflow.operators.ask_person import AskMayStart, AskPromoteOrRollBack, OnlyByHand
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import STARTED_BY, param, result_of, stage_task

PARAMS = {
    "version": Param(
        None, type=["null", "integer"], minimum=1, title="Version", description="Version to release; the registry's candidate if empty."
    ),
    "again": Param(
        False,
        type="boolean",
        title="Again",
        description="Release it although this version was rolled back before, or was not compared with this champion.",
    ),
}
RETRIES_OF_A_LONG_WAIT = 8  # one count for the whole release, which may take days
EVIDENCE = "{{ ti.xcom_pull(task_ids='move_traffic')['sentence'] }}\n\n```\n{{ ti.xcom_pull(task_ids='move_traffic')['evidence'] | tojson(indent=2) }}\n```"


def may_start(spec: ModelSpec) -> list[BaseOperator]:
    """What stands before traffic moves; nothing in mode automatic."""
    if spec.release.mode == "manual":
        by_hand = f"A candidate of {spec.title} waits: {spec.owner} must trigger the DAG {spec.name}_release to release it."
        return [OnlyByHand(task_id="may_start", sentence=by_hand)]
    if spec.release.mode == "approval":
        return [
            AskMayStart(
                task_id="may_start",
                subject=f"May the candidate of {spec.title} take traffic?",
                body=f"Steps: {spec.release.steps} percent.",
            )
        ]
    return []


def release(spec: ModelSpec) -> DAG:
    """The release DAG of one model."""
    with DAG(schedule=[assets.candidate(spec)], params=PARAMS, **dag_defaults(spec, "release", __doc__)) as dag:
        move_traffic = stage_task(
            "release",
            spec,
            task={"task_id": "move_traffic", "retries": RETRIES_OF_A_LONG_WAIT},
            version=param("version"),
            again=param("again"),
            actor=result_of("may_start", "actor") if spec.release.mode == "approval" else STARTED_BY,
        )
        ask_person = AskPromoteOrRollBack(
            task_id="ask_person",
            unsettled="{{ ti.xcom_pull(task_ids='move_traffic')['action'] == 'ask' }}",
            subject=f"Promote the candidate of {spec.title}, or roll it back?",
            body=EVIDENCE,
        )
        settle = stage_task(
            "release",
            spec,
            task={"task_id": "settle"},
            version=result_of("move_traffic", "version"),
            decision=result_of("ask_person", "decision"),
            actor=result_of("ask_person", "actor"),
        )
        chain(*may_start(spec), move_traffic, ask_person, settle)
        move_traffic >> TellIncidents(
            task_id="alert", spec=spec, found_by="move_traffic", sight=sightings.in_release, trigger_rule=TriggerRule.NONE_SKIPPED
        )
    return dag


for found in discovery.models().values():
    release(found)
