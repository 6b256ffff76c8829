from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from perennial.local import orphans

ADDRESS = "unix:///nowhere/supervisor.sock"


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: str, **environment: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["/bin/sh", "-c", command], env={**os.environ, **environment}))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def has_become_sleep(process: subprocess.Popen[bytes]) -> None:
    """While a program takes the place of another it has its new name first, and an empty environment for a moment."""
    of = psutil.Process(process.pid)
    while of.name() != "sleep" or orphans.ADDRESS not in of.environ():
        time.sleep(0.01)


def pid_file(folder: Path, pid: int) -> Path:
    """What a program's script writes at its start."""
    file = folder / "program.pid"
    file.write_text(f"{pid}\n")
    return file


def test_the_process_that_wrote_the_file_is_ended(start, tmp_path):
    """OP-08: Also when supervisord, which would have done it, was killed."""
    process = start("exec sleep 100")
    assert orphans.end_left([orphans.Left(pid_file(tmp_path, process.pid))]) == [process.pid]
    assert not psutil.pid_exists(process.pid)


def test_a_process_may_have_begun_long_before_it_wrote_the_file(start, tmp_path):
    """OP-08: A program that starts again first ends what its killed process left: that takes its time."""
    process = start("exec sleep 100")
    file = pid_file(tmp_path, process.pid)
    os.utime(file, (0, time.time() + 60))
    assert orphans.end_left([orphans.Left(file)]) == [process.pid]


def test_a_number_that_somebody_else_has_now_is_left_alone(start, tmp_path):
    """OP-08: Process ids are used again: the start time tells them apart."""
    process = start("exec sleep 100")
    file = pid_file(tmp_path, process.pid)
    os.utime(file, (0, time.time() - 3600))
    assert orphans.end_left([orphans.Left(file)]) == []
    assert process.poll() is None


@pytest.mark.parametrize("text", ["", "no number", "99999999"])
def test_a_file_without_a_running_process_is_no_error(tmp_path, text):
    """OP-08: A kill can come between any two lines."""
    file = tmp_path / "program.pid"
    file.write_text(text)
    assert orphans.end_left([orphans.Left(file)]) == []
    assert orphans.end_left([orphans.Left(tmp_path / "absent.pid")]) == []


def test_children_end_too(start, tmp_path):
    """OP-08: A server's workers hold its port."""
    process = start("sleep 101 & echo started; wait")
    parent = psutil.Process(process.pid)
    while not parent.children():
        time.sleep(0.01)
    child = parent.children()[0]
    orphans.end_left([orphans.Left(pid_file(tmp_path, process.pid))])
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_one_that_does_not_listen_is_killed(start, tmp_path):
    """OP-08: SIGTERM can be ignored, SIGKILL cannot."""
    process = start("trap '' TERM; echo ready; while true; do sleep 0.1; done")
    time.sleep(0.2)
    orphans.end_left([orphans.Left(pid_file(tmp_path, process.pid), seconds=0.3)])
    assert not psutil.pid_exists(process.pid)


def test_only_processes_of_this_supervisor_are_ended(start):
    """OP-08: Another Perennial on the machine carries another address."""
    ours = start("exec sleep 100", SUPERVISOR_SERVER_URL=ADDRESS, SUPERVISOR_PROCESS_NAME="a")
    other = start("exec sleep 100", SUPERVISOR_SERVER_URL="unix:///elsewhere.sock", SUPERVISOR_PROCESS_NAME="a")
    for process in (ours, other):
        has_become_sleep(process)
    assert orphans.end_all(ADDRESS) == [ours.pid]
    assert not psutil.pid_exists(ours.pid)
    assert other.poll() is None


def test_what_a_process_starts_while_it_is_ended_is_ended_too(start, tmp_path):
    """OP-08: A server that begins a worker in its last moment leaves it without a parent."""
    late = tmp_path / "late"
    ours = start(
        f"trap 'sleep 102 & echo $! > {late}; exit' TERM; echo > {tmp_path / 'ready'}; while true; do sleep 0.05; done",
        SUPERVISOR_SERVER_URL=ADDRESS,
    )
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    ended = orphans.end_all(ADDRESS)
    assert ours.pid in ended
    worker = int(late.read_text())
    assert not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE


def test_only_one_programs_processes_are_ended(start):
    """OP-08: A program that starts again ends what its own killed process left, not its neighbours."""
    ours = start("exec sleep 100", SUPERVISOR_SERVER_URL=ADDRESS, SUPERVISOR_PROCESS_NAME="a")
    neighbour = start("exec sleep 100", SUPERVISOR_SERVER_URL=ADDRESS, SUPERVISOR_PROCESS_NAME="b")
    for process in (ours, neighbour):
        has_become_sleep(process)
    orphans.end_all(ADDRESS, "a")
    assert not psutil.pid_exists(ours.pid)
    assert neighbour.poll() is None
