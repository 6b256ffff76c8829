"""A whole platform for the tests of DAGs: real Airflow on this machine, its stages in pods, the store on S3."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perennial.local import airflow_programs, mlflow_program
from perennial.local.airflow_api import AirflowApi, Run
from perennial.settings import Settings
from perennial.testing_s3 import S3Server

from .. import cluster as rig
from .small_airflow import SlowWire

START_SECONDS = 400
SPRING = ("2013-04-22", "2013-05-19")  # four weeks of flights: the first version learns them
HEAT = ("2013-05-20", "2013-06-03")  # two more weeks, with the heat wave that the first version does not know


@dataclass
class Platform:
    """What a test needs of the platform."""

    cluster: rig.Cluster
    namespace: str
    settings: Settings
    api: AirflowApi
    environment: dict[str, str]  # of every program of this machine

    def perennial(self, *arguments: str, seconds: float = 300) -> str:
        """Run the command line in the platform's settings; returns what it printed."""
        return self.python("-m", "perennial.cli", *arguments, seconds=seconds)

    def python(self, *arguments: str, seconds: float = 300) -> str:
        """Run the workload environment's Python in the platform's settings; returns what it printed."""
        command = [str(self.settings.venv("workload") / "bin" / "python"), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=seconds)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def run_with(self, dag: str, task: str, seconds: float, **wanted: Any) -> tuple[Run, dict[str, Any]]:
        """The first run of a DAG whose task has a result with these values; waits for it, and fails at once with a run that failed."""

        def found() -> tuple[Run, dict[str, Any]] | None:
            if dag not in self.api.dags():  # its file has not been read yet
                return None
            for run in reversed(self.api.runs(dag)):
                result = self.api.result(run, task) or {}
                if all(result.get(name) == value for name, value in wanted.items()) and run.state == "success":
                    return run, result
                if run.state == "failed":
                    said = {t: (self.api.result(run, t) or {}).get("sentence") for t in self.api.tasks(run)}
                    last = "\n".join(
                        line for t, state in self.api.tasks(run).items() if state == "failed" for line in self.api.log(run, t)[-40:]
                    )
                    pytest.fail(f"{run.url} failed: {self.api.tasks(run)} {said}\n{last}\n{self.cluster.describe(self.namespace)}")
            return None

        return self.api.until(found, f"a run of {dag} whose {task} says {wanted}", seconds)

    def pods_of(self, stage: str) -> list[str]:
        """Pods in which a stage ran, in order; also those that are gone."""
        return [name for name in self.cluster.started(self.namespace) if f"-{stage}-" in name]


@pytest.fixture(scope="session")
def platform(cluster: rig.Cluster, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests of DAGs."""
    with started_platform(cluster, s3, tmp_path_factory.mktemp("platform")) as found:
        yield found


@contextlib.contextmanager
def started_platform(cluster: rig.Cluster, s3: S3Server, home: Path) -> Iterator[Platform]:
    """Airflow and MLflow as `perennial up` starts them, at the address that pods reach; four weeks of flights have landed before."""
    address = cluster.host_address
    (home / "venvs").symlink_to(rig.VENVS)
    names = ("AIRFLOW_PORT", "MLFLOW_PORT", "GATEWAY_PORT")
    ports = {f"PERENNIAL_{name}": str(rig.free_port(address)) for name in names}
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(cluster.namespace("loop"))
        for_pods = {
            "PERENNIAL_STORE": f"s3://{rig.BUCKET}/{namespace}",
            "PERENNIAL_MLFLOW_URL": f"http://{address}:{ports['PERENNIAL_MLFLOW_PORT']}",
            "PERENNIAL_AIRFLOW_URL": f"http://{address}:{ports['PERENNIAL_AIRFLOW_PORT']}",
            "PERENNIAL_GATEWAY_URL": f"http://{address}:{ports['PERENNIAL_GATEWAY_PORT']}",
            "PERENNIAL_SERVING": "seldon",
            "PERENNIAL_SERVING_NAMESPACE": namespace,
        }
        if not why_no_release():
            for_pods["PERENNIAL_PROMETHEUS_URL"] = stack.enter_context(rig.prometheus_server(cluster, namespace, home / "prometheus"))
            stack.enter_context(_seldon(namespace, address, ports["PERENNIAL_GATEWAY_PORT"], home))
        user, password = mlflow_program.login(Settings.from_environment({"PERENNIAL_HOME": str(home)}))
        login = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
        templates = rig.write_templates(cluster, namespace, home / "pod-templates", for_pods, {**s3.environment(), **login})
        own = {
            **for_pods,
            **ports,
            "PERENNIAL_HOME": str(home),
            "PERENNIAL_HOST": address,
            "PERENNIAL_RUNTIME": "pod",
            "PERENNIAL_POD_TEMPLATES": str(templates.folder),
            "PERENNIAL_POD_NAMESPACE": namespace,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AIRFLOW", "AWS_", "PYTHON", "MLFLOW_"))}
        settings, environment = Settings.from_environment(own), {**inherited, **own, **s3.environment()}
        found = Platform(cluster, namespace, settings, AirflowApi(settings.airflow_url, *airflow_programs.login(settings)), environment)
        try:
            print(found.perennial("land", "flights", "--from", SPRING[0], "--to", SPRING[1]))  # it waits for the platform
            print(found.perennial("up", seconds=START_SECONDS))
            yield found
        finally:
            found.perennial("down")
            _show_logs(home)


def why_no_release() -> str:
    """Why versions cannot be served here; empty if they can."""
    if not shutil.which("prometheus"):
        return "prometheus not installed: apt-get install prometheus"
    if rig.seldon_kinds() is None:
        return f"Seldon's CustomResourceDefinitions are not at {rig.BESIDE}: name their folder by PERENNIAL_SELDON_CRDS"
    return ""


@contextlib.contextmanager
def _seldon(namespace: str, address: str, port: str, home: Path) -> Iterator[None]:
    """What stands in for Seldon Core's operator and its ingress, as a program of the workload environment."""
    folder = home / "seldon"
    folder.mkdir()
    script = Path(__file__).parents[1] / "workload" / "reconcile.py"
    command = [str(rig.VENVS / "workload/bin/python"), str(script), namespace, address, port, str(folder), str(rig.seldon_kinds())]
    with rig.program("reconciler", command, {}, folder) as process:

        def ready() -> bool:
            said = (folder / "reconciler.log").read_text()
            assert process.poll() is None, f"the reconciler ended: {said}"
            return "reconciling" in said

        rig.wait_until(ready, 120, "the reconciler to begin")
        try:
            yield
        finally:
            print((folder / "reconciler.log").read_text()[-3000:])


@pytest.fixture(scope="session")
def first_version(platform: Platform) -> Run:
    """The training that the landed flights set off: its run, with version 1 registered."""
    run, _ = platform.run_with("flight_delays_training", "register", 1800, version=1)
    return run


@pytest.fixture(scope="session")
def first_release(platform: Platform, first_version: Run) -> dict[str, Any]:
    """The release that the first version's registration set off."""
    assert first_version.state == "success"
    _, result = platform.run_with("flight_delays_release", "move_traffic", 900, action="promoted", version=1)
    return result


def _show_logs(home: Path) -> None:
    """The ends of the programs' logs, which pytest shows where a test failed."""
    for log in sorted((home / "logs").glob("airflow-*.log")):
        print(json.dumps({log.name: log.read_text(errors="replace")[-500:]}))


@pytest.fixture(scope="module")
def wire(cluster: rig.Cluster) -> Iterator[SlowWire]:
    """Airflow's way to the API server."""
    from kubernetes.client import Configuration

    host, _, port = Configuration.get_default_copy().host.partition("://")[2].partition(":")
    made = SlowWire(host, int(port or 443))
    yield made
    made.close()
