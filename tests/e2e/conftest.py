"""Two platforms for all end-to-end tests, each in a home of its own on free ports.

`platform` is the demo's, whose first telling is killed in its middle. `digits` is empty at first, and its store is a bucket of a real S3
server where one can be started; `first_loop` takes the model `digits` through its whole loop there, while things are killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from perennial.local import airflow_programs, demo, prometheus, stack
from perennial.local.airflow_api import AirflowApi, Run
from perennial.local.demo import Story
from perennial.local.supervisor import Program, Supervisor
from perennial.settings import Settings
from perennial.store import open_store
from perennial.testing import free_ports, wait_until
from perennial.testing_s3 import missing_programs, s3_server

PROJECT = Path(__file__).parents[2]
PORTS = ("airflow_port", "mlflow_port", "gateway_port", "metrics_port", "prometheus_port", "alertmanager_port", "traces_port")
KILLED_AFTER = "✓ The platform starts"
MODEL, BUCKET = "digits", "perennial"


@dataclass
class Platform:
    """What a test needs of the demo's platform."""

    settings: Settings
    api: AirflowApi
    told: subprocess.CompletedProcess

    def perennial(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run the command line in the platform's settings."""
        return call(self.settings, *arguments)


def call(settings: Settings, *arguments: str) -> subprocess.CompletedProcess:
    """Run a command as a person would."""
    command = [sys.executable, "-m", "perennial.cli", *arguments]
    return subprocess.run(command, env={**os.environ, **settings.environment()}, capture_output=True, text=True, check=False)


def settings_of(home: Path, **named: str) -> Settings:
    """Settings of a platform of its own, with the environments that there are."""
    (home / "venvs").symlink_to(Path(sys.executable).parents[2])
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    named = {"PERENNIAL_HOME": str(home)} | named
    return Settings.from_environment(named | {f"PERENNIAL_{name.upper()}": str(port) for name, port in ports.items()})


def has_prometheus() -> bool:
    """Whether Prometheus and Alertmanager are installed here."""
    return all(any(map(shutil.which, programs)) for programs in prometheus.PROGRAMS.values())


def begin_demo(settings, log):
    environment = {**os.environ, **settings.environment()}
    return subprocess.Popen(
        [sys.executable, "-m", "perennial.cli", "demo"], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """The demo was begun, killed with -9 once the platform was up, begun again and told to its end."""
    home = tmp_path_factory.mktemp("home")
    settings = settings_of(home, **({"PERENNIAL_METRICS": "1"} if has_prometheus() else {}))
    told = demo.home_of(settings)
    try:
        with open(home / "killed.log", "w") as log:
            killed = begin_demo(settings, log)
            until = time.monotonic() + 480
            while KILLED_AFTER not in (home / "killed.log").read_text() and killed.poll() is None and time.monotonic() < until:
                time.sleep(0.2)
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
        with open(home / "demo.log", "w") as log:
            code = begin_demo(settings, log).wait(1700)
        finished = subprocess.CompletedProcess("demo", code, (home / "demo.log").read_text())
        print(finished.stdout)
        yield Platform(told, AirflowApi(told.airflow_url, *airflow_programs.login(told)), finished)
    finally:
        if told.home.exists():
            stack.stop(told)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Iterator[Story]:
    """An empty platform, told of the model `digits`. Its store is a bucket; without the programs of an S3 server, a folder."""
    home = tmp_path_factory.mktemp("home")
    with contextlib.ExitStack() as ends:
        named = {}
        if not missing_programs():
            server, patch = ends.enter_context(s3_server()), ends.enter_context(pytest.MonkeyPatch.context())
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in server.environment().items():
                patch.setenv(name, value)
            server.create_bucket(BUCKET)
            named["PERENNIAL_STORE"] = f"s3://{BUCKET}/of/a/team"
        settings = settings_of(home, PERENNIAL_TRACES="1", **named)
        ends.callback(stack.stop, settings)
        store = open_store(settings.store)
        stack.start(settings, store)
        api = AirflowApi(settings.airflow_url, *airflow_programs.login(settings))
        api.until(lambda: True if f"{MODEL}_training" in api.dags() else None, "the DAGs to appear", 600)
        yield Story(settings, store, api, model=MODEL, dataset=MODEL)


@dataclass
class FirstLoop:
    """What was seen while the first version of `digits` came to serve."""

    landed: str  # what the command said
    training: Run
    registered: dict[str, Any]
    shown: list[str]  # lines of the log of the training while it ran
    scheduler: tuple[Program, Program]  # the one that was killed, and the one that came


@pytest.fixture(scope="session")
def first_loop(digits: Story) -> FirstLoop:
    """Files land, the trigger sees them, and the first version is trained and takes the traffic, although the scheduler is killed while
    files are taken in, and the stage while it trains."""
    for verb in ("ingestion", "training", "release"):
        digits.expect(verb)
    landed = call(digits.settings, "land", MODEL, "--from", "2024-01-01", "--to", "2024-01-18")
    assert landed.returncode == 0, landed.stderr
    wait_until(lambda: stage_processes(digits.settings, "ingest"), 600, "the ingestion to begin")
    killed = scheduler_of(digits.settings)
    os.kill(killed.pid, signal.SIGKILL)

    def another() -> Program | None:
        return again if (again := scheduler_of(digits.settings)).state == "RUNNING" and again.pid != killed.pid else None

    came = wait_until(another, 600, "the scheduler to come back")
    training = wait_until(lambda: stage_processes(digits.settings, "train"), 400, "the training to begin")[0]
    shown = log_of_the_running_task(digits.api, f"{MODEL}_training", "train")
    training.kill()
    run, registered = digits.next("training", "register", version=1)
    digits.next("release", "move_traffic", action="promoted")
    return FirstLoop(landed.stdout, run, registered, shown, (killed, came))


def scheduler_of(settings: Settings) -> Program:
    return Supervisor(settings).programs()["airflow-scheduler"]


def stage_processes(settings: Settings, stage: str) -> list[psutil.Process]:
    """Processes of this platform that run a stage, the oldest first: one that it starts looks like it for a moment."""
    running = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "perennial.cli" in command and stage in command and process.environ().get("PERENNIAL_HOME") == str(settings.home):
                running.append((process.create_time(), process))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for _, process in sorted(running, key=lambda each: each[0])]


def log_of_the_running_task(api: AirflowApi, dag: str, task: str) -> list[str]:
    """What the UI shows of it while it runs."""
    (run,) = [r for r in api.runs(dag) if r.state == "running"]
    shown = api.log(run, task)
    assert api.tasks(run)[task] == "running"
    return shown
