"""Asks a person what an incident of {title} was: real, a false alarm, or known.

**When.** An incident opened that asks for attention; each has a run of its own, so none waits for another. By hand for any incident, also
one that was judged before.

**What it does.** `ask_verdict` shows what was seen and waits, for as long as it takes, without a worker or any other slot: silence
fails nothing, and an incident that is over meanwhile is judged as well.
`record_verdict` keeps the answer with the incident. The verdicts are counted into the alarm rate that
`perennial incidents --model {name}` and the alerts show, and a break of data quality that is called a false alarm or known no longer holds
training back. `perennial incident --model {name}` records one without Airflow.

| task | it fails when | what to do |
| --- | --- | --- |
| `ask_verdict` | there is no such incident; skipped if it was judged, or another run asks | Browse → Required Actions |
| `record_verdict` | the store does not answer; tried again. Skipped if somebody was faster by the command, unless you asked by hand | \
read its last line |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets
from perennial_airflow.dag_defaults import dag_defaults
from perennial_airflow.operators.ask_verdict import AskVerdict
from perennial_airflow.stage_task import result_of, stage_task

PARAMS = {
    "incident": Param(
        None,
        type=["null", "string"],
        maxLength=100,
        title="Incident",
        description="Id or number of the incident to judge; that of the event if empty.",
    ),
}
MOST_WAITING = 1000  # runs that wait for people hold nothing
INCIDENT = "{{ params['incident'] or dag_run.partition_key or '' }}"
BY_HAND = "{{ params['incident'] is not none }}"


def incidents(spec: ModelSpec) -> DAG:
    """The DAG that asks about the incidents of one model."""
    schedule = PartitionedAssetTimetable(assets=assets.incident(spec))
    defaults = {**dag_defaults(spec, "incidents", __doc__), "max_active_runs": MOST_WAITING}
    with DAG(schedule=schedule, params=PARAMS, **defaults) as dag:
        ask_verdict = AskVerdict(task_id="ask_verdict", model=spec.name, incident=INCIDENT, again=BY_HAND)
        record_verdict = stage_task(
            "incident",
            spec,
            task={"task_id": "record_verdict"},
            id=result_of("ask_verdict", "id"),
            verdict=result_of("ask_verdict", "verdict"),
            by=result_of("ask_verdict", "by"),
            note=result_of("ask_verdict", "note"),
            unless_judged="{{ params['incident'] is none }}",
        )
        ask_verdict >> record_verdict
    return dag


for spec in discovery.models().values():
    incidents(spec)
