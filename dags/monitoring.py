"""Watches {title} in production: drift, realised loss and service; requests retraining where the policy asks.

**When.** On the spec's schedule, for the newest window of live traffic; by hand over any window of event time.

**What it does.** Where no window is given and Envoy serves, `monitor` first asks the gateway and every version with traffic whether they
answer: what does not is an incident of the kind *service*. It collects predictions and outcomes into tables, profiles the window against
the reference and writes a report. If the policy asks for retraining, one request is made: never twice for the same snapshot and cause,
never within the cool-down. `request_retraining` then wakes `{name}_training`; it is skipped when there is nothing to request. What is wrong
is kept as incidents: `alert` tells people of each once when it opens and once when it is over, by mail and webhook where they are set up,
and starts `{name}_incidents`, which asks what it was. A channel that fails fails nothing: its sentence is in the log of `alert`, and it is
told at the next look.

| task | it fails when | what to do |
| --- | --- | --- |
| `monitor` | a server or the store does not answer; tried again | read its last line |
| `request_retraining` | never | open *Report* of `monitor` to see which column drifted, and how far |
| `alert` | the store does not answer; tried again | read its last line; docs/runbook.md has a section for each kind of incident |
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults
from perennial_airflow.operators.announce_retraining import AnnounceRetraining
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import param, stage_task

PARAMS = {
    "from": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="From",
        description="Begin of the window, event time; the newest window if empty.",
    ),
    "to": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="To",
        description="End of the window, event time; one window after From if empty.",
    ),
}


def monitoring(spec: ModelSpec) -> DAG:
    """The monitoring DAG of one model."""
    schedule = CronTriggerTimetable(spec.monitoring.schedule, timezone="UTC")
    with DAG(schedule=schedule, params=PARAMS, **dag_defaults(spec, "monitoring", __doc__)) as dag:
        monitor = stage_task("monitor", spec, first=param("from"), last=param("to"))
        request_retraining = AnnounceRetraining(task_id="request_retraining", found_by="monitor", outlets=[assets.retraining(spec)])
        alert = TellIncidents(task_id="alert", spec=spec, found_by={"monitor": sightings.in_monitoring})
        monitor >> [request_retraining, alert]
    return dag


for spec in discovery.models().values():
    monitoring(spec)
