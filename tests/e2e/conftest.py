"""A platform for all end-to-end tests: the demo's, in a home of its own on free ports. The first demo is killed in its middle."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from perennial.local import airflow_programs, demo, stack
from perennial.local.airflow_api import AirflowApi
from perennial.settings import Settings
from perennial.testing import free_ports

PROJECT = Path(__file__).parents[2]
PORTS = ("airflow_port", "mlflow_port", "gateway_port", "metrics_port", "reports_port")
KILLED_AFTER = "✓ The platform starts"


@dataclass
class Platform:
    """What a test needs of the platform."""

    settings: Settings
    api: AirflowApi
    told: subprocess.CompletedProcess

    def perennial(self, *arguments):
        """Run the command line in the platform's settings."""
        return subprocess.run(
            [sys.executable, "-m", "perennial.cli", *arguments],
            env={**os.environ, **self.settings.environment()},
            capture_output=True,
            text=True,
            check=False,
        )


def begin_demo(settings, log):
    environment = {**os.environ, **settings.environment()}
    return subprocess.Popen(
        [sys.executable, "-m", "perennial.cli", "demo"], env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """The demo was begun, killed with -9 once the platform was up, begun again and told to its end."""
    home = tmp_path_factory.mktemp("home")
    (home / "venvs").symlink_to(Path(sys.executable).parents[2])
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    settings = Settings.from_environment(
        {"PERENNIAL_HOME": str(home), **{f"PERENNIAL_{name.upper()}": str(port) for name, port in ports.items()}}
    )
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
            code = begin_demo(settings, log).wait(1500)
        finished = subprocess.CompletedProcess("demo", code, (home / "demo.log").read_text())
        print(finished.stdout)
        yield Platform(told, AirflowApi(told.airflow_url, *airflow_programs.login(told)), finished)
    finally:
        if told.home.exists():
            stack.stop(told)
