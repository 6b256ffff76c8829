"""Releases and the rollback of flight_delays under the real scheduler, in Seldon's dialect: the looks are pods, the versions are pods."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from perennial.local.airflow_api import Run

from ..cluster import wait_until
from .conftest import HEAT, SPRING, Platform, why_no_release

pytestmark = [pytest.mark.timeout(3600), pytest.mark.skipif(bool(why_no_release()), reason=why_no_release())]
MODEL, NAME = "flight_delays", "flight-delays"
RATE = 60


@dataclass
class Traffic:
    """What callers saw."""

    rounds: list[str] = field(default_factory=list)  # what each `perennial traffic` printed
    failures: list[str] = field(default_factory=list)


@contextmanager
def live_traffic(platform: Platform) -> Iterator[Traffic]:
    """Flights of the spring are asked for, one a request and a day at a time, until the block ends."""
    python = str(platform.settings.venv("workload") / "bin" / "python")
    command = [python, "-m", "perennial.cli", "traffic", "--model", MODEL, "--rate", str(RATE)]
    found, ended = Traffic(), threading.Event()

    def run() -> None:
        first, last = (date.fromisoformat(day) for day in SPRING)
        days = [first + timedelta(days=number) for number in range((last - first).days)]
        for day in itertools.cycle(days):
            if ended.is_set():
                break
            of_a_day = [*command, "--from", str(day), "--to", str(day + timedelta(days=1))]
            done = subprocess.run(of_a_day, env=platform.environment, capture_output=True, text=True, check=False)
            found.rounds.append(done.stdout)
            if done.returncode:
                found.failures.append(done.stdout + done.stderr)

    sender = threading.Thread(target=run, daemon=True)
    sender.start()
    try:
        yield found
    finally:
        ended.set()
        sender.join()


def predictors(platform: Platform) -> dict[str, int]:
    """Traffic in percent of each predictor of the SeldonDeployment."""
    deployment = platform.cluster.custom.get_namespaced_custom_object(
        "machinelearning.seldon.io", "v1", platform.namespace, "seldondeployments", NAME
    )
    return {predictor["name"]: predictor.get("traffic", 0) for predictor in deployment["spec"]["predictors"]}


def version_that_answers(platform: Platform) -> int:
    """Ask for one prediction through the gateway; the number of the version that gave it."""
    row = {
        "scheduled_departure": "2013-05-01T08:00:00", "scheduled_minutes": 120.0, "carrier": "UA", "origin": "EWR", "dest": "ORD",
        "distance": 719,
        "temp": 60.0, "dewp": 40.0, "humid": 50.0, "wind_dir": 180.0, "wind_speed": 8.0, "wind_gust": None, "precip": 0.0,
        "pressure": 1015.0,
        "visib": 10.0, "plane_year": 2005, "manufacturer": "BOEING", "engines": 2, "seats": 180,
    }  # fmt: skip
    url = platform.settings.gateway_url + platform.settings.prediction_path(MODEL)
    body = json.dumps({"data": {"rows": [row]}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return int(answer.headers["x-perennial-version"])


def ledger(platform: Platform) -> list[str]:
    """The ledger's lines."""
    return platform.perennial("ledger", "show", "--model", MODEL).splitlines()[1:]


@pytest.fixture(scope="module")
def second_release(platform: Platform, first_release: dict[str, Any]) -> tuple[Run, dict[str, Any], Traffic]:
    """Two more weeks land, a second version is trained on them by hand and released under traffic."""
    assert first_release["version"] == 1
    platform.perennial("land", "flights", "--from", HEAT[0], "--to", HEAT[1])

    def taken() -> bool:
        results = [platform.api.result(run, "ingest") or {} for run in platform.api.runs("flights_ingestion")]
        return sum(len(result.get("appended", {})) for result in results) == 28 + 15

    wait_until(taken, 600, "the ingestion of two more weeks")
    training = platform.api.wait(platform.api.trigger(f"{MODEL}_training", force=True, reason="a second version for the test"), 900)
    assert (platform.api.result(training, "register") or {}).get("version") == 2, platform.api.result(training, "register")
    with live_traffic(platform) as traffic:
        run, result = platform.run_with(f"{MODEL}_release", "move_traffic", 1200, version=2, action="promoted")
    return run, result, traffic


def test_the_first_version_serves_by_seldon(platform: Platform, first_release: dict[str, Any]) -> None:
    """DE-02, DE-06: A registered version is released without anybody's help: one predictor has all traffic, and answers through the
    ingress."""
    assert first_release["outcome"] == "done"
    assert predictors(platform) == {"v1": 100}
    assert version_that_answers(platform) == 1
    (pod,) = platform.cluster.pods(platform.namespace, f"perennial/model={MODEL},perennial/version=1")
    assert all(status.ready for status in pod.status.container_statuses)
    assert platform.pods_of("release")


def test_the_second_version_takes_over_in_steps_under_traffic(
    platform: Platform, second_release: tuple[Run, dict[str, Any], Traffic]
) -> None:
    """SE-06, MN-15, SY-10: The weights rise step by step on the evidence of Prometheus, no request is lost, and each look has a pod of its
    own."""
    run, _, traffic = second_release
    assert traffic.rounds
    assert not traffic.failures
    assert version_that_answers(platform) == 2
    weights = [int(found[1]) for line in ledger(platform) if (found := re.search(r" 2:(\d+)%", line))]
    assert weights == sorted(weights)
    assert weights[-1] == 100
    assert len(set(weights)) > 2, f"it did not move in steps: {weights}"
    lines = platform.api.log(run, "move_traffic")
    looks = [name for name in platform.pods_of("release") if any(name in line for line in lines)]
    assert len(looks) == len(set(looks)) > 2


def test_one_button_goes_back(platform: Platform, second_release: tuple[Run, dict[str, Any], Traffic]) -> None:
    """SE-11, SC-03: The rollback's DAG gives all traffic to the first version again while callers go on asking; the ledger says why, and
    verifies."""
    assert second_release[1]["version"] == 2
    with live_traffic(platform) as traffic:
        run = platform.api.wait(platform.api.trigger(f"{MODEL}_rollback", reason="the test wants to go back"), 600)
    assert run.state == "success", platform.api.log(run, "rollback")[-20:]
    assert not traffic.failures
    wait_until(lambda: version_that_answers(platform) == 1, 60, "the first version to answer again")
    assert predictors(platform)["v1"] == 100
    assert "the test wants to go back" in ledger(platform)[-1]
    assert platform.pods_of("rollback")
    platform.perennial("ledger", "verify")


def test_no_pod_of_a_look_is_left(platform: Platform, second_release: tuple[Run, dict[str, Any], Traffic]) -> None:
    """OP-10: Once the releases have ended, pods of served versions are all there is."""
    assert second_release[1]["action"] == "promoted"

    def stages() -> list[str]:
        return [pod.metadata.name for pod in platform.cluster.pods(platform.namespace) if "perennial/task" in (pod.metadata.labels or {})]

    wait_until(lambda: not stages(), 120, "the removal of the pods of stages")
