"""A stage as a task, with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset, RetryAction
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.execution_time.timeout import timeout

from perennial_airflow.operators.process_stage import ProcessStage
from perennial_airflow.stage_end import RefusalsAreFinal, StageFault, StageOverTime, StageRefused

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")


def _run(context=None, **keywords):
    keywords = {"task_id": "train", "stage": "train", "arguments": {"model": "m", "snapshot": 3}, **keywords}
    return ProcessStage(**keywords).execute(context or {})


def test_done(stages, task_log):
    """DE-15: The result comes back; the log shows the stage's lines with their levels, and the sentence once, last."""
    stages.do("""
print("12:00:00 INFO epoch 1", file=sys.stderr, flush=True)
print("12:00:01 WARNING slow disk", file=sys.stderr, flush=True)
print("a bare line", flush=True)
end(0, "Trained.", sentence="Trained.", digest="abc")
""")
    assert _run()["digest"] == "abc"
    assert [line for line in task_log.lines if "cannot be called outside" not in line[1]] == [
        ("INFO", "perennial train --model=m --snapshot=3"),
        ("INFO", "epoch 1"),
        ("WARNING", "slow disk"),
        ("WARNING", "a bare line"),
        ("INFO", "Trained."),
    ]


def test_what_takes_too_long_is_ended_and_told(stages, task_log):
    """MN-09, DE-15: The stage is asked to end and may clean up; the task fails for good with the sentence, which is also its result, so
    that an incident has it."""
    stages.do("""
import signal
signal.signal(signal.SIGTERM, lambda *_: (open(os.environ["PERENNIAL_HOME"] + "/asked", "w").close(), os._exit(1)))
print("12:00:00 INFO epoch 1", flush=True)
while True: time.sleep(0.01)
""")
    pushed, limit = {}, timedelta(seconds=2)
    context = {"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))}
    with pytest.raises(StageOverTime) as over, timeout(limit.total_seconds()):
        _run(context, execution_timeout=limit)
    sentence = (
        "The stage train took longer than 0.000555556 hours (compute.longest_hours) and was ended. See in its log what it waited for; "
        "clear the task to go on from what is stored, or raise the limit."
    )
    assert str(over.value) == sentence
    assert (pushed["return_value"]["outcome"], pushed["return_value"]["sentence"]) == ("fault", sentence)
    assert (stages.home / "asked").exists()
    assert ("ERROR", sentence) in task_log.lines
    assert RefusalsAreFinal().evaluate(over.value, 1, 3).action == RetryAction.FAIL


def test_lines_are_shown_while_the_stage_runs(stages, task_log):
    """MN-18, MN-14: Progress does not wait for the end."""
    stages.do("""
print("12:00:00 INFO epoch 1", flush=True)
while not os.path.exists(os.environ["PERENNIAL_HOME"] + "/go_on"): time.sleep(0.01)
end(0, sentence="Trained.")
""")
    seen = threading.Event()

    def let_go_on():
        while ("INFO", "epoch 1") not in task_log.lines:
            time.sleep(0.01)
        seen.set()
        (stages.home / "go_on").touch()

    watcher = threading.Thread(target=let_go_on, daemon=True)
    watcher.start()
    _run()
    assert seen.is_set()


def test_refused(stages, task_log, task_instance):
    """DE-15: Not tried again; the sentence is the last line and the result is there for who asks."""
    stages.do('end(2, "Nothing to train on.", outcome="refused", sentence="Nothing to train on.")')
    ti = task_instance()
    with pytest.raises(StageRefused, match="Nothing to train on") as ended:
        _run({"ti": ti})
    assert ended.value.code == 2
    assert task_log.lines[-1] == ("ERROR", "Nothing to train on.")
    assert ti.pushed["return_value"]["outcome"] == "refused"
    assert RefusalsAreFinal().evaluate(ended.value, 1, 2).action is RetryAction.FAIL


def test_fault(stages, task_log, task_instance):
    """DE-22: Tried again as the task's settings say."""
    stages.do('end(1, "MLflow does not answer.", outcome="fault", sentence="MLflow does not answer.")')
    with pytest.raises(StageFault, match="MLflow does not answer") as ended:
        _run({"ti": task_instance()})
    assert ended.value.code == 1
    assert task_log.lines[-1] == ("ERROR", "MLflow does not answer.")
    assert RefusalsAreFinal().evaluate(ended.value, 1, 2).action is RetryAction.DEFAULT


def test_skipped(stages, task_log, task_instance):
    """DE-15: Nothing to do is no failure; the log says why, once."""
    stages.do('end(0, outcome="skipped", sentence="Nothing new since version 12.")')
    with pytest.raises(AirflowSkipException, match="Nothing new since version 12"):
        _run({"ti": task_instance()})
    assert task_log.lines[-1] == ("INFO", "Nothing new since version 12.")


def test_killed_without_a_result(stages, task_instance):
    """DE-15: A stage that the kernel killed is a fault that says so."""
    stages.do("os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(StageFault, match="SIGKILL, perhaps for want of memory"):
        _run({"ti": task_instance()})


def test_ended_without_a_result(stages, task_instance):
    """DE-15: So is one that ends oddly; one that does not understand its arguments is not tried again."""
    stages.do("sys.exit(3)")
    with pytest.raises(StageFault, match="code 3 and no result"):
        _run({"ti": task_instance()})
    stages.do('print("perennial train: error: unknown argument", file=sys.stderr); sys.exit(2)')
    with pytest.raises(StageRefused, match="unknown argument"):
        _run({"ti": task_instance()})


def test_a_crash_after_the_result_does_not_undo_it(stages):
    """DE-15: The work is done and stored; how the interpreter ended is only told."""
    stages.do("""
open(result_file, "w").write(json.dumps({"outcome": "done", "sentence": "Trained.", "links": {}}))
os.kill(os.getpid(), signal.SIGSEGV)
""")
    assert _run()["sentence"] == "Trained."


def test_no_environment(home, task_instance):
    """DE-09: A machine that was not set up is told how to be."""
    with pytest.raises(StageFault, match="make setup"):
        _run({"ti": task_instance()})


def test_a_wrong_setting_is_a_sentence(stages, monkeypatch, task_instance):
    """DE-15: Settings are read where the stage starts."""
    monkeypatch.setenv("PERENNIAL_SERVING", "carrier pigeon")
    with pytest.raises(StageFault, match="PERENNIAL_SERVING is 'carrier pigeon'"):
        _run({"ti": task_instance()})


def test_the_stage_is_given_the_same_settings(stages, monkeypatch):
    """DE-23: Store, ports and addresses go down; the caller's Python environment does not."""
    monkeypatch.setenv("PERENNIAL_STORE", "/somewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    stages.do('end(0, sentence=os.environ["PERENNIAL_STORE"] + os.environ.get("PYTHONPATH", ""))')
    assert _run()["sentence"] == "/somewhere"


def test_links_appear_if_they_lead_somewhere(stages):
    """MN-18: A task shows the pages its result names and no others."""
    stages.do('end(0, sentence="Done.", links={"MLflow run": "http://m/1", "Report": ""})')
    task = ProcessStage(task_id="train", stage="train", arguments={"model": "m", "snapshot": 1})
    assert len(task.operator_extra_links) > 1
    task.execute({})
    assert [(link.name, link.get_link(task, ti_key=None), link.xcom_key) for link in task.operator_extra_links] == [
        ("MLflow run", "http://m/1", "_link_mlflow_run")
    ]


@pytest.mark.parametrize(("announces", "events"), [(lambda r: {"version": r["version"]}, {"version": 7}), (lambda r: None, None)])
def test_an_event_is_made_only_if_there_is_one(stages, announces, events):
    """DM-16: The outlets decide what Airflow announces after a success."""
    stages.do('end(0, sentence="Registered.", version=7)')
    asset = Asset("thing", uri="perennial://thing")
    task = ProcessStage(task_id="register", stage="register", arguments={"model": "m"}, outlets=[asset], announces=announces)
    outlet_events = OutletEventAccessors()
    task.execute({"outlet_events": outlet_events})
    if events is None:
        assert task.outlets == []
    else:
        assert task.outlets == [asset]
        assert outlet_events[asset].extra == events


def test_on_kill_ends_the_stage(stages, task_instance, gone):
    """DE-22: A task that is ended ends its stage and what that started; the task can then be tried again."""
    stages.do("""
child = subprocess.Popen(["sleep", "64"])
open(os.environ["PERENNIAL_HOME"] + "/pids", "w").write(f"{os.getpid()} {child.pid}")
time.sleep(64)
""")
    task = ProcessStage(task_id="train", stage="train", arguments={"model": "m", "snapshot": 1})

    def kill():
        while not (stages.home / "pids").exists() or " " not in (stages.home / "pids").read_text():
            time.sleep(0.01)
        task.on_kill()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(StageFault, match="SIGTERM"):
        task.execute({"ti": task_instance()})
    killer.join()
    assert all(gone(int(pid), 10) for pid in (stages.home / "pids").read_text().split())


def test_the_stage_dies_with_its_task_and_the_task_with_its_supervisor(stages, gone):
    """DE-22: kill -9 of the process that supervises the task leaves neither: another try finds no second writer."""
    stages.do("""
open(os.environ["PERENNIAL_HOME"] + "/pid", "w").write(str(os.getpid()))
time.sleep(65)
""")
    program = textwrap.dedent("""
        import os, sys, time
        from perennial_airflow.operators.process_stage import ProcessStage
        task = ProcessStage(task_id="train", stage="train", arguments={"model": "m", "snapshot": 1})
        runner = os.fork()  # as Airflow's supervisor starts a task
        if runner == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            task.execute({})
        print(runner, flush=True)
        time.sleep(66)
    """)
    supervisor = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)
    )
    assert supervisor.stdout is not None
    runner = int(supervisor.stdout.readline())
    pid_file = stages.home / "pid"
    end = time.monotonic() + 600
    while (not pid_file.exists() or not pid_file.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    stage = int(pid_file.read_text())
    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    supervisor.stdout.close()
    assert gone(runner, 40)
    assert gone(stage, 40)
