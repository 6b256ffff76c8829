"""Asks a person for a verdict on an incident of {title}: real, a false alarm, or known.

**When.** An incident opens that needs attention. Each incident has its own run, so none waits for another. Trigger it by hand for any
incident, even one that has a verdict already; a run that is started with a verdict, such as by the buttons on the page *Incidents*, asks
nobody and records it; so does one that is started with *Silence, hours*: nobody is told of this kind of incident for so long.

**What it does.** `ask_verdict` shows what was seen and waits for an answer as long as it takes. It holds no worker or other slot and never
times out; an incident that ends meanwhile can still be judged.
`record_verdict` stores the answer with the incident. Verdicts go into the alarm rate that `perennial incidents --model {name}` and the
alerts show. A data quality incident with the verdict *false alarm* or *known* no longer blocks training.
`perennial incident --model {name}` records a verdict without Airflow.

| task | it fails when | what to do |
| --- | --- | --- |
| `ask_verdict` | there is no such incident; skipped if it has a verdict, or if another run is asking | Browse → Required Actions |
| `record_verdict` | the store does not answer; retried. Skipped if somebody gave a verdict by the command first, unless this run was \
started by hand | read the last line of its log |
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, PartitionedAssetTimetable

from perennial import discovery
from perennial.specs import VERDICTS, ModelSpec
from perennial_airflow import assets
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.ask_verdict import AskVerdict
from perennial_airflow.stage_task import STARTED_BY, param, result_of, stage_task

PARAMS = {
    "incident": Param(
        None,
        type=["null", "string"],
        maxLength=100,
        title="Incident",
        description="Id or number of the incident to judge; if empty, the one that triggered the run.",
    ),
    "verdict": Param(
        None,
        type=["null", "string"],
        enum=[None, *VERDICTS],
        title="Verdict",
        description="What it was. The run records it at once and asks nobody; name the incident then.",
    ),
    "reason": Param(
        None, type=["null", "string"], maxLength=500, title="Reason", description="With a verdict or a silence: why; kept with it."
    ),
    "silence_hours": Param(
        None,
        type=["null", "number"],
        exclusiveMinimum=0,
        maximum=720,
        title="Silence, hours",
        description="For so long nobody is told of this kind of incident. It needs the incident and a reason, and no verdict.",
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
        ask_verdict = AskVerdict(
            task_id="ask_verdict",
            model=spec.name,
            incident=INCIDENT,
            again=BY_HAND,
            verdict=param("verdict"),
            by=STARTED_BY,
            note=param("reason"),
            silence_hours=param("silence_hours"),
        )
        record_verdict = stage_task(
            "incident",
            spec,
            task={"task_id": "record_verdict"},
            id=result_of("ask_verdict", "id"),
            verdict=result_of("ask_verdict", "verdict"),
            silence=result_of("ask_verdict", "silence"),
            hours=result_of("ask_verdict", "hours"),
            by=result_of("ask_verdict", "by"),
            note=result_of("ask_verdict", "note"),
            unless_judged="{{ params['incident'] is none }}",
        )
        ask_verdict >> record_verdict
    return dag


for spec in wanted(discovery.models().values(), "incidents"):
    incidents(spec)
