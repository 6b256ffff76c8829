"""Envoy's counters as arms."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.serving.backends.observation import KeptInFile, KeptInStore, KeptMeanwhile, Observations, read_arms
from perennial.serving.route import WITHOUT_UNIT, Arm
from perennial.store import open_store


def host(total, error, health=None):
    """One endpoint as Envoy shows it."""
    stats = [
        {"name": name, "value": str(value)} if value else {"name": name}
        for name, value in (("rq_total", total), ("rq_error", error), ("rq_success", total - error), ("rq_active", 0))
    ]
    return {"stats": stats, "health_status": {"eds_health_status": "HEALTHY", **(health or {})}}


def histogram(cluster, *counts):
    """A latency histogram as Envoy shows it."""
    bounds = (0.5, 1.5, 3_600_000.5)
    return {
        "name": f"cluster.{cluster}.upstream_rq_time",
        "buckets": [{"upper_bound": b, "cumulative": c, "interval": 0} for b, c in zip(bounds, counts, strict=True)],
    }


def test_requests_are_the_endpoints_own_and_latency_is_the_callers():
    """MN-04: Counts come from the version's endpoint; latency is summed over its own cluster and those that begin with it, and no other."""
    clusters = {
        "cluster_statuses": [
            {"name": "m-v1", "host_statuses": [host(100, 0)]},
            {"name": "m-v12", "host_statuses": [host(40, 7, {"failed_active_health_check": True})]},
            {"name": "m-v12-then-v1", "host_statuses": [host(1, 1)]},
            {"name": "empty"},
        ]
    }
    found = [
        histogram("m-v1", 50, 60, 61),
        histogram("m-v12-then-v1", 1, 2, 3),
        histogram("m-v12", 10, 20, 30),
        histogram("m-v1.external", 9, 9, 9),
    ]
    counted = {
        "m-v1.upstream_rq_timeout": 3,
        "m-v1.upstream_rq_completed": 99,
        "m-v1.upstream_rq_4xx": 2,
        "m-v1.external.upstream_rq_4xx": 2,
        "m-v1-aside.upstream_rq_4xx": 50,
        "m-v12-then-v1.upstream_rq_completed": 30,
        "m-v12-then-v1.upstream_rq_4xx": 11,
        "m-v12-then-v1.retry.upstream_rq_400": 5,
        "m-v12-then-v1.retry.upstream_rq_4xx": 5,
        "m-v12-aside-then-v1.retry.upstream_rq_400": 8,
        "m-v12.upstream_rq_completed": 10,
        "m-v12.upstream_rq_4xx": 1,
    }
    counters = [{"name": f"cluster.{name}", "value": value} for name, value in counted.items()]
    arms = read_arms(json.dumps(clusters), json.dumps({"stats": [*counters, {"histograms": found}]}))
    assert arms == {
        "m-v1": Arm(100, 0, ((0.5, 50), (1.5, 60), (math.inf, 61)), 99, 2, True),
        "m-v12": Arm(40, 7, ((0.5, 11), (1.5, 22), (math.inf, 33)), 40, 6, False, asked_again=5),
    }


def test_a_fallback_hides_no_latency_and_no_kind_of_answer():
    """SC-07, MN-04: What callers got over a cluster that ends at a fallback counts for the version that it begins with. What neither
    version could read was tried twice more, and is one request that was asked again."""
    clusters = {"cluster_statuses": [{"name": "m-v1", "host_statuses": [host(10, 4)]}, {"name": "m-v2", "host_statuses": [host(9, 0)]}]}
    counted = {
        "m-v1-then-v2-or-fallback.upstream_rq_completed": 10,
        "m-v1-then-v2-or-fallback.upstream_rq_4xx": 4,
        "m-v1-then-v2-or-fallback.retry.upstream_rq_400": 8,
        "m-v2-or-fallback.upstream_rq_completed": 9,
        "m-v2-or-fallback.upstream_rq_4xx": 3,
        "m-fallback.upstream_rq_completed": 5,
    }
    found = [histogram("m-v1-then-v2-or-fallback", 1, 2, 10), histogram("m-v2-or-fallback", 4, 5, 9)]
    counters = [{"name": f"cluster.{name}", "value": value} for name, value in counted.items()]
    assert read_arms(json.dumps(clusters), json.dumps({"stats": [*counters, {"histograms": found}]})) == {
        "m-v1": Arm(10, 4, ((0.5, 1), (1.5, 2), (math.inf, 10)), 10, 4, True, asked_again=4),
        "m-v2": Arm(9, 0, ((0.5, 4), (1.5, 5), (math.inf, 9)), 9, 3, True),
    }


def test_requests_in_no_experiment_have_totals_of_their_own(tmp_path):
    """SE-09, MN-04: While an experiment is under way, the champion's requests without a unit are an arm; nothing is left of them after."""
    clusters = {"cluster_statuses": [{"name": name, "host_statuses": [host(5, 1)]} for name in ("m-v1", "m-v1-without-unit")]}
    found = [histogram("m-v1-without-unit-then-v2", 1, 2, 5)]
    raw = read_arms(json.dumps(clusters), json.dumps({"stats": [{"histograms": found}]}))
    path = tmp_path / "observed.json"
    arms = Observations(KeptInFile(path)).add("m", [1, 2], raw, in_experiment=1)
    assert arms[WITHOUT_UNIT] == Arm(5, 1, ((0.5, 1), (1.5, 2), (math.inf, 5)))
    assert arms[1] == Arm(5, 1, ((math.inf, 0),))
    assert WITHOUT_UNIT not in Observations(KeptInFile(path)).add("m", [1, 2], raw)
    assert "without-unit" not in path.read_text()


def test_what_another_version_was_asked_is_no_error(tmp_path):
    """SE-09: A request that a version could not read, and another was asked, is unreadable and no error; of the two counts one is read
    later, and no total falls for that."""
    path = tmp_path / "observed.json"
    seen = []
    for errors, again in ((0, 0), (5, 3), (5, 4), (9, 4)):
        arm = Arm(20 + errors, errors, ((math.inf, 20),), 20, again, asked_again=again)
        seen.append(Observations(KeptInFile(path)).add("m", [1], {"m-v1": arm})[1])
    assert [(arm.errors, arm.unreadable, arm.asked_again) for arm in seen] == [(0, 0, 0), (2, 3, 0), (2, 4, 0), (5, 4, 0)]
    restarted = Observations(KeptInFile(path)).add("m", [1], {"m-v1": Arm(2, 1, ((math.inf, 2),), 2, 1, asked_again=1)})[1]
    assert (restarted.requests, restarted.errors, restarted.unreadable) == (31, 5, 5)


def test_totals_of_before_unreadable_requests_were_counted_go_on(tmp_path):
    """MN-04: What an older release kept opens, and its requests count on."""
    path = tmp_path / "observed.json"
    path.write_text(
        '{"m-v1": {"base": {"requests": 5, "errors": 1, "inf": 5}, "last": {"m-v1": {"requests": 7, "errors": 0, "1.5": 6, "inf": 7}}}}'
    )
    raw = {"m-v1": Arm(9, 0, ((1.5, 8), (math.inf, 9)), 9, 4)}
    assert Observations(KeptInFile(path)).add("m", [1], raw)[1] == Arm(14, 1, ((1.5, 8), (math.inf, 14)), 9, 4)


def test_a_version_that_the_gateway_does_not_know_shows_nothing(tmp_path):
    """MN-04: A version without a cluster has no requests and is not healthy."""
    assert Observations(KeptInFile(tmp_path / "o.json")).add("m", [1], {}) == {1: Arm(0, 0, ((math.inf, 0),), healthy=False)}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), max_size=30))
def test_totals_never_fall_and_count_all_that_was_looked_at(tmp_path_factory, events):
    """MN-04: However often the gateway begins anew between looks, the totals only grow and lose nothing that a look had seen."""
    path = tmp_path_factory.mktemp("o") / "observed.json"
    requests = errors = seen = 0
    for more_errors, more, restart in events:
        if restart:
            requests = errors = 0
        requests, errors = requests + more + more_errors, errors + more_errors
        arm = Observations(KeptInFile(path)).add("m", [1], {"m-v1": Arm(requests, errors, ((math.inf, requests),))})[1]
        assert arm.requests >= max(seen, requests)
        assert arm.errors <= arm.requests
        assert arm.latency_ms[-1][1] == arm.requests
        if not any(again for _, _, again in events):
            assert (arm.requests, arm.errors) == (requests, errors)
        seen = arm.requests


def test_an_aggregate_that_goes_counts_no_request_twice(tmp_path):
    """MN-04: Its latencies leave with it when a release ends; the endpoint's own counts go on."""
    path = tmp_path / "observed.json"
    Observations(KeptInFile(path)).add("m", [1], {"m-v1": Arm(1000, 5, ((1.5, 900), (math.inf, 1000)))})
    arm = Observations(KeptInFile(path)).add("m", [1], {"m-v1": Arm(1010, 6, ((1.5, 90), (math.inf, 100)))})[1]
    assert (arm.requests, arm.errors) == (1010, 6)
    assert arm.latency_ms[-1][1] >= 1000


def test_versions_that_left_are_forgotten_and_others_models_are_not(tmp_path):
    """MN-04: Totals are kept for the versions of the route; another model's are not touched."""
    path = tmp_path / "observed.json"
    Observations(KeptInFile(path)).add("m", [1, 2], {"m-v1": Arm(5), "m-v2": Arm(6)})
    Observations(KeptInFile(path)).add("m_two", [1], {"m_two-v1": Arm(7)})
    Observations(KeptInFile(path)).add("m", [2], {"m-v2": Arm(6)})
    assert set(json.loads(path.read_text())) == {"m-v2", "m_two-v1"}
    assert Observations(KeptInFile(path)).add("m", [1, 2], {"m-v1": Arm(5), "m-v2": Arm(6)})[1].requests == 5


def test_pods_that_come_and_go_are_one_version(tmp_path):
    """MN-04: What a pod had shown stays in the total when it restarts, leaves or returns; only the version's own pods count."""
    store = open_store(str(tmp_path))

    def look(**pods):
        raw = {f"m-v{name}": Arm(requests, 0, ((math.inf, requests),)) for name, requests in pods.items()}
        return Observations(KeptInStore(store, "m")).add("m", [1], {name.replace("_", "/"): arm for name, arm in raw.items()})[1]

    assert look(**{"1_a": 10, "1_b": 5, "12_a": 100}).requests == 15
    assert look(**{"1_a": 12, "1_b": 1}).requests == 18  # b restarted
    assert look(**{"1_b": 4}).requests == 21  # a left
    assert look().requests == 21
    last = look(**{"1_a": 13, "1_c": 2})  # a had only not been seen
    assert (last.requests, last.latency_ms[-1][1]) == (24, 24)


def test_of_two_looks_at_once_one_is_told(tmp_path):
    """DE-22: Whoever keeps totals that rest on old ones is refused, so that no total falls; the store keeps only the newest few."""
    store = open_store(str(tmp_path))
    first, second = (Observations(KeptInStore(store, "m")) for _ in range(2))
    first.add("m", [1], {"m-v1/a": Arm(5)})
    with pytest.raises(KeptMeanwhile):
        second.add("m", [1], {"m-v1/a": Arm(3)})
    for requests in range(5, 20):
        assert Observations(KeptInStore(store, "m")).add("m", [1], {"m-v1/a": Arm(requests)})[1].requests == requests
    assert len(list(store.list("observed/m"))) == 3
    KeptInStore(store, "m").forget()
    assert KeptInStore(store, "m").read() is None
