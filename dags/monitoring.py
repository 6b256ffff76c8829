"""Monitors {title} in production: drift, realised loss and service; requests retraining if the policy calls for it.

**When.** On the spec's schedule, for the newest window of live traffic; by hand for any window of event time.

**What it does.** `monitor` collects predictions and outcomes into tables, compares the profile of the window with the reference and
writes a report. On a scheduled run where Envoy serves, it first checks that the gateway and every version with traffic answer; one that
does not is an incident of the kind *service*. A deadline of a dataset's batches (`expected`) or of the version that serves
(`budget.fresh_by`) that passed in vain is an incident of the kind *deadline*. It asks the version that serves what the contracts of
consumers ask (`contracts/` in the model's folder); one that is broken is an incident of the kind *contract*, which names the consumer.
If the policy calls for retraining, it makes one request: never twice for the same snapshot and cause, and never within the cool-down.
`request_retraining` then triggers `{name}_training`; it is skipped if there is nothing to request. Problems are kept as incidents.
`alert` sends one message when an incident opens and one when it ends, by mail and webhook if they are set up, and starts
`{name}_incidents`, which asks for a verdict. If a channel fails, no task fails: the error is in the log of `alert`, and the message is
sent again at the next look.

| task | it fails when | what to do |
| --- | --- | --- |
| `monitor` | a server or the store does not answer; retried | read the last line of its log |
| `request_retraining` | never | open *Report* of `monitor` to see which column drifted, and how far |
| `alert` | the store does not answer; retried | read the last line of its log; docs/runbook.md has a section for each kind of incident |
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, Param

from perennial import discovery
from perennial.specs import ModelSpec
from perennial_airflow import assets, sightings
from perennial_airflow.dag_defaults import dag_defaults, wanted
from perennial_airflow.operators.announce_retraining import AnnounceRetraining
from perennial_airflow.operators.tell_incidents import TellIncidents
from perennial_airflow.stage_task import param, stage_task

PARAMS = {
    "from": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="From",
        description="Start of the window, event time; the newest window if empty.",
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


for spec in wanted(discovery.models().values(), "monitoring"):
    monitoring(spec)
