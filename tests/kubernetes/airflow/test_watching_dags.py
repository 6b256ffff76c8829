"""Profiles, monitoring, incidents and recalibration under the real scheduler: every stage in a pod, what was asked and answered on S3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perennial.local.airflow_api import ENDED, Run
from perennial.testing_s3 import S3Server

from ..cluster import BUCKET
from .conftest import Platform, why_no_release

pytestmark = pytest.mark.timeout(3600)
served = pytest.mark.skipif(bool(why_no_release()), reason=why_no_release())
MODEL = "flight_delays"
CELSIUS, MENDED = "2013-05-24", ("2013-05-27", "2013-05-30", "2013-06-02")  # begins of windows of three days, later than all other traffic
LOOK = Path(__file__).parents[1] / "workload" / "look_at_window.py"


def look_at(platform: Platform, first: str, *feed: str) -> dict[str, Any]:
    """Send a window's flights and their outcomes, and let the monitoring DAG look at it; the result of its stage."""
    found: dict[str, Any] = json.loads(platform.python(str(LOOK), first, *feed, seconds=900).splitlines()[-1])
    return found


def parts_of(platform: Platform, s3: S3Server, parts: int) -> bytes:
    """Count all flights in so many parts by the profiling DAG; what it stored, which is taken away again."""
    before = len(platform.pods_of("profile"))
    run = platform.api.wait(platform.api.trigger("flights_profiling", parts=parts), 900)
    assert run.state == "success", platform.api.tasks(run)
    assert len(platform.pods_of("profile")) == before + parts + 2, "not every part had a pod of its own"
    merged = platform.api.result(run, "merge") or {}
    assert merged["rows"] > 20_000
    place: dict[str, str] = {"Bucket": BUCKET, "Key": f"{platform.namespace}/{merged['profile']}"}
    client: Any = s3.client()
    content: bytes = client.get_object(**place)["Body"].read()
    client.delete_object(**place)
    return content


@pytest.fixture(scope="module")
def celsius(platform: Platform, first_release: dict[str, Any]) -> dict[str, Any]:
    """What monitoring said of a window whose temperatures came in another unit."""
    assert first_release["outcome"] == "done"
    return look_at(platform, CELSIUS, "celsius")


@pytest.fixture(scope="module")
def judged(platform: Platform, celsius: dict[str, Any]) -> Run:
    """The run that asked a person about the unit, who said that it was real."""

    def answered() -> Run | None:
        for run in platform.api.runs(f"{MODEL}_incidents"):
            if run.state in ENDED:
                if (platform.api.result(run, "record_verdict") or {}).get("id") in celsius["incidents"]:
                    return run
            elif platform.api.tasks(run).get("ask_verdict") in ("deferred", "awaiting_input"):
                try:
                    platform.api.answer(run, "ask_verdict", "Real")
                except (KeyError, FileExistsError):  # it does not ask yet, or was answered a moment ago
                    continue
        return None

    return platform.api.until(answered, f"the verdicts on {celsius['incidents']}", 600)


def test_a_table_counted_in_pods_is_the_same_in_one_two_and_four_parts(platform: Platform, first_version: Run, s3: S3Server) -> None:
    """DM-14, DE-22: Each part is counted by a pod of its own, and what their sum stores does not depend on how many there were, to the
    byte."""
    assert first_version.state == "success"
    one = parts_of(platform, s3, 1)
    assert parts_of(platform, s3, 2) == one
    assert parts_of(platform, s3, 4) == one


@served
def test_a_feed_in_another_unit_is_named(platform: Platform, celsius: dict[str, Any]) -> None:
    """DM-11: The look is a pod; it reads what the served versions logged, names the unit, opens an incident and asks for no training on
    such data."""
    assert platform.pods_of("monitor")
    assert celsius["incidents"]
    assert not celsius["retraining"]
    assert "°C" in platform.perennial("incidents", "--model", MODEL)


@served
def test_a_person_s_verdict_is_recorded_in_a_pod(platform: Platform, judged: Run) -> None:
    """MN-11: Airflow asks what the incident was; the answer is kept with it."""
    assert judged.state == "success", platform.api.tasks(judged)
    assert platform.pods_of("incident")
    assert "real" in platform.perennial("incidents", "--model", MODEL)


@served
def test_the_mended_feed_ends_it_and_its_labels_recalibrate(platform: Platform, judged: Run) -> None:
    """MN-09, MN-10: Windows without the fault end the incident; then the newest labelled days are fitted to, and judged, in a pod."""
    assert judged.state == "success"
    looks = [look_at(platform, first) for first in MENDED]
    assert looks[-1]["outcome"] == "done"
    assert "over" in platform.perennial("incidents", "--model", MODEL)
    run = platform.api.wait(platform.api.trigger(f"{MODEL}_recalibration"), 600)
    result = platform.api.result(run, "recalibrate") or {}
    assert run.state == "success", platform.api.log(run, "recalibrate")[-20:]
    assert platform.pods_of("recalibrate")
    assert result["evidence"]["fitted_rows"] > 1000, result["sentence"]
