"""Runs an experiment: one look at a time, waiting in the triggerer between two looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.release_stage import ReleaseLooks

if TYPE_CHECKING:
    from airflow.sdk import Context


class ExperimentLooks(ReleaseLooks):
    """Looks at an experiment until it has ended; wherever the stage runs.

    A try that starts anew asks for the same start: the ledger knows whether this run has begun its experiment, and what became of it.
    One that was ended because the version did harm fails the task, for it turned the version down.
    """

    ui_color = "#e3f1e8"

    def look(self, context: Context, event: object, version: int | None, looks: int = 1) -> Any:
        """Take another look at what is under way."""
        del event, version
        self.arguments = {"action": "look", "model": self.arguments["model"]}
        self._looks = looks
        return super(ReleaseLooks, self).execute(context)

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        if result["outcome"] == "done" and result.get("verdict") == "harm":
            result["outcome"] = "refused"
        return super()._conclude(result, context)


class ExperimentStage(ExperimentLooks, ProcessStage):
    """Looks as child processes."""
