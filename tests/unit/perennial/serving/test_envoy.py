"""The gateway's files."""

import json

import pytest

from perennial.serving import envoy
from perennial.serving.route import Route
from perennial.settings import Settings

DIGESTS = {1: "a", 2: "b", 3: "c"}


@pytest.fixture
def settings(tmp_path):
    """Settings with a home of their own."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})


def served(route, ports=None, model="flight_delays"):
    """One model as the gateway sees it."""
    return envoy.Served(model, f"/seldon/perennial/{model.replace('_', '-')}/", 10, ports or {1: 9100, 2: 9101, 3: 9102}, route)


def shares(route):
    """Weights of the prediction path by cluster, and the clusters that are asked again elsewhere after a 5xx."""
    table = envoy.routes([served(route)])["virtual_hosts"][0]["routes"]
    found = next(r["route"] for r in table if r["match"].get("path", "").endswith("predictions"))["weighted_clusters"]["clusters"]
    return {c["name"]: c["weight"] for c in found}, [c["name"] for c in found if c.get("request_headers_to_add")]


def test_a_candidate_has_the_champion_behind_it_at_every_weight():
    """Whatever its share, up to all of it, a candidate's failures are asked again of the champion, never the other way round."""
    for weight in (500, 5000, 9500):
        assert shares(Route({1: 10_000 - weight, 2: weight}, None, DIGESTS, champion=1)) == (
            {"flight_delays-v1-then-v2": 10_000 - weight, "flight_delays-v2-then-v1": weight},
            ["flight_delays-v2-then-v1"],
        )
    assert shares(Route({1: 0, 2: 10_000}, None, DIGESTS, champion=1)) == (
        {"flight_delays-v2-then-v1": 10_000},
        ["flight_delays-v2-then-v1"],
    )
    assert shares(Route({1: 10_000, 2: 0}, None, DIGESTS, champion=1)) == ({"flight_delays-v1": 10_000}, [])


def test_every_cluster_that_a_route_names_exists():
    """Routes, mirrors and aggregates name only clusters that are there, for every kind of route."""
    for route in (
        Route({1: 10_000}, None, DIGESTS),
        Route({1: 9000, 2: 1000}, None, DIGESTS),
        Route({1: 10_000, 2: 0}, 3, DIGESTS),
        Route({1: 0, 2: 10_000}, None, DIGESTS, champion=1),
    ):
        models = [served(route), served(route, model="digits")]
        names = {cluster["name"] for cluster in envoy.clusters(models, "127.0.0.1")}
        text = json.dumps(envoy.routes(models)) + json.dumps(envoy.clusters(models, "127.0.0.1"))
        used = {word for word in text.split('"') if "-v" in word and word.split("-v")[0] in ("flight_delays", "digits")}
        assert used <= names


def test_a_versions_cluster_does_not_change_with_the_weights():
    """The cluster of a version is the same in every route, so that its counters and connections go on."""
    first = {c["name"]: c for c in envoy.clusters([served(Route({1: 9000, 2: 1000}, None, DIGESTS))], "127.0.0.1")}
    second = {c["name"]: c for c in envoy.clusters([served(Route({1: 0, 2: 10_000}, None, DIGESTS, champion=2))], "127.0.0.1")}
    assert first["flight_delays-v2"] == second["flight_delays-v2"]


def test_clusters_of_the_route_before_stay_until_traffic_has_moved():
    """While traffic moves, the aggregates of the old route are there beside those of the new one."""
    before = Route({1: 9000, 2: 1000}, None, DIGESTS)
    found = {c["name"] for c in envoy.clusters([served(Route({1: 10_000}, None, DIGESTS))], "127.0.0.1", {"flight_delays": before})}
    assert {"flight_delays-v2-then-v1", "flight_delays-v1-then-v2"} <= found


def test_no_callers_host_reaches_a_server():
    """Every route sets the host: Envoy marks mirrored requests by what it ends in."""
    for route in (Route({1: 10_000, 2: 0}, 3, DIGESTS), Route({1: 9000, 2: 1000}, None, DIGESTS)):
        table = envoy.routes([served(route)])["virtual_hosts"][0]["routes"]
        assert {r["route"]["host_rewrite_literal"] for r in table} == {"perennial"}


def test_outcomes_go_to_the_stable_version():
    """Feedback is not shared out: it goes to the champion."""
    table = envoy.routes([served(Route({1: 5000, 2: 5000}, None, DIGESTS, champion=2))])["virtual_hosts"][0]["routes"]
    last = table[-1]
    assert last["match"] == {"prefix": "/seldon/perennial/flight-delays/"}
    assert last["route"]["cluster"] == "flight_delays-v2"


def test_a_model_without_a_route_answers_nothing():
    """A model that was taken off leaves no route behind."""
    assert envoy.routes([served(None)])["virtual_hosts"][0]["routes"] == []


def test_prepare_keeps_what_is_served(settings):
    """Preparing a start again does not empty the clusters and routes that are there."""
    start = envoy.prepare(settings)
    version = envoy.write(settings, "rds", [envoy.routes([served(Route({1: 10_000}, None, DIGESTS))])])
    envoy.prepare(settings)
    assert json.loads((start.parent / "rds.json").read_text())["version_info"] == version
    assert json.loads(start.read_text())["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_the_status_port_is_this_machines_own(settings):
    """Whoever reaches it may stop the gateway: it stays on loopback, wherever predictions are asked for."""
    start = json.loads(envoy.prepare(settings.model_copy(update={"host": "192.0.2.1"})).read_text())
    assert start["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    assert start["static_resources"]["listeners"][0]["address"]["socket_address"]["address"] == "192.0.2.1"


def test_the_same_content_is_not_written_again(settings):
    """A file that is as wanted stays untouched, so the gateway has nothing to take up."""
    envoy.prepare(settings)
    path = envoy.folder(settings) / "cds.json"
    before = path.stat().st_mtime_ns
    first = envoy.write(settings, "cds", [])
    assert path.stat().st_mtime_ns == before
    assert envoy.write(settings, "cds", [{"name": "x"}]) != first
