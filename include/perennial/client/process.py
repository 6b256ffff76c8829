"""Runs a stage or a command as a child process of the workload environment, as a DAG or a person does, and passes on what it says.

>>> from perennial.client.process import log_message
>>> log_message("06:00:00 INFO Epoch 1 of at most 40.")
'Epoch 1 of at most 40.'
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from perennial import log_lines
from perennial.errors import EXIT_DONE, EXIT_REFUSED, Fault, PerennialError, Refused
from perennial.results import Result, on_terminal
from perennial.settings import Settings
from perennial.stage_command import stage_command

Say = Callable[[str], None]
GRACE_SECONDS = 5.0
# A notebook's own: the workload environment has neither its packages nor its way to draw.
LEFT_OUT = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "MPLBACKEND")
_LOG_LINE = re.compile(r"\d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)")
_Answer = TypeVar("_Answer", bound=Result)


def say(line: str) -> None:
    """Print a line at once, as a notebook shows it while its cell runs."""
    print(on_terminal(line), flush=True)


def silent(line: str) -> None:
    """Print nothing."""


def run_stage(settings: Settings, stage: str, answer: type[_Answer], tell: Say = silent, **arguments: object) -> _Answer:
    """Run a stage to its end.

    Args:
        settings: of the process.
        stage: name of the stage.
        answer: class of its result.
        tell: is given each line that it logs, while it runs.
        arguments: by the stage's own argument names.

    Raises:
        Refused: it decided against, with the stage's sentence.
        Fault: it broke.
    """
    with tempfile.TemporaryDirectory(prefix=f"perennial-{stage}-") as folder:
        result_file = Path(folder, "result.json")
        code, lines = _run(settings, [*stage_command(stage, arguments), f"--result={result_file}"], tell)
        if not result_file.exists():
            raise _ended(f"The stage {stage}", code, lines)
        written = result_file.read_text()
    result = answer.model_validate_json(written) if code == EXIT_DONE else Result.model_validate_json(written)
    if result.outcome in ("refused", "fault") or not isinstance(result, answer):
        raise (Refused if result.outcome == "refused" else Fault)(result.sentence, result.links)
    return result


def run_command(settings: Settings, *arguments: str) -> str:
    """Run a command to its end, and return what it printed.

    Raises:
        Refused: it decided against, with the command's sentence.
        Fault: it broke.
    """
    code, lines = _run(settings, list(arguments), silent)
    if code != EXIT_DONE:
        raise _ended(f"The command {arguments[0]}", code, lines)
    return "\n".join(line for line in lines if not _LOG_LINE.match(line))


def log_message(line: str) -> str:
    """What a log line says to a person; empty for a line that is none, such as one of a library's."""
    match = _LOG_LINE.fullmatch(line)
    if not match or match[1] == "DEBUG":
        return ""
    return match[2] if match[1] == "INFO" else f"{match[1]}: {match[2]}"


def _run(settings: Settings, arguments: list[str], tell: Say) -> tuple[int, list[str]]:
    """Exit code, and every line of output and log as it came."""
    python = settings.venv("workload") / "bin" / "python"
    if not python.exists():
        raise Fault(
            f"There is no workload environment at {python.parent.parent}: run `make setup`, or name its home: perennial.connect(home=...)."
        )
    inherited = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment = {**inherited, **settings.environment(), "PYTHONUNBUFFERED": "1", log_lines.VARIABLE: "text"}
    lines = []
    with subprocess.Popen(
        [str(python), "-m", "perennial.cli", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            for line in child.stdout or ():
                lines.append(line.rstrip("\n"))
                if message := log_message(lines[-1]):
                    tell(message)
            code = child.wait()
        except BaseException:  # the notebook's stop button
            _end(child)
            raise
    return code, lines


def _end(child: subprocess.Popen[str]) -> None:
    """Let a process end, and kill it if it does not. What it stored stays: the same training goes on from its checkpoint."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


def _ended(what: str, code: int, lines: list[str]) -> PerennialError:
    """The error of a process that left no result: its last sentence, or by which signal it was ended."""
    if code < 0:
        name = signal.Signals(-code).name
        why = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return Fault(f"{what} was ended by {name}{why}. Running it again goes on from what is stored.")
    last = next((line for line in reversed(lines) if line.strip()), f"{what} ended with code {code} and said nothing.")
    return Refused(last) if code == EXIT_REFUSED else Fault(last)
