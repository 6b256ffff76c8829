"""Waits for files in a dataset's landing zone without holding a worker slot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial.errors import Fault
from perennial_airflow.stage_end import give_up, skip
from perennial_airflow.triggers.landing import LandingTrigger, described, look

if TYPE_CHECKING:
    from airflow.sdk import Context


class WaitForFiles(BaseOperator):
    """Succeeds when files are ready; otherwise waits in the triggerer and skips when the time is up.

    Args:
        dataset: name of the dataset.
        seconds: how long to wait, a number or a template.
    """

    template_fields: Sequence[str] = ("seconds",)
    ui_color = "#e8f4ea"

    def __init__(self, *, dataset: str, seconds: float | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.seconds = seconds

    def execute(self, context: Context) -> dict[str, Any]:
        """Look once; most runs start because files are there."""
        try:
            ready, _still = look(self.dataset)
        except Fault as fault:
            give_up(self, str(fault))
        if ready:
            return self.go_on(context, described(ready))
        if float(self.seconds) <= 0:
            return self.go_on(context, described([]))
        self.log.info("No file is ready in landing/%s; waiting for %s seconds.", self.dataset, self.seconds)
        self.defer(trigger=LandingTrigger(self.dataset, until=time.time() + float(self.seconds)), method_name="go_on")

    def go_on(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Pass on what was found."""
        if not event["files"]:
            skip(self, f"Nothing new has landed in landing/{self.dataset}.")
        self.log.info(
            "%d files are ready in landing/%s: %s%s",
            event["files"],
            self.dataset,
            ", ".join(event["names"]),
            " …" if event["files"] > len(event["names"]) else "",
        )
        return event
