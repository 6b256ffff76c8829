"""Runs a stage as a child process in the workload environment of this machine."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from perennial.errors import EXIT_DONE, EXIT_FAULT, EXIT_REFUSED, PerennialError
from perennial.settings import Settings
from perennial_airflow.child_process import ChildProcess, die_with_parent
from perennial_airflow.stage_command import stage_command
from perennial_airflow.stage_end import RefusalsAreFinal, give_up, refuse, skip
from perennial_airflow.ui.task_links import ALL_LINKS, links_of

if TYPE_CHECKING:
    from airflow.sdk import Context

GRACE_SECONDS = 3.0  # Airflow itself kills the task five seconds after asking it to end
LOG_LINE = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL)

ENDINGS = {"skipped": skip, "refused": refuse, "fault": give_up}
Announcement = Callable[[Mapping[str, Any]], "dict[str, Any] | None"]


class ProcessStage(BaseOperator):
    """One stage: its log lines live in the task's log, its result in XCom, its exit code decides the task's fate.

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
        self._child: ChildProcess | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the stage to its end.

        Raises:
            NothingToDo: the task is skipped.
            StageRefused: a decision against; not retried.
            StageFault: the stage broke; retried.
        """
        return self._conclude(self._run(), context)

    def on_kill(self) -> None:
        """End the stage and all that it started."""
        if self._child:
            self._child.stop(GRACE_SECONDS)

    def _run(self) -> dict[str, Any]:
        """The stage's result; one is made up for a stage that could not write any."""
        try:
            settings = Settings.from_environment()
        except PerennialError as error:
            return _ended("fault", str(error))
        python = settings.venv("workload") / "bin" / "python"
        if not python.exists():
            return _ended("fault", f"There is no workload environment at {python.parent.parent}: run `make setup`.")
        # A runner without its supervisor is one nobody listens to, while another try may already run.
        die_with_parent(os.getppid())
        with tempfile.TemporaryDirectory(prefix=f"perennial-{self.stage}-") as folder:
            result_file = Path(folder, "result.json")
            command = [str(python), "-m", "perennial.cli", *stage_command(self.stage, self.arguments), f"--result={result_file}"]
            self.log.info("perennial %s", " ".join(command[3:-1]))
            with ChildProcess(command, _environment(settings)) as self._child:
                last = self._pass_on(self._child.lines())
                code = self._child.wait()
            self._child = None
            result = _ended_by(self.stage, code, last)
            if result_file.exists():
                result = json.loads(result_file.read_text())
                if code not in (EXIT_DONE, EXIT_FAULT, EXIT_REFUSED):
                    self.log.warning("The stage had written its result, then ended with code %d.", code)
            if last and last != result["sentence"]:
                self.log.info("%s", last)
        return result

    def _pass_on(self, lines: Iterator[str]) -> str:
        """Log what the stage prints as it comes; returns the last line if it is no log line: the stage's sentence, told later."""
        level, held = logging.INFO, ""
        for line in lines:
            if held:
                self.log.log(level, "%s", held)
                held = ""
            if found := LOG_LINE.fullmatch(line):
                level = logging.getLevelNamesMapping()[found[1]]
                self.log.log(level, "%s", found[2])
            else:
                held = line
        return held

    def _conclude(self, result: dict[str, Any], context: Context) -> dict[str, Any]:
        """Tell Airflow what the result means."""
        self._show_links(result)
        for title, address in result["links"].items():
            self.log.info("%s: %s", title, address)
        if result["outcome"] != "done":
            context["ti"].xcom_push(key="return_value", value=result)
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


def _environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")}
    return {**inherited, **settings.environment(), "PYTHONUNBUFFERED": "1"}


def _ended(outcome: str, sentence: str) -> dict[str, Any]:
    return {"outcome": outcome, "sentence": sentence, "links": {}, "seconds": 0.0}


def _ended_by(stage: str, code: int, last: str) -> dict[str, Any]:
    if code < 0:
        name = signal.Signals(-code).name
        why = "perhaps for want of memory, " if name == "SIGKILL" else ""
        return _ended(
            "fault", f"The stage {stage} was ended by {name}, {why}before it had a result. Running it again goes on from what is stored."
        )
    if code == EXIT_REFUSED:
        return _ended("refused", last or f"The stage {stage} did not understand its arguments; the log above says which.")
    return _ended("fault", f"The stage {stage} ended with code {code} and no result; the log above shows why.")
