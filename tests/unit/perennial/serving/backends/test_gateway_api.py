"""Routes as HTTPRoutes: pure rendering, the schema of the Gateway API, and one whole route to look at."""

import copy

import pytest

from perennial.errors import SettingMissing
from perennial.serving.backends import gateway_api, written_route
from perennial.serving.route import WHOLE, Route
from perennial.settings import Settings
from perennial.testing import small_model

from ..crd_schemas import folder, problems
from .test_seldon_v1 import DIGESTS, ROUTES, routes

SETTINGS = Settings(serving="kserve", ingress="gateway-api", gateway="infra/public", serving_namespace="models")


def service(version):
    """Name of a version's Service."""
    return f"small-delays-v{version}-predictor"


def rendered(route, shared=None, settings=SETTINGS, **serving):
    """What is applied for a route whose versions are all ready, or share the requests as is said."""
    shared = gateway_api.shares(route, set(route.versions), {}) if shared is None else shared
    return gateway_api.render(small_model(**serving), route, settings, shared, service, 80)


def test_a_whole_route():
    """SE-08, SY-13: Exact weights, a version by its header, a copy of each request for the shadow, the paths of every backend."""
    route = Route({1: 9_925, 2: 75, 3: 0}, 4, DIGESTS, 1)
    bare = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}}
    path = {"type": "PathPrefix", "value": "/seldon/models/small-delays"}
    assert rendered(route, timeout_seconds=2.5) == {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {
            "name": "small-delays",
            "namespace": "models",
            "labels": {"app.kubernetes.io/part-of": "perennial", "perennial/model": "small_delays"},
            "annotations": {"perennial/route": written_route.route_text(route)},
        },
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "infra", "name": "public"}],
            "rules": [
                *(
                    {
                        "name": f"v{version}",
                        "matches": [{"path": path, "headers": [{"type": "Exact", "name": "x-predictor", "value": str(version)}]}],
                        "filters": [bare],
                        "backendRefs": [{"name": service(version), "port": 80}],
                        "timeouts": {"request": "2500ms"},
                    }
                    for version in (1, 2, 3, 4)
                ),
                {
                    "name": "all",
                    "matches": [{"path": path}],
                    "filters": [bare, {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": service(4), "port": 80}}}],
                    "backendRefs": [
                        {"name": service(1), "port": 80, "weight": 9_925},
                        {"name": service(2), "port": 80, "weight": 75},
                    ],
                    "timeouts": {"request": "2500ms"},
                },
            ],
        },
    }


@routes
def test_every_field_is_one_that_the_schema_knows(route):
    """SE-08, DE-06: Nothing that is rendered would be refused or silently dropped by the API server."""
    assert problems(rendered(route), folder("the Gateway API")) == []


@routes
def test_the_object_says_the_route(route):
    """SE-08: The exact route is read back, and versions without a weight are out of reach but by their header."""
    document = rendered(route)
    assert gateway_api.PLURAL == "httproutes"
    assert written_route.read_route(document) == Route(route.weights, route.shadow, {v: DIGESTS[v] for v in route.versions}, route.champion)
    assert gateway_api.shares_of(document, route.versions, service) == {v: weight for v, weight in route.weights.items() if weight}


@pytest.mark.parametrize(
    ("ready", "now", "shared"),
    [
        ({1, 2}, {}, {1: 6000, 2: 4000}),
        ({1}, {}, {1: 6000}),
        ({2, 3}, {1: WHOLE}, {2: 4000}),
        ({3}, {9: WHOLE}, {9: WHOLE}),
        (set(), {}, {1: 6000, 2: 4000}),
    ],
    ids=["all", "one of two", "an idle one too", "none: as it was", "none at first"],
)
def test_requests_go_to_versions_that_are_ready(ready, now, shared):
    """SE-06, SE-08: A gateway answers 500 for a version that is not ready, so it gets no share; where none is, all stays as it was."""
    assert gateway_api.shares(Route({1: 6000, 2: 4000, 3: 0}, None, DIGESTS, 1), ready, now) == shared


def test_versions_that_still_share_can_be_addressed():
    """SE-08: While none of a new route's versions is ready those before go on, and a shadow among them gets no copies."""
    document = rendered(Route({2: WHOLE}, 1, DIGESTS, 2), {1: WHOLE})
    assert [rule["name"] for rule in document["spec"]["rules"]] == ["v1", "v2", "all"]
    assert len(document["spec"]["rules"][-1]["filters"]) == 1
    assert gateway_api.shares_of(document, (1, 2), service) == {1: WHOLE}
    assert gateway_api.shares_of(None, (1, 2), service) == {}
    del document["spec"]["rules"][-1]["backendRefs"][0]["weight"]  # as a person may write it: it means 1
    assert gateway_api.shares_of(document, (1, 2), service) == {1: 1}
    without_rules = {"metadata": {}, "spec": {}}
    assert gateway_api.shares_of(without_rules, (1, 2), service) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rules: rules[-1]["backendRefs"][0].update(weight=0), "has no weight, or none shares it"),
        (lambda rules: rules[-1]["backendRefs"].clear(), "has no weight, or none shares it"),
        (lambda rules: rules[-1]["backendRefs"].append(rules[-1]["backendRefs"][0]), "small-delays-v1-predictor shares the traffic twice"),
        (lambda rules: rules[-1]["backendRefs"][0].update(name="else"), "else is named and cannot be addressed"),
        (
            lambda rules: rules[-1]["filters"][1]["requestMirror"]["backendRef"].update(name=service(1)),
            "small-delays-v1-predictor both shares the traffic and gets a copy of it",
        ),
        (lambda rules: rules.__setitem__(slice(0, 0), rules[:1] * 12), "it has 16 versions and may have 15: let older ones go"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_here(change, words):
    """SE-08, DE-06: Mistakes that a gateway takes without a word are named before anything is applied."""
    document = copy.deepcopy(rendered(ROUTES["canary, shadow and idle"]))
    document["spec"]["rules"][-1]["backendRefs"][0]["weight"] = 1
    assert gateway_api.faults(document) == []
    change(document["spec"]["rules"])
    assert words in "; ".join(gateway_api.faults(document))


def test_no_more_versions_than_rules():
    """SE-08: Fifteen versions fit an HTTPRoute, the sixteenth is refused with a sentence."""
    rendered(Route({1: WHOLE, **dict.fromkeys(range(2, 16), 0)}, None, DIGESTS, 1))
    with pytest.raises(ValueError, match=r"The HTTPRoute of small_delays would be wrong: it has 16 versions and may have 15"):
        rendered(Route({1: WHOLE, **dict.fromkeys(range(2, 17), 0)}, None, DIGESTS, 1))


@pytest.mark.parametrize(("seconds", "said"), [(0.0005, "1ms"), (99.999, "99999ms"), (100.0, "100s"), (100.5, "101s")])
def test_a_timeout_has_at_most_five_digits(seconds, said):
    """SE-08: The specification's form of durations."""
    assert rendered(ROUTES["first"], timeout_seconds=seconds)["spec"]["rules"][0]["timeouts"] == {"request": said}


@pytest.mark.parametrize("gateway", ["", "public", "infra/", "Infra/public", "infra/public/more", "infra/pu_blic"])
def test_a_gateway_is_named(gateway):
    """DE-09: The sentence says the setting and its form."""
    with pytest.raises(SettingMissing, match=r"PERENNIAL_GATEWAY is .* as namespace/name"):
        rendered(ROUTES["first"], settings=SETTINGS.model_copy(update={"gateway": gateway}))


def test_what_the_api_server_fills_in_is_no_change():
    """SE-08: Defaults and a status are no other writer; weights, copies, timeouts, paths and the Gateway are."""
    wanted = rendered(ROUTES["canary, shadow and idle"])
    live = copy.deepcopy(wanted)
    live["status"] = {"parents": []}
    live["metadata"]["uid"] = "u"
    for rule in live["spec"]["rules"]:
        for backend in rule["backendRefs"]:
            backend.update(group="", kind="Service", weight=backend.get("weight", 1))
    assert gateway_api.same(live, wanted)
    for change in (
        lambda spec: spec["rules"][-1]["backendRefs"][0].update(weight=1),
        lambda spec: spec["rules"][-1]["backendRefs"][0].update(port=81),
        lambda spec: spec["rules"][-1]["backendRefs"][0].update(name="else"),
        lambda spec: spec["rules"][-1]["filters"].pop(),
        lambda spec: spec["rules"][0].update(name="else"),
        lambda spec: spec["rules"][0].update(timeouts={"request": "1s"}),
        lambda spec: spec["rules"][0].pop("timeouts"),
        lambda spec: spec["rules"][0]["matches"][0]["path"].update(value="/"),
        lambda spec: spec["parentRefs"][0].update(name="else"),
        lambda spec: spec["parentRefs"][0].update(namespace="else"),
        lambda spec: spec.update(rules=[]),
        lambda spec: spec.update(parentRefs=None),
    ):
        other = copy.deepcopy(live)
        change(other["spec"])
        assert not gateway_api.same(other, wanted)
    other = copy.deepcopy(live)
    other["metadata"]["annotations"] = {}
    assert not gateway_api.same(other, wanted)


def status(*conditions, generation=3):
    """A live HTTPRoute with what a gateway said of it."""
    return {"metadata": {"generation": generation}, "status": {"parents": [{"conditions": [*conditions]}]}}


def said(kind, well="False", seen=3):
    """One condition."""
    return {"type": kind, "status": well, "observedGeneration": seen, "reason": "NoMatch", "message": "no listener"}


def test_what_a_gateway_says_of_a_route_is_told():
    """MN-18: Its own words, where it has looked at the newest description and refuses it."""
    assert gateway_api.refused_by(status(said("Accepted", "True"), said("ResolvedRefs"))) == "the gateway says NoMatch: no listener"
    assert gateway_api.refused_by(status(said("Accepted"))) == "the gateway says NoMatch: no listener"
    assert gateway_api.refused_by(status(said("Accepted", seen=2))) == ""
    assert gateway_api.refused_by(status(said("Programmed"))) == ""
    assert gateway_api.refused_by(status({"type": "Accepted", "status": "False", "observedGeneration": 3})) == "the gateway says"
    unseen = {"type": "Accepted", "status": "False"}
    assert gateway_api.refused_by(status(unseen, generation=1)) == ""
    assert gateway_api.refused_by({"metadata": {}, "status": {"parents": [{"conditions": [unseen]}]}}) == "the gateway says"
    assert gateway_api.refused_by({"metadata": {}}) == ""
    assert gateway_api.refused_by({"metadata": {}, "status": {"parents": [{}]}}) == ""
