"""Ingests new files of {title}: appends good batches to the table, puts bad ones into quarantine.

**When.** A few seconds after a file in `landing/{name}/` of the store (a folder or S3) has stopped changing, or by hand. A dataset with a
`source` is also looked for there, by the cron line of its `every`: what is new lands as files. Runs that files have started do not look.

**What it does.** Every waiting file is checked against the suite `{name}`. A good batch is appended to the table exactly once, even if the
task is killed or run again. A bad batch goes to `quarantine/{name}/` as a whole, with the reasons. Each file gets a receipt; the next
run takes the files without one. Of a dataset with `scores_of` the rows are new scores of that model instead: its scoring triggers this DAG,
which has the tasks `ingest` and `alert` only. A new snapshot triggers the training DAGs. A retry also announces the snapshots of the tries
before it, so that none is missed.

| task | it fails when | what to do |
| --- | --- | --- |
| `collect` (with a `source` only) | the source or the store does not answer; retried. Not retried: the source is not as the spec says; \
nothing was read then | read the last line of its log; correct the connection, the source or the spec, and start the DAG again: it goes on \
where it was |
| `wait_for_files` | never because of missing files: then it is skipped | nothing |
| `ingest` | the store or the disk fails; retried | read the last line of its log |
| `tell_refused` | files were refused; all others were ingested | read the last lines of its log and the Data Docs of `ingest`, \
correct the files, land them again under any name |
| `alert` | the store does not answer; retried. It sends alerts about refused files, for the models that learn from `{name}` | \
docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, TriggerRule

from perennial import discovery
from perennial.specs import DatasetSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.operators.tell_refused import TellRefused
from perennial_airflow.sensors.landing_sensor import WaitForFiles
from perennial_airflow.stage_task import param, stage_task

PARAMS = {
    "wait_seconds": Param(
        0,
        type="number",
        minimum=0,
        maximum=86400,
        title="Wait for files",
        description="Seconds to wait if no file is ready, or the source has nothing new; holds no worker slot.",
    ),
}


def ingestion(spec: DatasetSpec) -> DAG:
    """The ingestion DAG of one dataset."""
    with DAG(schedule=_schedule(spec), params=PARAMS, **dag_defaults(spec, "ingestion", __doc__)) as dag:
        collected = {"collect": sightings.in_collection} if spec.source else {}
        wait_for_files = WaitForFiles(task_id="wait_for_files", dataset=spec.name, seconds=param("wait_seconds"))
        ingest = stage_task(
            "ingest",
            spec,
            task={"outlets": [assets.snapshot(spec.name)], "announces": assets.snapshot_advanced},
            run="{{ run_id }}",
            retry="{{ ti.try_number > 1 }}",
        )
        tell_refused = TellRefused(task_id="tell_refused", ingested_by="ingest")
        alert = TellIncidents(
            task_id="alert",
            spec=spec,
            found_by=collected | {"ingest": sightings.in_ingestion},
            trigger_rule=TriggerRule.NONE_SKIPPED,
        )
        wait_for_files >> ingest >> [tell_refused, alert]
        if spec.source:
            wait_for_files.trigger_rule = TriggerRule.NONE_FAILED
            asked = {"connection": spec.source.connection, "seconds": param("wait_seconds")}
            stage_task("collect", spec, task=asked, run="{{ run_id }}") >> wait_for_files
    return dag


def _schedule(spec: DatasetSpec) -> AssetOrTimeSchedule | list[Asset]:
    """By files, and where a source says when to look, by time."""
    files = assets.landing(spec)
    if spec.source is None or spec.source.every is None:
        return [files]
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(spec.source.every, timezone="UTC"), assets=[files])


def of_scores(spec: DatasetSpec) -> DAG:
    """The ingestion DAG of a dataset whose rows are the scores of a model: no files are waited for."""
    with DAG(schedule=[assets.scores(spec.scores_of)], **dag_defaults(spec, "ingestion", __doc__)) as dag:
        taken = {"outlets": [assets.snapshot(spec.name)], "announces": assets.snapshot_advanced}
        ingest = stage_task("ingest", spec, task=taken, run="{{ run_id }}", retry="{{ ti.try_number > 1 }}")
        ingest >> TellIncidents(
            task_id="alert", spec=spec, found_by={"ingest": sightings.in_ingestion}, trigger_rule=TriggerRule.NONE_SKIPPED
        )
    return dag


for spec in wanted(discovery.datasets().values(), "ingestion"):
    of_scores(spec) if spec.scores_of else ingestion(spec)
