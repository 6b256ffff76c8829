"""What `perennial up` makes of programs that run and do not answer; the programs themselves are in tests/integration/local."""

from __future__ import annotations

import contextlib
import socket
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial.errors import Fault, SettingMissing
from perennial.local import stack
from perennial.local.stack import Part
from perennial.local.supervisor import Program
from perennial.settings import PORTS, Settings
from perennial.store import FolderStore
from perennial.testing import free_ports


class Programs:
    """Programs that run since the given seconds; one that is replaced answers after as many looks."""

    def __init__(self, folder: Path, **seconds: float) -> None:
        now = datetime.now(timezone.utc)
        self.since = {name: now - timedelta(seconds=ago) for name, ago in seconds.items()}
        self.folder = folder
        self.replaced: list[str] = []
        self.answers: set[str] = set()

    def programs(self) -> dict[str, Program]:
        return {name: Program(name, "RUNNING", 1, since) for name, since in self.since.items()}

    def replace(self, name: str) -> None:
        self.replaced.append(name)
        self.since[name] = datetime.now(timezone.utc)
        self.answers |= {name, *(["scheduler"] if name == "api" else [])}

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def part(self, name: str, **more: object) -> Part:
        return Part(name, [], {}, lambda: name in self.answers, **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(stack.time, "sleep", lambda seconds: None)


def test_what_ran_before_and_does_not_answer_is_started_anew_once(tmp_path):
    """OP-08: It has had the time that it may take to start."""
    programs, said = Programs(tmp_path, gateway=60), []
    stack._wait(programs, [programs.part("gateway", patience=10)], datetime.now(timezone.utc), said.append)
    assert programs.replaced == ["gateway"]
    assert ["started anew" in said[0], "ready" in said[1]] == [True, True]


def test_what_another_part_tells_of_is_judged_once_that_one_answers(tmp_path):
    """OP-08: Where the API server hangs nobody knows of the scheduler."""
    programs = Programs(tmp_path, scheduler=1000, api=1000)
    stack._wait(programs, [programs.part("scheduler", told_by="api"), programs.part("api")], datetime.now(timezone.utc), lambda _: None)
    assert programs.replaced == ["api"]


def test_one_that_may_still_be_starting_is_waited_for(tmp_path, monkeypatch):
    """OP-08: A killed `perennial up` has begun it a moment ago: replacing it would only make it later."""
    monkeypatch.setattr(stack, "START_SECONDS", 0.2)
    programs = Programs(tmp_path, slow=5)
    with pytest.raises(Fault, match="slow does not start"):
        stack._wait(programs, [programs.part("slow", patience=120)], datetime.now(timezone.utc), lambda _: None)
    assert programs.replaced == []


def test_what_this_start_began_is_never_said_to_hang(tmp_path, monkeypatch):
    """OP-08: However long a busy machine takes: a restart would throw away what it has loaded. Meanwhile it is said to be starting."""
    monkeypatch.setattr(stack, "START_SECONDS", 0.3)
    monkeypatch.setattr(stack, "SAY_SECONDS", 0.1)
    programs, said = Programs(tmp_path, slow=500), []
    with pytest.raises(Fault, match="slow does not start"):
        stack._wait(programs, [programs.part("slow")], datetime.now(timezone.utc) - timedelta(seconds=600), said.append)
    assert programs.replaced == []
    assert "slow: still starting" in said[0]
    assert str(tmp_path) in said[0]


def programs_at(*ports: int) -> dict[str, Part]:
    names = dict(zip(PORTS, ports, strict=False))
    return {name: Part(name, [], {}, lambda: True, {name: ("127.0.0.1", port)}) for name, port in names.items()}


@pytest.fixture
def taken():
    """Two ports on which somebody listens."""
    with contextlib.ExitStack() as listeners:
        ports = free_ports(2)
        for port in ports:
            listener = listeners.enter_context(socket.socket())
            listener.bind(("127.0.0.1", port))
            listener.listen()
        yield ports


def test_all_taken_ports_are_named_at_once(taken):
    """DE-09: With their settings, and one line that moves them all to ports that are free."""
    free = free_ports(1)
    with pytest.raises(SettingMissing) as refusal:
        stack._check_ports(programs_at(*taken, *free), ours=())
    told = str(refusal.value)
    assert f"Ports {taken[0]} (PERENNIAL_AIRFLOW_PORT) and {taken[1]} (PERENNIAL_MLFLOW_PORT) are taken" in told
    assert str(free[0]) not in told
    base = int(told.rpartition("export PERENNIAL_PORT_BASE=")[2])
    stack._check_ports(programs_at(*range(base, base + len(PORTS))), ours=())


def test_a_taken_port_is_named_with_its_setting(taken):
    """DE-09: One is no list; a port of a program of our own is not taken."""
    with pytest.raises(SettingMissing, match=f"Port {taken[0]} is taken .* PERENNIAL_AIRFLOW_PORT .* export PERENNIAL_PORT_BASE="):
        stack._check_ports(programs_at(*taken), ours=("mlflow_port",))


def test_a_port_that_two_would_have_is_named(taken):
    """DE-09: The second would find it taken by the first, only once all was set up."""
    with pytest.raises(SettingMissing, match=f"PERENNIAL_AIRFLOW_PORT and PERENNIAL_MLFLOW_PORT are both {taken[0]}"):
        stack._check_ports(programs_at(taken[0], taken[0]), ours=PORTS)


def test_a_folder_of_dags_that_is_no_longer_read_is_named(tmp_path, monkeypatch):
    """DE-09: It was a setting once: its DAGs would be gone without a word. Programs that run may hand it on: they go on."""
    monkeypatch.setenv("PERENNIAL_DAGS_FOLDER", str(tmp_path))
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_DAGS_FOLDER": str(tmp_path)})
    with pytest.raises(SettingMissing, match=r"^PERENNIAL_DAGS_FOLDER is no setting any more: put those DAG files into dags/ of a project"):
        stack.start(settings, FolderStore(str(tmp_path / "store")))


def test_a_project_that_is_not_there_is_named(tmp_path):
    """DE-09: Before anything is set up: Airflow would show nothing of it, without a word."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_PROJECT": str(tmp_path / "teem")})
    with pytest.raises(SettingMissing, match=f"^There is no folder {tmp_path}/teem: correct PERENNIAL_PROJECT"):
        stack.start(settings, FolderStore(str(tmp_path / "store")))
