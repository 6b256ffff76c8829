"""Runs a release: one look at a time, waiting in the triggerer between two looks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.triggers.moment import MomentTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

GOES_ON = ("started", "advance", "hold")
SHORTEST_PAUSE = 0.5


class ReleaseLooks(StageOperator):
    """Looks at a release until it is promoted, rolled back or a person must be asked; wherever the stage runs.

    The ledger knows how far a release is: a try that starts anew, after a fault or a kill, takes the next look and no
    more. A rollback that no person asked for fails the task, for it turned a candidate down.
    """

    ui_color = "#fdf3dc"
    _looks = 0  # that this try took before

    def execute(self, context: Context) -> Any:
        """Take the first look of this try."""
        if context["ti"].try_number > 1:
            self.arguments.pop("again", None)  # a person said it once: not for what may have been rolled back since
        return super().execute(context)

    def look(self, context: Context, event: object, version: int | None, looks: int = 1) -> Any:
        """Take another look at the release of this version, or of the candidate; `event` is the moment that was waited for."""
        self.arguments.pop("again", None)
        self.arguments["version"] = version
        self._looks = looks
        return super().execute(context)

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Wait for the next look or come to an end. A look that took too long is taken again: traffic must not stand still for it."""
        result.pop("over_time", None)
        action = result.get("action")
        if result["outcome"] == "done" and action in GOES_ON:
            self._show_links(result)
            pause = max(float(result["look_again_seconds"]), SHORTEST_PAUSE)
            self.log.info("%s Looking again in %g seconds.", result["sentence"], pause)
            following = {"version": result["version"], "looks": self._looks + 1}
            self.defer(trigger=MomentTrigger(time.time() + pause), method_name="look", kwargs=following)
        if result["outcome"] == "done" and action == "nothing":
            result["outcome"] = "skipped"
        if result["outcome"] == "done" and action == "rolled_back" and self.arguments.get("decision") != "roll_back":
            result["outcome"] = "refused"
        return super()._conclude(result, context)


class ReleaseStage(ReleaseLooks, ProcessStage):
    """Looks as child processes."""
