"""Stages in processes that the runner of stages forks off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from perennial import stage_runner
from perennial.settings import Settings
from perennial.sockets import socket_folder
from perennial_airflow.forked_stage import ForkedStage, RunnerAway, has_runner
from perennial_airflow.operators.process_stage import ProcessStage

# Plays `perennial.cli`, and is imported in its place: what the stage does is said by its first argument.
CLI = """
import os, signal, subprocess, sys, time
def main():
    given = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[2:])
    print("12:00:00 INFO begun", os.environ.get("MINE", ""), flush=True)
    exec(given["model"])
"""


@pytest.fixture
def runner(home, tmp_path, monkeypatch):
    """A runner whose command is the one above; its process."""
    package = tmp_path / "code" / "perennial"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "cli.py").write_text(CLI)
    (package / "stage_runner.py").write_text(Path(stage_runner.__file__).read_text())
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    path = socket_folder(Settings.from_environment()) / stage_runner.SOCKET
    process = subprocess.Popen([sys.executable, "-m", "perennial.stage_runner", str(path)])
    end = time.monotonic() + 60
    while not stage_runner.answers(path) and time.monotonic() < end:
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def _stage(body, **more):
    return ForkedStage(Settings.from_environment(), ["ingest", f"--model={body}"], {**os.environ, "PYTHONUNBUFFERED": "1", **more})


def test_lines_come_as_they_are_printed_and_the_code_is_known(runner):
    """MN-18, DE-15: Live, and with the stage's own variables; by itself the code, by a signal its negative number."""
    with _stage("time.sleep(600)", MINE="x") as child:
        assert next(child.lines()) == "12:00:00 INFO begun x"
        assert psutil.pid_exists(child.pid)
    with _stage("sys.exit(7)") as child:
        assert list(child.lines()) == ["12:00:00 INFO begun "]
        assert child.wait() == 7
    with _stage("os.kill(os.getpid(), 9)") as child:
        list(child.lines())
        assert child.wait() == -9


def test_stop_ends_the_whole_group_though_it_does_not_want_to(runner, gone):
    """DE-15: Neither a stage that ignores SIGTERM nor its own child is left."""
    stubborn = "signal.signal(15, signal.SIG_IGN); print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    with _stage(stubborn) as child:
        lines = child.lines()
        next(lines)
        grandchild = int(next(lines))
        child.stop(grace_seconds=0.2)
        assert child.wait() == -signal.SIGKILL
    assert gone(grandchild, 10)


def test_stop_leaves_time_to_end_well(runner):
    """DE-15: SIGTERM comes first; a stage that heeds it ends with its own code."""
    with _stage("signal.signal(15, lambda *_: sys.exit(5)); print('ready', flush=True); time.sleep(600)") as child:
        lines = child.lines()
        assert [next(lines), next(lines)][1] == "ready"
        child.stop(grace_seconds=60)
        assert child.wait() == 5


def test_the_stage_dies_with_a_killed_task(runner, gone):
    """DE-22: kill -9 of the task's process leaves no second writer."""
    program = (
        "import os, sys\n"
        "from perennial.settings import Settings\n"
        "from perennial_airflow.forked_stage import ForkedStage\n"
        "with ForkedStage(Settings.from_environment(), ['ingest', '--model=time.sleep(600)'], os.environ) as child:\n"
        "    print(child.pid, flush=True)\n"
        "    child.wait()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child, 40)


def test_the_runner_s_end_is_the_stage_s(runner, gone):
    """DE-15: The task hears that its stage was killed."""
    with _stage("time.sleep(600)") as child:
        next(child.lines())
        runner.kill()
        assert child.wait() == -signal.SIGKILL
        assert gone(child.pid, 40)


def test_without_a_runner_nothing_is_said(home):
    """DE-15: In a container there is none, and a stage of minutes needs none."""
    settings = Settings.from_environment()
    assert not has_runner(settings, "ingest")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_folder(settings) / stage_runner.SOCKET))
        assert has_runner(settings, "ingest")
        assert not has_runner(settings, "train")
        assert not has_runner(settings, "evaluate")


def test_a_runner_that_is_away_is_told_and_the_stage_runs(stages, task_log):
    """DE-15: One line in the task's log; the stage starts by itself, as before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_folder(Settings.from_environment()) / stage_runner.SOCKET))
    stages.do('end(0, "Taken.", sentence="Taken.", appended=[])')
    assert ProcessStage(task_id="ingest", stage="ingest", arguments={"dataset": "d"}).execute({})["sentence"] == "Taken."
    said = [line for line in task_log.lines if line[0] == "WARNING" and "runner" in line[1]]
    assert said == [("WARNING", "The runner of stages does not answer ([Errno 111] Connection refused): this stage starts by itself.")]


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b'{"again": true}\n'])
def test_a_runner_that_answers_otherwise_starts_nothing(home, answer, monkeypatch):
    """DE-15: It closed the connection, says what nobody understands, or begins anew for ever."""
    settings = Settings.from_environment()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_folder(settings) / stage_runner.SOCKET))
        listener.listen()

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    output, _ = stage_runner.received(connection)
                    os.close(output)
                    connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(RunnerAway):
            _stage("pass")
        assert len(os.listdir("/proc/self/fd")) <= before, "no descriptor is left open"
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()
