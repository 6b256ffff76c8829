"""The whole loop of `digits` under the real scheduler, and what happens to it when something is killed in its middle."""

import time

import psutil
import pytest

from perennial import discovery
from perennial.data.tables import Table
from perennial.local.supervisor import Supervisor
from perennial.serving.load import Call, send
from perennial.testing import wait_until

from .conftest import MODEL, call

pytestmark = pytest.mark.timeout(1800)


def test_a_killed_scheduler_and_a_killed_stage_lose_nothing(digits, first_loop):
    """DE-22, OP-08, MO-25: The model's first loop: the scheduler is killed while files are taken in, the stage while it trains and its
    log is read. Every row is in once, and the version serves."""
    killed, came = first_loop.scheduler
    assert came.pid != killed.pid
    assert any("perennial train --model=digits" in line for line in first_loop.shown)
    assert not any("served logs" in line for line in first_loop.shown)  # Airflow's words where a log server should answer
    assert first_loop.registered["outcome"] == "done"
    images = Table(digits.store, MODEL).scan(["image"])["image"].to_pylist()
    assert sorted(images) == list(range(1797))


def test_a_killed_server_comes_back_and_keeps_what_it_answered(digits, first_loop):
    """SE-13, OP-08: All predictions answered more than a second before the kill -9 of the server are in the log; a new server answers by
    itself."""
    spec = discovery.model(MODEL)
    row = dict.fromkeys(spec.inputs, 5)
    before = send(digits.settings, spec, [Call([row], f"kill-{number}") for number in range(300)], rate=100)
    assert not before.failures
    time.sleep(1.5)
    supervisor = Supervisor(digits.settings)
    (name,) = [n for n, p in supervisor.programs().items() if MODEL in n and p.state == "RUNNING"]
    old = psutil.Process(supervisor.programs()[name].pid)
    for process in (*old.children(recursive=True), old):  # the worker first: it would outlive its master for a moment, and answer
        process.kill()

    def answers_anew():
        server = supervisor.programs()[name]
        return server.state == "RUNNING" and server.pid != old.pid and not send(digits.settings, spec, [Call([row])]).failures

    wait_until(answers_anew, 600, "a new server to answer")
    assert call(digits.settings, "monitor", "--model", MODEL).returncode == 0  # takes the log into the table
    logged = set(Table(digits.store, f"{MODEL}_predictions").scan(["prediction_id"])["prediction_id"].to_pylist())
    assert set(before.ids) <= logged
