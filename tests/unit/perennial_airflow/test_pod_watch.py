"""The watch of a stage's pod, as far as it needs no cluster."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def watch():
    """The module; imported late, as it brings the Kubernetes provider."""
    from perennial_airflow.triggers import pod_watch

    return pod_watch


@pytest.fixture
def of_all():
    """What it shares with the watch of several nodes."""
    from perennial_airflow.triggers import cluster_watch

    return cluster_watch


def test_lines_are_told_once(of_all):
    """MN-18: However often the log is read, also where several lines were written at one moment."""
    tail = of_all.LogTail()
    first = ["2026-01-01T00:00:00.5Z one", "2026-01-01T00:00:00.500000001Z two", ""]
    assert tail.new(first) == ["one", "two"]
    assert tail.new(first) == []
    more = [*first[:2], "2026-01-01T00:00:00.500000001Z three", "2026-01-01T00:00:01Z four"]
    assert tail.new(more) == ["three", "four"]
    assert tail.new(more[1:]) == []


def test_times_of_any_zone_are_one_order(of_all):
    """MN-18: A node writes its own zone."""
    tail = of_all.LogTail()
    assert tail.new(["2026-01-01T02:00:00.000000000+02:00 one"]) == ["one"]
    assert tail.new(["2026-01-01T00:00:00Z one", "2026-01-01T00:00:00.1Z two"]) == ["two"]


def test_a_line_that_goes_on_keeps_its_rest(of_all):
    """MN-18: What has no time of its own belongs to the line before."""
    assert of_all.LogTail().new(["2026-01-01T00:00:00Z one", "rest"]) == ["one\nrest"]


def test_only_the_news_are_asked_for(of_all):
    """MN-18: The whole log at first; later what is new, and what clocks may differ by."""
    tail = of_all.LogTail()
    assert tail.since_seconds(1e9) is None
    tail.new(["2001-09-09T01:46:40Z one"])
    assert tail.since_seconds(1e9 + 5) == 5 + of_all.SKEW_SECONDS


def test_the_triggerer_can_make_it_again(watch):
    """OP-10, SC-04: Class path and arguments give the same trigger, and hold no credentials."""
    made = watch.PodWatch("p", "n", "u", "train", 3600, 1800)
    path, arguments = made.serialize()
    assert path == "perennial_airflow.triggers.pod_watch.PodWatch"
    assert arguments == {"name": "p", "namespace": "n", "uid": "u", "stage": "train", "schedule_seconds": 3600, "start_seconds": 1800}
    assert watch.PodWatch(**arguments).serialize() == made.serialize()


def test_a_node_that_does_not_end_a_pod_is_away(watch):
    """DE-22: Some time after the pod should have ended."""
    pod = {"metadata": {"deletionTimestamp": "2001-09-09T01:46:40Z"}}
    assert not watch.is_away(pod, 1e9 + 5)
    assert watch.is_away(pod, 1e9 + watch.AWAY_SECONDS + 1)
    assert not watch.is_away({"metadata": {}}, 1e9)
