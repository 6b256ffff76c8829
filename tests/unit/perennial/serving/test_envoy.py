"""The gateway's files."""

import json
from pathlib import Path

import pytest

from perennial.serving import envoy
from perennial.serving import envoy_open_inference as open_inference
from perennial.serving.route import FRESH, Route
from perennial.settings import Settings

DIGESTS = {1: "a", 2: "b", 3: "c"}
HOSTS = Settings().host_names()


@pytest.fixture
def settings(tmp_path):
    """Settings with a home of their own."""
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})


def served(route, sockets=None, model="flight_delays", **more):
    """One model as the gateway sees it."""
    return envoy.Served(
        model,
        f"/seldon/perennial/{model.replace('_', '-')}/",
        10,
        sockets or {version: Path(f"/run/{version}.sock") for version in DIGESTS},
        route,
        **more,
    )


def table(route, **more):
    """The routes that reach servers."""
    return [entry for entry in envoy.routes([served(route, **more)], HOSTS)["virtual_hosts"][0]["routes"] if "route" in entry]


def shares(route):
    """Weights of the prediction path by cluster, and the clusters that are asked again elsewhere after a 5xx."""
    found = next(entry["route"] for entry in table(route) if "weighted_clusters" in entry["route"])["weighted_clusters"]["clusters"]
    return {c["name"]: c["weight"] for c in found}, [c["name"] for c in found if c.get("request_headers_to_add")]


def test_a_candidate_has_the_champion_behind_it_at_every_weight():
    """SC-07, SE-08: Whatever its share, up to all of it, a candidate's failures are asked again of the champion, never the other way
    round."""
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


def test_who_stands_in_is_asked_aside_of_the_evidence():
    """SE-06, SE-09: What the other version was given first is no evidence of this one: each request counts once, for the version that the
    weights gave it to; with two versions it is tried on either once, alone it is not tried again for what it holds."""
    both = Route({1: 5000, 2: 5000}, None, DIGESTS, champion=1)
    members = {c["name"]: c["cluster_type"]["typed_config"]["clusters"] for c in envoy.clusters([served(both)]) if "cluster_type" in c}
    assert members["flight_delays-v1-then-v2"] == ["flight_delays-v1", "flight_delays-v2-aside"]
    assert members["flight_delays-v2-then-v1"] == ["flight_delays-v2", "flight_delays-v1-aside"]

    def policy(route):
        return next(entry["route"]["retry_policy"] for entry in table(route) if "weighted_clusters" in entry["route"])

    assert policy(both)["retry_on"].split(",")[-1] == "retriable-status-codes"
    assert (policy(both)["retriable_status_codes"], policy(both)["num_retries"]) == ([400], 1)
    assert "retriable" not in json.dumps(policy(Route({1: 10_000}, None, DIGESTS)))


def test_the_champion_s_new_process_is_no_other_version():
    """SE-06, SE-09: It fails as the champion does, without a retry on a 5xx; what it cannot read the candidate is asked; and the
    candidate stands in for the champion, whatever shares they have."""
    digests = {**DIGESTS, FRESH: DIGESTS[1]}
    names, again = shares(Route({1: 5000, FRESH: 2500, 2: 2500}, None, digests, champion=1))
    assert names == {"flight_delays-v1-then-v2": 5000, "flight_delays-v0-then-v2": 2500, "flight_delays-v2-then-v1": 2500}
    assert again == ["flight_delays-v2-then-v1"]
    names, _ = shares(Route({1: 0, FRESH: 5000, 2: 5000}, None, digests, champion=1))
    assert names == {"flight_delays-v0-then-v2": 5000, "flight_delays-v2-then-v1": 5000}


def test_every_cluster_that_a_route_names_exists():
    """SE-08: Routes, mirrors and aggregates name only clusters that are there, for every kind of route."""
    for route in (
        Route({1: 10_000}, None, DIGESTS),
        Route({1: 9000, 2: 1000}, None, DIGESTS),
        Route({1: 10_000, 2: 0}, 3, DIGESTS),
        Route({1: 0, 2: 10_000}, None, DIGESTS, champion=1),
    ):
        models = [served(route), served(route, model="digits")]
        names = {cluster["name"] for cluster in envoy.clusters(models)}
        text = json.dumps(envoy.routes(models, HOSTS)) + json.dumps(envoy.clusters(models))
        used = {word for word in text.split('"') if "-v" in word and word.split("-v")[0] in ("flight_delays", "digits")}
        assert used <= names


def test_a_versions_cluster_does_not_change_with_the_weights():
    """SE-12: The cluster of a version is the same in every route, so that its counters and connections go on."""
    first = {c["name"]: c for c in envoy.clusters([served(Route({1: 9000, 2: 1000}, None, DIGESTS))])}
    second = {c["name"]: c for c in envoy.clusters([served(Route({1: 0, 2: 10_000}, None, DIGESTS, champion=2))])}
    assert first["flight_delays-v2"] == second["flight_delays-v2"]


def test_clusters_of_the_route_before_stay_until_traffic_has_moved():
    """SE-12: While traffic moves, the aggregates of the old route are there beside those of the new one."""
    before = Route({1: 9000, 2: 1000}, None, DIGESTS)
    found = {c["name"] for c in envoy.clusters([served(Route({1: 10_000}, None, DIGESTS))], {"flight_delays": served(before)})}
    assert {"flight_delays-v2-then-v1", "flight_delays-v1-then-v2"} <= found


def test_no_callers_host_reaches_a_server():
    """SE-14: Every route sets the host: Envoy marks mirrored requests by what it ends in."""
    for route in (Route({1: 10_000, 2: 0}, 3, DIGESTS), Route({1: 9000, 2: 1000}, None, DIGESTS)):
        assert {entry["route"]["host_rewrite_literal"] for entry in table(route)} == {"perennial"}


@pytest.mark.parametrize(
    ("route", "cluster"),
    [
        (Route({1: 5000, 2: 5000}, None, DIGESTS, champion=2), "flight_delays-v2-aside-then-v1"),
        (Route({1: 0, 2: 10_000}, None, DIGESTS), "flight_delays-v2-aside-then-v1"),
        (Route({1: 10_000}, 3, DIGESTS), "flight_delays-v1-aside-then-v3"),
        (Route({1: 10_000}, None, DIGESTS), "flight_delays-v1-aside"),
    ],
)
def test_outcomes_go_to_the_stable_version_and_have_a_stand_in(route, cluster):
    """MN-03, OP-08: Feedback is not shared out: it goes to the champion, and to any other version, idle or shadow, when the champion does
    not answer."""
    found = next(entry for entry in table(route) if entry["match"]["path"].endswith("feedback"))
    assert found["route"]["cluster"] == cluster
    assert cluster in {c["name"] for c in envoy.clusters([served(route)])}


VERSIONS = ("", "/versions/1", "/versions/3")


def test_only_documented_paths_reach_a_server():
    """SC-01: A server has more doors than callers need: predictions and outcomes are posted, readiness is got, nothing else is passed
    on."""
    found = {
        (entry["match"]["headers"][0]["string_match"]["exact"], entry["match"]["path"]) for entry in table(Route({1: 10_000}, 3, DIGESTS))
    }
    at = "/seldon/perennial/flight-delays"
    service = "/inference.GRPCInferenceService/"
    by_protocol = {
        *(("POST", f"{base}/v2/models/flight_delays{version}/infer") for base in ("", at) for version in VERSIONS),
        *(("GET", f"{base}/v2/models/flight_delays{of}{what}") for base in ("", at) for of in VERSIONS for what in ("", "/ready")),
        *(("GET", f"{at}/v2{what}") for what in ("", "/health/live", "/health/ready")),
        *(("POST", f"{service}{of}{what}") for of, what in (("Server", "Live"), ("Server", "Ready"), ("Server", "Metadata"))),
        *(("POST", f"{service}Model{what}") for what in ("Ready", "Metadata", "Infer")),
    }
    assert found == by_protocol | {
        ("POST", at),
        ("POST", f"{at}/"),
        ("POST", f"{at}/api/v1.0/predictions"),
        ("POST", f"{at}/api/v1.0/feedback"),
        ("GET", f"{at}/ready"),
    }


@pytest.mark.parametrize(("model", "refused"), [("ticket_queue", "/seldon/perennial/ticket_queue"), ("tickets", None)])
def test_a_name_with_underscores_is_told_its_path(model, refused):
    """SE-01: The path of a model has dashes in every backend; who asks by the name that the spec has gets the path, and no server the
    request."""
    found = envoy.routes([served(Route({1: 10_000}, None, DIGESTS), model=model)], HOSTS)["virtual_hosts"][0]["routes"]
    told = {
        entry["match"]["path_separated_prefix"]: entry["direct_response"] for entry in found if "path_separated_prefix" in entry["match"]
    }
    others = set(told) - {f"/seldon/perennial/{model.replace('_', '-')}"}
    assert others == ({refused} if refused else set())
    for path in others:
        assert told[path]["status"] == 404
        assert "ask for /seldon/perennial/ticket-queue/api/v1.0/predictions " in told[path]["body"]["inline_string"]


def test_evidence_holds_predictions_only():
    """SE-06: What goes to the clusters whose counters are evidence is predictions that the weights shared out.

    A person who watches a release must not make it look good, and a caller who names a version must not have it rolled back.
    """
    asked = {"predictions": set(), "else": set()}
    for entry in table(Route({1: 5000, 2: 5000}, 3, DIGESTS)):
        wanted = [header for header in entry["match"]["headers"] if header["name"] == envoy.VERSION_WANTED and "string_match" in header]
        names_a_version = wanted or "/versions/" in entry["match"]["path"]
        is_evidence = entry["route"]["prefix_rewrite"].endswith(("/predictions", "/infer", "/ModelInfer")) and not names_a_version
        kind = "predictions" if is_evidence else "else"
        asked[kind] |= {word for word in json.dumps(entry["route"]).split('"') if word.startswith("flight_delays-v")}
    assert not [name for name in asked["predictions"] if "-aside" in name]
    assert not [name for name in asked["else"] if "-aside" not in name]


@pytest.mark.parametrize("salt", [None, "s"])
def test_who_names_a_version_gets_no_other(salt):
    """SE-08: A prediction that another version may answer is only one that names none, in an experiment too."""
    unnamed = {"name": envoy.VERSION_WANTED, "present_match": True, "invert_match": True}
    shared = 0
    for entry in table(Route({1: 5000, 2: 5000}, None, DIGESTS, champion=1, salt=salt)):
        is_prediction = entry["route"]["prefix_rewrite"].endswith(("/predictions", "/infer", "/ModelInfer"))
        if is_prediction and not entry["route"].get("cluster", "").endswith("-aside"):
            shared += 1
            assert unnamed in entry["match"]["headers"]
    assert shared >= 6


def test_no_server_is_taken_away_for_what_it_answers():
    """SE-12: No cluster ejects its server: health checks alone say whether it is there."""
    for cluster in envoy.clusters([served(Route({1: 5000, 2: 5000}, None, DIGESTS))]):
        assert "outlier_detection" not in cluster


def test_all_names_may_be_allowed():
    """SC-01: With `*` there is one virtual host for every name, and pages of every site may ask."""
    hosts = Settings(allowed_hosts="*").host_names()
    found = envoy.routes([served(Route({1: 10_000}, None, DIGESTS))], hosts)["virtual_hosts"]
    assert [host["domains"] for host in found] == [["*"]]
    assert "origin" not in json.dumps(found)


def test_a_model_without_a_route_answers_nothing():
    """SE-08: A model that was taken off leaves no route behind."""
    assert [e for e in envoy.routes([served(None)], HOSTS)["virtual_hosts"][0]["routes"] if "route" in e] == []


def test_prepare_keeps_what_is_served(settings):
    """SE-12: Preparing a start again does not empty the clusters and routes that are there."""
    start = envoy.prepare(settings)
    version = envoy.write(settings, "rds", [envoy.routes([served(Route({1: 10_000}, None, DIGESTS))], HOSTS)])
    envoy.prepare(settings)
    assert json.loads((start.parent / "rds.json").read_text())["version_info"] == version


def test_what_could_stop_the_gateway_is_on_a_socket_of_this_user(settings):
    """SC-01: Any web page can post to a port of this machine: the gateway has one, for predictions; its own door and the servers' are
    sockets."""
    changed = settings.model_copy(update={"host": "192.0.2.1"})
    start = json.loads(envoy.prepare(changed).read_text())
    socket = Path(start["admin"]["address"]["pipe"]["path"])
    assert start["admin"]["address"]["pipe"]["mode"] == 0o600
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    assert [listener["address"]["socket_address"]["address"] for listener in start["static_resources"]["listeners"]] == ["192.0.2.1"]
    text = json.dumps(envoy.clusters([served(Route({1: 9000, 2: 1000}, 3, DIGESTS))]))
    assert "socket_address" not in text
    assert '"pipe": {"path": "/run/3.sock"}' in text


def test_a_changed_start_up_file_is_a_changed_command(settings):
    """SE-08: The supervisor keeps a program whose command is the same: a gateway of other settings has another."""
    assert envoy.command(settings) == envoy.command(settings)
    assert envoy.command(settings) != envoy.command(settings.model_copy(update={"gateway_port": 8004}))


def test_the_same_content_is_not_written_again(settings):
    """SE-08: A file that is as wanted stays untouched, so the gateway has nothing to take up."""
    envoy.prepare(settings)
    path = envoy.folder(settings) / "cds.json"
    before = path.stat().st_mtime_ns
    first = envoy.write(settings, "cds", [])
    assert path.stat().st_mtime_ns == before
    assert envoy.write(settings, "cds", [{"name": "x"}]) != first


def test_a_server_without_the_protocol_has_none_of_its_paths():
    """SE-02, SE-06: Seldon's wrapper knows no V2: what it would refuse must not look like what the version cannot read."""
    plain = [entry["match"]["path"] for entry in table(Route({1: 10_000}, None, DIGESTS), open_inference=False)]
    assert not [path for path in plain if "v2" in path or "GRPC" in path]
    assert len(plain) < len(table(Route({1: 10_000}, None, DIGESTS)))


def test_calls_and_requests_of_rest_share_one_way():
    """SE-06, SE-02: What shares traffic out, mirrors, retries and bounds time is the same for Seldon's form, REST and gRPC."""
    for route in (Route({1: 5000, 2: 5000}, 3, DIGESTS), Route({1: 10_000}, None, DIGESTS)):
        ways = [
            {key: value for key, value in entry["route"].items() if key != "prefix_rewrite"}
            for entry in table(route)
            if "weighted_clusters" in entry["route"]
        ]
        assert len(ways) == 6, ways
        assert all(way == ways[0] for way in ways)


def test_the_gateway_is_ready_once_it_serves_a_model():
    """SE-02: Without a route there is nothing to ask, and the gateway says so."""
    for one, status in ((served(None), 503), (served(Route({1: 10_000}, None, DIGESTS)), 200)):
        found = envoy.routes([one], HOSTS)["virtual_hosts"][0]["routes"]
        answer = next(entry["direct_response"] for entry in found if entry["match"].get("path") == "/v2/health/ready")
        assert (answer["status"], json.loads(answer["body"]["inline_string"])) == (status, {"ready": status == 200})


def test_the_gateway_has_words_of_grpc_for_its_own_refusals():
    """SC-07, SE-02: Its refusals of calls keep their sentences, and are told by gRPC's own codes."""
    assert open_inference._CODES[413] == 8
    script = open_inference.filters({})[-1]["typed_config"]["default_source_code"]["inline_string"]
    assert '["404"] = "5"' in script
    forms = open_inference.refusal_forms("Too large.")
    assert [form.get("body") for form in forms] == [{"inline_string": "Too large."}, None, {"inline_string": "Too large."}, None]


def test_units_of_an_experiment_go_one_way_by_every_protocol():
    """SE-09, SE-02: In an experiment requests of REST and calls of gRPC are parted by their unit too, and those without one go to the
    champion."""
    found = table(Route({1: 5000, 2: 5000}, None, DIGESTS, champion=1, salt="s"))
    by_unit = [entry["match"]["path"] for entry in found if "hash_policy" in entry["route"]]
    assert len(by_unit) == 6
    for path in by_unit:
        last = [entry["route"] for entry in found if entry["match"]["path"] == path][-1]
        assert last["cluster"] == "flight_delays-v1-without-unit-then-v2"
