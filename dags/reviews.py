"""Sends the reviews of models: what was released, refused and wrong, how well each did, and what is open.

**When.** Every morning; each model's review on Mondays or on the first of the month, as its spec says (`review`). By hand for one model at
any time: trigger it with the model's name, and it is the review of the last thirty days.

**What it does.** `send` makes the reviews that are due and sends them to the channels that are told of the model's incidents: by mail, and
to chats by webhook; channels that take incidents alone (events, issues, templates) get none. A channel that failed is tried again, the
others are not told twice. The page *Review* of the model and `perennial review` show the same at any time.

| task | it fails when | what to do |
| --- | --- | --- |
| `send` | the store does not answer, or a channel did not take a review; retried | read the last line of its log; docs/runbook.md |
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, Param

from perennial_airflow.dag_defaults import common_defaults
from perennial_airflow.operators.send_reviews import SendReviews

EVERY = "0 7 * * *"
PARAMS = {
    "model": Param(
        None,
        type=["null", "string"],
        maxLength=100,
        title="Model",
        description="Send the review of this model now, of the last thirty days; empty for all that are due.",
    )
}


def reviews() -> DAG:
    """The DAG that sends reviews."""
    defaults = common_defaults("perennial_reviews", __doc__, {"perennial", "reviews"}, owner="perennial")
    with DAG(schedule=CronTriggerTimetable(EVERY, timezone="UTC"), params=PARAMS, **defaults) as dag:
        SendReviews(
            task_id="send",
            day="{{ (dag_run.logical_date or dag_run.run_after) | ds }}",
            model="{{ params['model'] or '' }}",
        )
    return dag


reviews()
