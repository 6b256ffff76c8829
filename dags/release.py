"""Moves traffic from the champion of {title} to a candidate in canary steps, and back if the evidence turns against it.

**When.** A candidate was registered, or by hand. The spec's `release.mode` says what lets a candidate take traffic: the evidence alone
(`automatic`), a person's approval first (`approval`), or only a person who triggers this DAG (`manual`). With `release.strategy`
`blue_green` all traffic moves at once, and the version before stays warm.

**What it does.** `move_traffic` looks at the evidence again and again: errors and latency of both arms, unreadable requests, and outcomes
if there are any. After each look it advances a step, holds, promotes the candidate or rolls it back, and then waits in the
triggerer. Every change of weight is recorded in the ledger with its evidence. An interrupted release continues from the step it had
reached.

**What it asks.** In mode `approval`, `may_start` asks before a version takes traffic; a no is recorded in the ledger, and that version is
not released again automatically. `ask_person` asks when the evidence is inconclusive; until then the weights stay as they are. In every
mode it also asks, before any traffic moves, about a candidate that cannot read everything that callers send, and says what they must send.
All questions wait until somebody answers or a command decides them: silence never counts as a yes, no worker is held, and later
candidates wait. The channels of the model are told that a question waits, and told again, as critical, after `release.remind_hours`.

| task | it fails when | what to do |
| --- | --- | --- |
| `may_start` | no version was named, or the store does not answer. It exists only in mode `approval`, where it waits for you, and in mode \
`manual`, where it skips runs that nobody started | Browse → Required Actions: Approve or Reject; when triggering by hand, give *Version* |
| `move_traffic` | the candidate was rolled back: not retried, the champion serves | read its sentence; the evidence is in the ledger |
| `ask_person` | skipped, unless the evidence is inconclusive or the candidate breaks callers; then it waits for you | Browse → Required \
Actions: Promote or Roll back, Approve or Reject |
| `settle` | traffic could not be moved as decided; or, after an Approve, the candidate was rolled back | read its sentence; \
`{name}_rollback` returns to the last good version at once |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when a candidate was rolled \
back, when looks failed, and when that is over | docs/runbook.md |
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, BaseOperator, Param, chain

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.ask_person import AskMayStart, AskPromoteOrRollBack, OnlyByHand
from perennial_airflow.operators.tell_incidents import TellIncidents, questions
from perennial_airflow.stage_task import STARTED_BY, param, result_of, stage_task

PARAMS = {
    "version": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Version",
        description="Version to release; the registry's candidate if empty. In mode approval an approval is for one version: name it.",
    ),
    "again": Param(
        False,
        type="boolean",
        title="Again",
        description="Release the version even if it was rolled back or rejected before, was never compared with this champion, or if "
        "the model was retired.",
    ),
}
# One count for the whole release, which may take days; a busy scheduler now and then takes a try for a moment's wait, and traffic must not
# stand still for it.
LONG_WAIT = {"retries": 100, "retry_delay": timedelta(seconds=5), "max_retry_delay": timedelta(minutes=1)}
STEPS = {
    "canary": "Steps: {} percent of the traffic.",
    "blue_green": "Blue/green: all traffic at once; the champion of now stays warm and can take it back.",
}
EVIDENCE = (
    "{{ ti.xcom_pull(task_ids='move_traffic')['sentence'] }}\n\n"
    "```\n{{ ti.xcom_pull(task_ids='move_traffic')['evidence'] | tojson(indent=2) }}\n```"
)


def may_start(spec: ModelSpec) -> list[BaseOperator]:
    """What stands before traffic moves; nothing in mode automatic."""
    if spec.release.mode == "manual":
        by_hand = f"A candidate of {spec.title} waits: {spec.owner} must trigger the DAG {spec.name}_release to release it."
        return [OnlyByHand(task_id="may_start", sentence=by_hand)]
    if spec.release.mode == "approval":
        return [
            AskMayStart(
                task_id="may_start",
                model=spec.name,
                version=param("version"),
                again=param("again"),
                title=spec.title,
                steps=STEPS[spec.release.strategy].format(", ".join(map(str, spec.release.steps))),
            )
        ]
    return []


def release(spec: ModelSpec) -> DAG:
    """The release DAG of one model."""
    asks_first = spec.release.mode == "approval"
    with DAG(schedule=[assets.candidate(spec)], params=PARAMS, **dag_defaults(spec, "release", __doc__)) as dag:
        move_traffic = stage_task(
            "release",
            spec,
            task={"task_id": "move_traffic", **LONG_WAIT},
            version=result_of("may_start", "version") if asks_first else param("version"),
            decision=result_of("may_start", "decision") if asks_first else None,
            again=param("again"),
            actor=result_of("may_start", "actor") if asks_first else STARTED_BY,
        )
        ask_person = AskPromoteOrRollBack(
            task_id="ask_person",
            model=spec.name,
            version=result_of("move_traffic", "version"),
            unsettled="{{ ti.xcom_pull(task_ids='move_traffic')['action'] == 'ask' }}",
            before_start="{{ ti.xcom_pull(task_ids='move_traffic').get('before_start', False) }}",
            title=spec.title,
            body=EVIDENCE,
        )
        settle = stage_task(
            "release",
            spec,
            task={
                "task_id": "settle",
                **LONG_WAIT,  # a release that waited for a person's word runs here
                "outlets": [assets.candidate(spec)],
                "announces": assets.release_left_open,
            },
            version=result_of("move_traffic", "version"),
            decision=result_of("ask_person", "decision"),
            actor=result_of("ask_person", "actor"),
        )
        found_by = dict.fromkeys(("move_traffic", "settle"), sightings.in_release)
        alert = TellIncidents(task_id="alert", spec=spec, found_by=found_by, looks=[questions])
        chain(*may_start(spec), move_traffic, ask_person, settle)
        # A teardown: it comes after everything, however that ended, and a run whose release failed is red although people were told.
        [move_traffic, settle] >> alert.as_teardown()
    return dag


for spec in wanted(discovery.models().values(), "release"):
    release(spec)
