"""Triggers the training DAG when monitoring has requested retraining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial_airflow.stage_end import skip

if TYPE_CHECKING:
    from airflow.sdk import Context


class AnnounceRetraining(BaseOperator):
    """Makes the event of its outlets if a look at live traffic ended in a retraining request; is skipped otherwise.

    Args:
        found_by: task whose result is looked at.
    """

    def __init__(self, *, found_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found_by = found_by

    def execute(self, context: Context) -> None:
        """Look at the result; a skipped task makes no event."""
        result = context["ti"].xcom_pull(task_ids=self.found_by)
        if not result["retraining"]:
            skip(self, "No retraining was requested.")
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = {"cause": result["cause"], "request": result["retraining"]}
        self.log.info("Retraining was requested (cause %s, request %s).", result["cause"], result["retraining"])
