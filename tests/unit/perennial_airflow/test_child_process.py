"""Child processes end when they must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from perennial_airflow.child_process import ChildProcess


def test_lines_come_as_they_are_printed():
    """MN-18: A line is there before the process has ended."""
    with ChildProcess(["sh", "-c", "echo one; read _ < /dev/zero; sleep 60"], os.environ) as child:
        assert next(child.lines()) == "one"
        assert psutil.pid_exists(child.pid)


def test_the_exit_code_is_known():
    """DE-15: Ended by itself: the code. By a signal: its negative number."""
    with ChildProcess(["sh", "-c", "exit 7"], os.environ) as child:
        assert list(child.lines()) == []
        assert child.wait() == 7
    with ChildProcess(["sh", "-c", "kill -9 $$"], os.environ) as child:
        assert child.wait() == -9


def test_stop_ends_the_whole_group_though_it_does_not_want_to(gone):
    """DE-15: Neither a child that ignores SIGTERM nor its own child is left."""
    with ChildProcess(["sh", "-c", "trap '' TERM; sleep 61 & echo $!; wait; sleep 62"], os.environ) as child:
        grandchild = int(next(child.lines()))
        child.stop(grace_seconds=0.2)
        assert child.wait() == -signal.SIGKILL
    assert gone(grandchild, 10)


def test_stop_leaves_time_to_end_well():
    """DE-15: SIGTERM comes first; a child that heeds it ends with its own code."""
    with ChildProcess(["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"], os.environ) as child:
        next(child.lines())
        child.stop(grace_seconds=60)
        assert child.wait() == 5


def test_the_child_dies_with_a_killed_parent(gone):
    """DE-22: kill -9 of the process that started it leaves no second writer."""
    program = (
        "import os, sys\n"
        "from perennial_airflow.child_process import ChildProcess\n"
        "with ChildProcess(['sh', '-c', 'echo $$; sleep 63; true'], os.environ) as child:\n"
        "    for line in child.lines(): print(line, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child, 40)
