from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from perennial.local.supervisor import Supervisor
from perennial.settings import Settings
from perennial.testing import free_ports, wait_until


class Machine:
    """The container's command as a process of this machine, on all of its addresses as in a container."""

    def __init__(self, settings: Settings, *command: str) -> None:
        self.settings, self.port = settings, free_ports(1)[0]
        self.supervisor = Supervisor(settings)
        arguments = ["-m", "perennial.local.container", "--status-port", str(self.port), "--", *command]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PERENNIAL_"))}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env={**environment, **settings.environment(), "AIRFLOW__TEST__OPTION": "handed on"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def get(self, path: str) -> str:
        """What the status port answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def is_well(self) -> bool:
        """Whether the health check passes."""
        try:
            return bool(self.get("/health"))
        except (urllib.error.URLError, OSError):
            return False

    def end(self, seconds: float = 60) -> tuple[int, str]:
        """Exit code and all that was shown."""
        shown, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, shown


@pytest.fixture
def start(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Machine]]:
    """Starts machines, and ends what a test leaves."""
    started: list[Machine] = []

    def begin(*command: str) -> Machine:
        started.append(Machine(make_settings(PERENNIAL_HOST="0.0.0.0"), *command))
        return started[-1]

    yield begin
    for machine in started:
        if machine.process.poll() is None:
            machine.process.send_signal(signal.SIGTERM)
            machine.end()
        machine.supervisor.shutdown()


def test_gateway_and_command_run_until_the_container_is_stopped(start: Callable[..., Machine], tmp_path: Path) -> None:
    """OP-07: The health check passes once both run, Prometheus finds what the dashboards show, and SIGTERM ends all with exit 0."""
    machine = start("bash", "-c", f"echo $AIRFLOW__TEST__OPTION > {tmp_path}/seen; echo hello; exec sleep 300")
    wait_until(machine.is_well, 90)
    wait_until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text(), 30, "what the command wrote")
    assert (tmp_path / "seen").read_text() == "handed on\n"
    figures = machine.get("/metrics")
    assert 'perennial_program_running{program="envoy"} 1' in figures
    assert 'perennial_part_answers{part="gateway"} 1' in figures
    assert 'envoy_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="models"} 0' in figures
    pids = [p.pid for p in machine.supervisor.programs().values() if p.pid]
    machine.process.send_signal(signal.SIGTERM)
    code, shown = machine.end()
    assert code == 0
    assert "| hello" in shown
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


def test_a_dead_command_shows_and_is_started_again(start: Callable[..., Machine], tmp_path: Path) -> None:
    """OP-08: The gateway goes on serving meanwhile."""
    machine = start("bash", "-c", f"echo start >> {tmp_path}/starts; exec sleep 300")
    wait_until(machine.is_well, 90)
    before = machine.supervisor.programs()
    os.kill(before["bash"].pid or 0, signal.SIGKILL)
    wait_until(lambda: (tmp_path / "starts").read_text().count("start") == 2, 60)
    wait_until(machine.is_well, 60)
    assert machine.supervisor.programs()["envoy"].pid == before["envoy"].pid


def test_without_supervisor_the_container_ends(start: Callable[..., Machine]) -> None:
    """OP-08: Exit 1 makes Docker start it again; nothing is left of the programs that were."""
    machine = start("sleep", "300")
    wait_until(machine.is_well, 90)
    pids = [p.pid for p in machine.supervisor.programs().values() if p.pid]
    os.kill(machine.supervisor._call("getPID"), signal.SIGKILL)
    code, shown = machine.end()
    assert code == 1
    assert "supervisord has ended" in shown
    assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
