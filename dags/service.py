"""Tells people what the watch over the versions that serve has found, within seconds.

**When.** The watch opened or ended an incident, or rolled a version back. It is a program of the platform (`perennial watch`), which
looks every few seconds whether each version that serves answers, and whether it fails or slows down beyond its spec.

**What it does.** `alert` sends what people do not know yet, by mail and webhook if they are set up, and starts asking them for a verdict.

| task | it fails when | what to do |
| --- | --- | --- |
| `alert` | the store does not answer; retried | read the last line of its log; docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG

from perennial_airflow import assets
from perennial_airflow.dag_defaults import common_defaults
from perennial_airflow.operators.tell_incidents import TellIncidents


def service() -> DAG:
    """The DAG that tells of incidents of what serves."""
    defaults = common_defaults("perennial_service", __doc__, {"perennial", "service"}, owner="perennial")
    with DAG(schedule=[assets.service_news()], **defaults) as dag:
        TellIncidents(task_id="alert", found_by={})
    return dag


service()
