"""Splits the work of a stage: makes the arguments of several parallel tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ShareOut(BaseOperator):
    """Makes the arguments of the parts of a stage, for `stage_tasks`.

    Args:
        planned_by: id of the task whose result says what is shared out.
        parts: how many parts; may be a template.
        arguments: arguments that all parts have.
        planned: further arguments that all parts have, each with the field of that result which is its value.
        sentence: what the log says, with fields of that result and `parts` in braces.
    """

    template_fields: Sequence[str] = ("parts",)
    ui_color = "#e8eef9"

    def __init__(
        self,
        *,
        planned_by: str,
        parts: str,
        arguments: Mapping[str, object],
        planned: Mapping[str, str] = MappingProxyType({"version": "version"}),
        sentence: str = "Version {version} is counted in {parts} parts.",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.planned = dict(planned)
        self.sentence = sentence
        self.planned_by = planned_by
        self.parts = parts
        self.arguments = dict(arguments)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """One set of arguments for each part."""
        result = context["ti"].xcom_pull(task_ids=self.planned_by)
        parts = int(self.parts)
        same = {**self.arguments, **{argument: result[field] for argument, field in self.planned.items()}}
        self.log.info("%s", self.sentence.format(**{**result, "parts": parts}))
        return [{**same, "partition": f"{part}/{parts}"} for part in range(1, parts + 1)]
