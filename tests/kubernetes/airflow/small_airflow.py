"""A whole Airflow without the rest of the platform: its four components, a PostgreSQL, and a folder of DAG files."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import yaml

from perennial.local import airflow_programs, postgres
from perennial.local.airflow_api import AirflowApi, Run
from perennial.settings import Settings

from ..cluster import VENVS, answers, free_port, program, wait_until

AIRFLOW_S_OWN = "Task exited"  # its line after a task's last one

# A stage that does what the argument --reason says, in Python; `end` ends it as a real stage ends.
STAGE = """
import json, os, signal, socket, sys, time
result_file = [a for a in sys.argv if a.startswith("--result=")][0].removeprefix("--result=")
def say(text, level="INFO"):
    print(time.strftime("%H:%M:%S"), level, text, flush=True)
def end(code, printed="", **result):
    if result:
        open(result_file, "w").write(json.dumps({"outcome": "done", "sentence": "", "links": {}, "seconds": 0.1, **result}))
    if printed:
        print(printed, flush=True)
    sys.exit(code)
exec([a for a in sys.argv if a.startswith("--reason=")][0].removeprefix("--reason="))
"""


def code(text: str) -> str:
    """What a stage does, as a parameter of its run."""
    return textwrap.dedent(text).strip()


class SmallAirflow:
    """A running Airflow whose tasks are stages in pods."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self._environment = dict(environment)
        self._programs = contextlib.ExitStack()
        self._triggerer = contextlib.ExitStack()
        self.api = AirflowApi(settings.airflow_url, *airflow_programs.login(settings))

    def __enter__(self) -> SmallAirflow:
        (self.settings.home / "logs").mkdir()
        postgres.initialise(self.settings)
        self._programs.enter_context(program("postgres", postgres.command(self.settings), {}, self.settings.home, stop=signal.SIGINT))
        wait_until(lambda: postgres.answers(self.settings), 60, "PostgreSQL to answer")
        postgres.create_databases(self.settings)
        airflow_programs.migrate(self.settings)
        for name in airflow_programs.COMPONENTS:
            if name != "airflow-triggerer":
                self._programs.enter_context(self._component(name))
        self.start_triggerer()
        wait_until(lambda: answers(f"{self.settings.airflow_url}/api/v2/version"), 180, "Airflow to answer")
        return self

    def __exit__(self, *_: object) -> None:
        self._triggerer.close()
        self._programs.close()

    def _component(self, name: str) -> Any:
        command = airflow_programs.command(self.settings, name)
        return program(name, command, {**airflow_programs.environment(self.settings), **self._environment}, self.settings.home)

    def start_triggerer(self) -> None:
        """Start a triggerer: the first, or one after another's end."""
        self.triggerer = self._triggerer.enter_context(self._component("airflow-triggerer"))

    def kill_triggerer(self) -> None:
        """kill -9 of the triggerer and all its processes."""
        os.killpg(self.triggerer.pid, signal.SIGKILL)
        self.triggerer.wait()

    def run(self, dag: str, **parameters: Any) -> Run:
        """Start a run, as soon as the DAG is known."""
        wait_until(lambda: dag in self.api.dags() or self._told(), 120, f"the DAG {dag}")
        return self.api.trigger(dag, **parameters)

    def _told(self) -> bool:
        assert not self.api.import_errors(), self.api.import_errors()
        return False

    def log(self, run: Run, task: str, number: int | None = None) -> list[tuple[str, str]]:
        """Level and text of the lines of a task's try, the last if none is named; none before it has begun."""
        path = self._path(run, task)
        number = number or max(1, self.api._ask("GET", path)["try_number"])
        try:
            lines = self.api._ask("GET", f"{path}/logs/{number}", params={"map_index": -1})["content"]
        except KeyError:
            return []
        return [(str(line.get("level", "")).upper(), line["event"]) for line in lines]

    def sentence(self, run: Run, task: str, number: int | None = None) -> str:
        """The last line that a task's try wrote at an error's level; printed, for who wants to read them all."""
        said = [text for level, text in self.log(run, task, number) if level == "ERROR" and text != AIRFLOW_S_OWN][-1]
        print(f"SENTENCE: {said}")
        return said

    def tries(self, run: Run, task: str) -> int:
        """How often a task was tried."""
        return int(self.api._ask("GET", self._path(run, task))["try_number"])

    def times(self, run: Run, task: str) -> tuple[datetime, datetime]:
        """When the last try of a task began and ended."""
        found = self.api._ask("GET", self._path(run, task))
        began, ended = (datetime.fromisoformat(found[name]) for name in ("start_date", "end_date"))
        return began, ended

    def ended(self, run: Run, task: str, seconds: float = 400) -> str:
        """Wait for the end of a run; the state of its task."""
        self.api.wait(run, seconds)
        return str(self.state(run, task))

    def state(self, run: Run, task: str) -> str | None:
        """State of a task."""
        return self.api.tasks(run)[task]

    def rendered(self, run: Run, task: str) -> str:
        """What the page Rendered Templates shows of a task."""
        return str(self.api._ask("GET", self._path(run, task))["rendered_fields"])

    def set_state(self, run: Run, task: str, state: str) -> None:
        """Mark a task as a person does."""
        self.api._ask("PATCH", self._path(run, task), json={"new_state": state})

    def clear(self, run: Run, task: str) -> None:
        """Clear a task as a person does."""
        body = {"dry_run": False, "dag_run_id": run.id, "task_ids": [task], "only_failed": False, "reset_dag_runs": True}
        self.api._ask("POST", f"/dags/{run.dag}/clearTaskInstances", json=body)

    def processes_of_tasks(self) -> list[psutil.Process]:
        """The supervisors of the tasks that run now, and all their children. Never an idle worker:
        its death would lock the executor's queue."""
        found = [p for p in psutil.process_iter(["cmdline", "environ"]) if self._supervises_a_task(p)]
        return [process for supervisor in found for process in (supervisor, *supervisor.children(recursive=True))]

    def _supervises_a_task(self, process: psutil.Process) -> bool:
        command = " ".join(process.info["cmdline"] or [])
        ours = (process.info["environ"] or {}).get("AIRFLOW_HOME") == str(airflow_programs.home(self.settings))
        return ours and command.startswith("airflow worker -- LocalExecutor: ") and "<idle>" not in command

    def _path(self, run: Run, task: str) -> str:
        return f"/dags/{run.dag}/dagRuns/{quote(run.id, safe='')}/taskInstances/{task}"


@contextlib.contextmanager
def small_airflow(home: Path, dags: Path, settings: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[SmallAirflow]:
    """Start it, and end it with all that it started.

    Args:
        home: PERENNIAL_HOME.
        dags: folder of DAG files.
        settings: `PERENNIAL_…` variables.
        environment: further variables of all components.
    """
    home.mkdir(parents=True, exist_ok=True)
    (home / "venvs").symlink_to(VENVS)
    made = Settings.from_environment(
        {"PERENNIAL_HOME": str(home), "PERENNIAL_AIRFLOW_PORT": str(free_port("127.0.0.1")), "PERENNIAL_RUNTIME": "pod", **settings}
    )
    own = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), **environment}
    with SmallAirflow(made, own) as airflow:
        yield airflow


class SlowWire:
    """A way to the API server on which every answer can be held up: what a task asked for is done, but it does not know it yet."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.delay = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def kubeconfig(self, file: Path) -> Path:
        """Write $KUBECONFIG with the API server behind the wire."""
        said = yaml.safe_load(Path(os.environ["KUBECONFIG"].split(os.pathsep)[0]).read_text())
        for named in said["clusters"]:
            address = named["cluster"]["server"].partition("://")[2].partition(":")[0]
            named["cluster"] |= {"server": f"https://127.0.0.1:{self.port}", "tls-server-name": address}
        file.write_text(yaml.safe_dump(said))
        return file

    def close(self) -> None:
        """Take no new connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.create_connection(self._target) as server:
            back = threading.Thread(target=self._pass_on, args=(server, caller, True), daemon=True)
            back.start()
            self._pass_on(caller, server, held=False)
            back.join()

    def _pass_on(self, source: socket.socket, goal: socket.socket, held: bool) -> None:
        with contextlib.suppress(OSError):  # one of the two has gone
            while content := source.recv(65536):
                if held and self.delay:
                    time.sleep(self.delay)
                goal.sendall(content)
        with contextlib.suppress(OSError):
            goal.shutdown(socket.SHUT_RDWR)
