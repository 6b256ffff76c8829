"""Splits the work of a stage: makes the arguments of several parallel tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ShareOut(BaseOperator):
    """Makes the arguments of the parts of a stage, for `stage_tasks`.

    Args:
        planned_by: id of the task whose result has the version.
        parts: how many parts; may be a template.
        arguments: arguments that all parts have.
    """

    template_fields: Sequence[str] = ("parts",)
    ui_color = "#e8eef9"

    def __init__(self, *, planned_by: str, parts: str, arguments: Mapping[str, object], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planned_by = planned_by
        self.parts = parts
        self.arguments = dict(arguments)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """One set of arguments for each part."""
        planned = context["ti"].xcom_pull(task_ids=self.planned_by)
        parts = int(self.parts)
        self.log.info("Version %s is counted in %d parts.", planned["version"], parts)
        return [{**self.arguments, "version": planned["version"], "partition": f"{part}/{parts}"} for part in range(1, parts + 1)]
