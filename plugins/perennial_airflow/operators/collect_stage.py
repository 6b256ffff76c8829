"""Collects from a dataset's source, and waits in the triggerer where there is something to wait for."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from perennial.errors import SettingMissing
from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.stage_end import skip
from perennial_airflow.triggers.moment import MomentTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

PAUSE_SECONDS = 15.0  # between two looks of a run that waits for new rows
FILE = "connections.json"
VARIABLE = "PERENNIAL_CONNECTIONS"
BY_FILES = "asset_triggered"  # the type of a run that files have started


class Collects(StageOperator):
    """Looks at a source, wherever the stage runs.

    A run that was started by files does not look: else what a look lands would start the next run.

    It waits in the triggerer, which holds no worker slot, for the moment until which the server asks to be left alone, and for new rows
    where a person says how long.

    Args:
        connection: name of Airflow's connection to the source; empty if it needs none.
        seconds: how long to wait for new rows, a number or a template.
    """

    template_fields: Sequence[str] = (*StageOperator.template_fields, "seconds")
    ui_color = "#e8f4ea"

    def __init__(self, *, connection: str = "", seconds: float | str = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.connection = connection
        self.seconds = seconds
        self._looks = 0

    def execute(self, context: Context) -> Any:
        """Take the first look.

        Raises:
            NothingToDo: files have started this run.
        """
        if context["dag_run"].run_type == BY_FILES:
            skip(self, "Files have started this run: the source is looked at when its time comes, or when a person asks.")
        return super().execute(context)

    def look(self, context: Context, event: object, looks: int) -> Any:
        """Take another look; `event` is the moment that was waited for."""
        self._looks = looks
        return super().execute(context)

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        again_at = result.get("again_at")
        if again_at is None and result["outcome"] == "skipped":
            until = context["ti"].start_date.timestamp() + float(self.seconds or 0)  # when the task began, over all its waits
            again_at = time.time() + PAUSE_SECONDS if time.time() + PAUSE_SECONDS <= until else None
        if again_at is not None and result["outcome"] in ("done", "skipped"):
            self.log.info("%s Looking again in %.0f seconds.", result["sentence"], max(again_at - time.time(), 0))
            self.defer(trigger=MomentTrigger(again_at), method_name="look", kwargs={"looks": self._looks + 1})
        return super()._conclude(result, context)

    def _connections(self) -> str:
        """The file of connections, as the stage reads it: the one that the source needs.

        Raises:
            SettingMissing: Airflow has no such connection.
        """
        return json.dumps({self.connection: stated(self.connection)})


def stated(name: str) -> dict[str, Any]:
    """An Airflow connection as a stage reads it (`perennial.sources.connections`).

    Raises:
        SettingMissing: there is none of that name.
    """
    try:
        known = BaseHook.get_connection(name)
    except (AirflowNotFoundException, AirflowRuntimeError):
        raise SettingMissing(
            f"Airflow has no connection {name}, by which the source is read: make it under Admin, Connections, or as the variable "
            f"AIRFLOW_CONN_{name.upper()}."
        ) from None
    parts = {
        "type": known.conn_type,
        "host": known.host,
        "port": known.port,
        "login": known.login,
        "password": known.password,
        "database": known.schema,
        "extra": known.extra_dejson,
    }
    return {part: value for part, value in parts.items() if value}


class CollectStage(Collects, ProcessStage):
    """Looks as child processes. The connection is a file in the task's own folder, which is removed with it."""

    def _secrets(self, folder: Path) -> dict[str, str]:
        if not self.connection:
            return {}
        path = folder / FILE
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._connections())
        return {VARIABLE: str(path)}
