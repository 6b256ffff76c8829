"""Base of all operators that run a stage, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial_airflow.stage_end import RefusalsAreFinal, end_over_time, give_up, refuse, skip
from perennial_airflow.ui.task_links import ALL_LINKS, links_of

if TYPE_CHECKING:
    from airflow.sdk import Context

ENDINGS = {"skipped": skip, "refused": refuse, "fault": give_up}
Announcement = Callable[[Mapping[str, Any]], "dict[str, Any] | None"]


class StageOperator(BaseOperator):
    """One stage: its log lines live in the task's log, its result in XCom, its outcome decides the task's fate.

    Args:
        stage: name of the stage.
        arguments: the stage's arguments; values may be templates or XComArgs, None and "" are left out.
        announces: tells from the result what the events of the task's `outlets` carry, or None for no event.
            Without it every success makes an event.
    """

    template_fields: Sequence[str] = ("arguments",)
    operator_extra_links = ALL_LINKS
    ui_color = "#e8eef9"

    def __init__(self, *, stage: str, arguments: Mapping[str, object], announces: Announcement | None = None, **kwargs: Any) -> None:
        super().__init__(**{"retry_policy": RefusalsAreFinal(), **kwargs})
        self.stage = stage
        self.arguments = dict(arguments)
        self.announces = announces

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Tell Airflow what the result means.

        Raises:
            NothingToDo: the task is skipped.
            StageRefused: a decision against; not retried.
            StageFault: the stage broke; retried.
            StageOverTime: it took longer than it may; not retried.
        """
        self._show_links(result)
        for title, address in result["links"].items():
            self.log.info("%s: %s", title, address)
        if result["outcome"] != "done":
            context["ti"].xcom_push(key="return_value", value=result)
        if result.get("over_time"):
            end_over_time(self, result["sentence"])
        if ending := ENDINGS.get(result["outcome"]):
            ending(self, result["sentence"])
        self.log.info("%s", result["sentence"])
        self._announce(result, context)
        return result

    def _show_links(self, result: Mapping[str, Any]) -> None:
        # Airflow stores the buttons of this instance when the task has ended: only those that lead somewhere.
        self.operator_extra_links = links_of(result["links"])

    def _announce(self, result: Mapping[str, Any], context: Context) -> None:
        if self.announces is None or not self.outlets:
            return
        carried = self.announces(result)
        if carried is None:
            # Airflow makes one event for each outlet that stands here once the task has succeeded.
            self.outlets = []
            return
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = carried
