"""Takes new files of {title} in: good batches into the table, bad ones into quarantine.

**When.** A few seconds after a file lies still in `landing/{name}/` of the store (a folder or S3), or by hand.

**What it does.** Every waiting file is checked against the suite `{name}`. A good one is appended to the table exactly once,
whatever is run again or killed; a bad one goes whole to `quarantine/{name}/` with the reasons. Each file leaves a receipt:
files without one are what the next run takes. A new snapshot wakes the training DAGs; a retry also tells what the tries before it
did, so that no snapshot goes unannounced.

| task | it fails when | what to do |
| --- | --- | --- |
| `wait_for_files` | never for want of files: it is skipped | nothing |
| `ingest` | the store or the disk fails; it is tried again by itself | read its last line |
| `tell_refused` | files were refused; all others are in | read its last lines and the Data Docs of `ingest`, correct the files, land them \
again under any name |
| `alert` | the store does not answer; tried again. It tells the people of the models that learn from `{name}` of refused files | \
docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, TriggerRule

from perennial import discovery
from perennial.specs import DatasetSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults
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
        description="Seconds to wait if no file is ready; holds no worker slot.",
    ),
}


def ingestion(spec: DatasetSpec) -> DAG:
    """The ingestion DAG of one dataset."""
    with DAG(schedule=[assets.landing(spec)], params=PARAMS, **dag_defaults(spec, "ingestion", __doc__)) as dag:
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
            task_id="alert", spec=spec, found_by={"ingest": sightings.in_ingestion}, trigger_rule=TriggerRule.NONE_SKIPPED
        )
        wait_for_files >> ingest >> [tell_refused, alert]
    return dag


for spec in discovery.datasets().values():
    ingestion(spec)
