"""Scores rows of {dataset} with {title} in a batch: the newest days, a range of days, a file or a query.

**When.** On the spec's `scoring.schedule`, when `{dataset}` has a new snapshot if the spec says `scoring.on_new_snapshot`, or by hand.
Without *From* and *To* the newest days are scored, as many as `scoring.days`.

**What it does.** `plan` fixes version, rows and days: the champion by the ledger scores, unless *Version* names another. `share_out` splits
the work into as many parts as the run asks for, `score_part` scores one part with the scorer that serves (each is a task of its own, and
a pod if stages run as pods), and `merge` writes the table `{name}_scores`, day by day. Rows that a request would refuse are held back and
listed below `scoring/{name}/held_back/`; the others are scored. If a dataset has these scores as its rows (`scores_of`), new ones trigger
its ingestion. What is new counts as predictions for monitoring, never for a release. A
run that is repeated writes the same scores again, in the place of the old ones; the result does not depend on the number of parts.

| task | it fails when | what to do |
| --- | --- | --- |
| `plan` | there is no such version, snapshot or file, the rows lack what the version reads, or the query fails: not retried. Without a \
champion or rows it is skipped | read its sentence |
| `share_out` | never | nothing |
| `score_part` | the version fails, or scores its golden rows differently: not retried; or the store does not answer: retried | read its \
sentence; run `make setup` again |
| `merge` | a part is missing, or the store does not answer; retried | clear that part |
| `alert` | the store does not answer; retried, and the run does not fail because of it. It alerts people when a scoring failed for good, \
and when the next one succeeds | docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.share_out import ShareOut
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import param, result_of, stage_task, stage_tasks

PARAMS = {
    "from": Param(
        None,
        type=["null", "string"],
        format="date",
        title="From",
        description="First day of event time; the newest days if both are empty.",
    ),
    "to": Param(None, type=["null", "string"], format="date", title="To", description="Last such day, included."),
    "version": Param(None, type=["null", "integer"], minimum=1, title="Version", description="Version that scores; the champion if empty."),
    "snapshot": Param(
        None, type=["null", "integer"], minimum=1, title="Snapshot", description="Table version whose rows are scored; the newest if empty."
    ),
    "file": Param(
        None,
        type=["null", "string"],
        pattern="^(landing|scoring)/(?!.*[.][.]/)[^\\n]+$",
        title="File",
        description="Score the rows of this file instead: its key in the store, such as scoring/june.csv.",
    ),
    "query": Param(
        None,
        type=["null", "string"],
        maxLength=10_000,
        title="Query",
        description="Score the rows of this query instead: one SELECT of DuckDB over the tables of the store.",
    ),
    "parts": Param(1, type="integer", minimum=1, maximum=1000, title="Parts", description="Number of parts in which the rows are scored."),
}


def scoring(spec: ModelSpec) -> DAG:
    """The scoring DAG of one model."""
    clock = CronTriggerTimetable(spec.scoring.schedule, timezone="UTC") if spec.scoring.schedule else None
    data = [assets.snapshot(spec.dataset)] if spec.scoring.on_new_snapshot else None
    schedule = AssetOrTimeSchedule(timetable=clock, assets=data) if clock and data else clock or data
    with DAG(schedule=schedule, params=PARAMS, **dag_defaults(spec, "scoring", __doc__)) as dag:
        plan = stage_task(
            "score",
            spec,
            task={"task_id": "plan"},
            version=param("version"),
            snapshot=param("snapshot"),
            first=param("from"),
            last=param("to"),
            file=param("file"),
            query=param("query"),
            plan="true",
        )
        share_out = ShareOut(
            task_id="share_out",
            planned_by="plan",
            parts=param("parts"),
            arguments={"model": spec.name},
            planned={"planned": "plan"},
            sentence="Version {version} scores the rows of plan {plan} in {parts} parts.",
        )
        score_part = stage_tasks("score", spec, share_out.output, task={"task_id": "score_part"})
        told = {"outlets": [assets.scores(spec.name)], "announces": assets.scores_written} if spec.name in READ else {}
        merge = stage_task(
            "score", spec, task={"task_id": "merge", **told}, planned=result_of("plan", "plan"), merge=param("parts"), run="{{ run_id }}"
        )
        found_by = dict.fromkeys(("plan", "score_part", "merge"), sightings.in_stage("score"))
        alert = TellIncidents(task_id="alert", spec=spec, found_by=found_by)
        plan >> share_out >> score_part >> merge
        [plan, score_part, merge] >> alert.as_teardown()
    return dag


READ = {dataset.scores_of for dataset in discovery.datasets().values()}  # models whose scores are rows of a dataset
for spec in wanted(discovery.models().values(), "scoring"):
    scoring(spec)
