"""The whole loop under the real scheduler, and what happens to it when something is killed in its middle."""

import os
import signal
import time

import psutil
import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.local.demo import Story
from perennial.local.supervisor import Supervisor
from perennial.serving.load import Call, send
from perennial.store import open_store
from perennial.testing import wait_until

pytestmark = pytest.mark.timeout(1800)
TOLD = (
    "The platform starts",
    "Four weeks of flights land",
    "The first version is trained",
    "It serves",
    "A broken batch is quarantined",
    "The mended batch is taken",
    "Nothing is trained for one day",
    "A worse model is refused",
    "Retraining for drift",
    "The new version takes over",
    "A sabotaged version is rolled back",
    "The same season is quiet",
    "A feed changes its unit",
    "A person judges the incident",
    "The feed is mended, it is over",
    "The ledger proves it",
)


def stage_processes(platform, stage):
    """Processes of this platform that run a stage, the oldest first: one that it starts looks like it for a moment."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if "perennial.cli" in command and stage in command and process.environ().get("PERENNIAL_HOME") == str(platform.settings.home):
                found.append((process.create_time(), process))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for _, process in sorted(found, key=lambda each: each[0])]


def log_of_the_running_task(platform, dag, task):
    """What the UI shows of it while it runs."""
    (run,) = [r for r in platform.api.runs(dag) if r.state == "running"]
    shown = platform.api.log(run, task)
    assert platform.api.tasks(run)[task] == "running"
    return shown


def story_of(platform, *verbs):
    """A story about the dataset and model `digits` on the platform."""
    story = Story(platform.settings, open_store(platform.settings.store), platform.api, model="digits", dataset="digits")
    for verb in verbs:
        story.expect(verb)
    return story


def test_the_story_happens_as_told(platform):
    """OP-01, MO-25, SY-04: The demo, told after an earlier one was killed in its middle, ends with 0 and every line."""
    assert platform.told.returncode == 0, platform.told.stdout[-3000:]
    for line in TOLD:
        assert f"✓ {line}" in platform.told.stdout


def test_what_served_when_can_be_asked(platform):
    """SC-03: The ledger verifies, and names the version that serves now."""
    verified = platform.perennial("ledger", "verify")
    assert verified.returncode == 0, verified.stderr
    now = platform.perennial("served-at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "--model", "flight_delays")
    assert "version 2" in now.stdout


def test_a_killed_scheduler_and_a_killed_stage_lose_nothing(platform):
    """DE-22, OP-08, MO-25: The second model's first loop: the scheduler is killed while files are taken in, the stage while it trains and
    its log is read. Every row is in once, and the version serves."""
    story = story_of(platform, "ingestion", "training", "release")
    assert platform.perennial("land", "digits", "--from", "2024-01-01", "--to", "2024-01-18").returncode == 0
    supervisor = Supervisor(platform.settings)
    wait_until(lambda: stage_processes(platform, "ingest"), 180, "the ingestion to begin")
    scheduler = supervisor.programs()["airflow-scheduler"]
    os.kill(scheduler.pid, signal.SIGKILL)
    wait_until(
        lambda: (again := supervisor.programs()["airflow-scheduler"]).state == "RUNNING" and again.pid != scheduler.pid,
        180,
        "the scheduler to come back",
    )
    training = wait_until(lambda: stage_processes(platform, "train"), 400, "the training to begin")[0]
    shown = log_of_the_running_task(platform, "digits_training", "train")
    assert any("perennial train --model=digits" in line for line in shown)
    assert not any("served logs" in line for line in shown)  # Airflow's words where a log server should answer
    training.kill()
    _, registered = story.next("training", "register", seconds=600, version=1)
    assert registered["outcome"] == "done"
    story.next("release", "move_traffic", seconds=400, action="promoted")
    images = Table(story.store, "digits").scan(["image"])["image"].to_pylist()
    assert sorted(images) == list(range(1797))


def test_a_killed_server_comes_back_and_keeps_what_it_answered(platform):
    """SE-13, OP-08: All predictions answered more than a second before the kill -9 of the server are in the log; a new server answers by
    itself."""
    spec, store = discovery.model("digits"), open_store(platform.settings.store)
    row = dict.fromkeys(spec.inputs, 5)
    before = send(platform.settings, spec, [Call([row], f"kill-{number}") for number in range(300)], rate=100)
    assert not before.failures
    time.sleep(1.5)
    supervisor = Supervisor(platform.settings)
    (name,) = [n for n, p in supervisor.programs().items() if "digits" in n and p.state == "RUNNING"]
    old = psutil.Process(supervisor.programs()[name].pid)
    for process in (*old.children(recursive=True), old):  # the worker first: it would outlive its master for a moment, and answer
        process.kill()

    def answers_anew():
        server = supervisor.programs()[name]
        return server.state == "RUNNING" and server.pid != old.pid and not send(platform.settings, spec, [Call([row])]).failures

    wait_until(answers_anew, 180, "a new server to answer")
    assert platform.perennial("monitor", "--model", "digits").returncode == 0  # takes the log into the table
    logged = set(Table(store, "digits_predictions").scan(["prediction_id"])["prediction_id"].to_pylist())
    assert set(before.ids) <= logged
