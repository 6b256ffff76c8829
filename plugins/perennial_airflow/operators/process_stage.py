"""Runs a stage as a child process in the workload environment of this machine."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from perennial.errors import EXIT_DONE, EXIT_FAULT, EXIT_REFUSED, PerennialError
from perennial.settings import Settings
from perennial.stage_command import stage_command
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.stage_log import StageLog
from perennial_airflow.stage_pod import made_up, over_time
from perennial_airflow.trace_context import of_a_stage

if TYPE_CHECKING:
    from airflow.sdk import Context

    from perennial_airflow.child_process import ChildProcess
    from perennial_airflow.forked_stage import ForkedStage

GRACE_SECONDS = 3.0  # Airflow itself kills the task five seconds after asking it to end


class ProcessStage(StageOperator):
    """A stage as a child process of its task."""

    _child: ChildProcess | ForkedStage | None = None

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
        from perennial.stage_runner import die_with_parent  # here: parsing a DAG file starts no stage

        try:
            settings = Settings.from_environment()
        except PerennialError as error:
            return made_up("fault", str(error))
        python = settings.venv("workload") / "bin" / "python"
        if not python.exists():
            return made_up("fault", f"There is no workload environment at {python.parent.parent}: run `make setup`.")
        # A runner without its supervisor is one nobody listens to, while another try may already run.
        die_with_parent(os.getppid())
        with tempfile.TemporaryDirectory(prefix=f"perennial-{self.stage}-") as folder:
            result_file = Path(folder, "result.json")
            try:
                secrets = self._secrets(Path(folder))
            except PerennialError as error:
                return made_up("fault", str(error))
            command = [str(python), "-m", "perennial.cli", *stage_command(self.stage, self.arguments), f"--result={result_file}"]
            self.log.info("perennial %s", " ".join(command[3:-1]))
            with self._started(settings, command, {**_environment(settings), **secrets}) as self._child:
                try:
                    last = self._pass_on(self._child.lines())
                    code = self._child.wait()
                except AirflowTaskTimeout:
                    self._child.stop(GRACE_SECONDS)
                    assert self.execution_timeout is not None, "the alarm was set by it"
                    return over_time(self.stage, self.execution_timeout)
            self._child = None
            result = _ended_by(self.stage, code, last)
            if result_file.exists():
                result = json.loads(result_file.read_text())
                if code not in (EXIT_DONE, EXIT_FAULT, EXIT_REFUSED):
                    self.log.warning("The stage had written its result, then ended with code %d.", code)
            if last and last != result["sentence"]:
                self.log.info("%s", last)
        return result

    def _started(self, settings: Settings, command: list[str], environment: dict[str, str]) -> ChildProcess | ForkedStage:
        """The stage's process: forked off by the runner of stages, where this machine has one that answers."""
        from perennial_airflow.child_process import ChildProcess
        from perennial_airflow.forked_stage import ForkedStage, RunnerAway, has_runner

        if has_runner(settings, self.stage):
            try:
                return ForkedStage(settings, command[3:], environment)
            except RunnerAway as away:
                self.log.warning("The runner of stages does not answer (%s): this stage starts by itself.", away)
        return ChildProcess(command, environment)

    def _secrets(self, folder: Path) -> dict[str, str]:
        """Variables that name files with what is secret, which were written into a folder that is this user's alone."""
        del folder
        return {}

    def _pass_on(self, lines: Iterator[str]) -> str:
        """Log what the stage prints as it comes; returns the last line if it is no log line: the stage's sentence, told later."""
        log = StageLog(self.log)
        for line in lines:
            log.take(line)
        return log.last


def _environment(settings: Settings) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")}
    return {**inherited, **settings.environment(), **of_a_stage(inherited), "PYTHONUNBUFFERED": "1"}


def _ended_by(stage: str, code: int, last: str) -> dict[str, Any]:
    if code < 0:
        name = signal.Signals(-code).name
        why = "perhaps for want of memory, " if name == "SIGKILL" else ""
        return made_up(
            "fault",
            f"The stage {stage} was ended by {name}, {why}before it had a result. Running it again goes on from what is stored.",
            "Killed" if name == "SIGKILL" else "Ended",
        )
    if code == EXIT_REFUSED:
        return made_up("refused", last or f"The stage {stage} did not understand its arguments; the log above says which.")
    return made_up("fault", f"The stage {stage} ended with code {code} and no result; the log above shows why.")
