"""Routes as SeldonDeployments: pure rendering, and the schema of Seldon Core 1.17.1."""

import copy

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from perennial.errors import SettingMissing
from perennial.serving.backends import seldon_v1, server_pod, written_route
from perennial.serving.route import WHOLE, Route
from perennial.settings import Settings
from perennial.testing import small_model

from ..crd_schemas import folder, problems

TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"labels": {"team": "rides"}},
    "spec": {
        "serviceAccountName": "perennial-server",
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"runAsUser": 50000, "runAsNonRoot": True, "fsGroup": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "base",
                "image": "registry.example.com/perennial/serving:1",
                "imagePullPolicy": "Always",
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "secrets"}}],
                "env": [{"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}}}],
                "securityContext": {"readOnlyRootFilesystem": True, "runAsUser": 1234},
                "resources": {"requests": {"cpu": "50m"}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}
DIGESTS = {version: f"{version:064d}" for version in range(1, 200)}
ROUTES = {
    "first": Route({1: WHOLE}, None, DIGESTS),
    "candidate without a share": Route({1: WHOLE, 2: 0}, None, DIGESTS, 1),
    "canary": Route({1: 9500, 2: 500}, None, DIGESTS, 1),
    "shadow": Route({1: WHOLE}, 2, DIGESTS, 1),
    "promoted, last good warm": Route({1: 0, 2: WHOLE}, None, DIGESTS, 2),
    "canary, shadow and idle": Route({1: 6000, 2: 4000, 3: 0}, 4, DIGESTS, 2),
}
routes = pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)


def rendered(route, template=TEMPLATE, **serving):
    """What is applied for a route."""
    return seldon_v1.render(small_model(**serving), route, "models", template)


def container(predictor):
    """The container of a predictor that serves."""
    return next(c for c in predictor["componentSpecs"][0]["spec"]["containers"] if c["name"] == predictor["graph"]["name"])


@routes
@pytest.mark.parametrize(
    "serving", [{}, {"replicas": 2, "max_replicas": 6, "cpus": 0.5, "memory_gb": 0.25, "threads": 7}], ids=["one", "many"]
)
def test_every_field_is_one_that_the_schema_knows(route, serving):
    """DE-06: Nothing that is rendered would be refused or silently dropped by the API server."""
    place = folder()
    assert problems(rendered(route, **serving), place) == []


@routes
def test_the_object_says_the_route(route):
    """SE-08: The exact route is read back, every version has its predictor, and the shares are the route's."""
    document = rendered(route)
    assert written_route.read_route(document) == Route(route.weights, route.shadow, {v: DIGESTS[v] for v in route.versions}, route.champion)
    found = {p["name"]: p for p in document["spec"]["predictors"]}
    assert set(found) == {f"v{version}" for version in route.versions}
    assert {name for name, p in found.items() if p.get("shadow")} == ({f"v{route.shadow}"} if route.shadow else set())
    assert {v: found[f"v{v}"]["traffic"] * 100 for v in route.weights} == route.weights


@routes
def test_idle_versions_come_first(route):
    """SE-08: Ambassador gives what has no weight a part of what is left: of nothing, if the versions with weights follow and add up."""
    taking = [p["traffic"] for p in rendered(route)["spec"]["predictors"] if not p.get("shadow")]
    assert [bool(share) for share in taking] == sorted(bool(share) for share in taking)


def test_the_template_is_the_pod():
    """SE-15, SC-04: Image, secrets by reference, volumes and security come from server.yaml; what a pod that ends has is left out."""
    document = rendered(ROUTES["canary"], threads=3)
    predictor = document["spec"]["predictors"][1]
    spec, server = predictor["componentSpecs"][0]["spec"], container(predictor)
    base = TEMPLATE["spec"]["containers"][0]
    assert {key: server[key] for key in ("image", "imagePullPolicy", "envFrom", "volumeMounts")} == {
        key: base[key] for key in ("image", "imagePullPolicy", "envFrom", "volumeMounts")
    }
    assert server["env"] == [*base["env"], {"name": "PERENNIAL_HOST", "value": "0.0.0.0"}]
    assert server["args"] == [
        "--model", "small_delays", "--version", "2", "--digest", DIGESTS[2], "--port", "9000", "--threads", "3", "--server", "seldon",
    ]  # fmt: skip
    assert server["securityContext"] == {
        "readOnlyRootFilesystem": True, "runAsUser": 1234, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert {spec[key] for key in ("serviceAccountName",)} == {"perennial-server"}
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["volumes"] == TEMPLATE["spec"]["volumes"]
    assert "restartPolicy" not in spec
    assert spec["enableServiceLinks"] is False
    assert server["resources"] == {"requests": {"cpu": "50m", "memory": "1000M"}, "limits": {"cpu": "1000m", "memory": "1000M"}}
    assert predictor["labels"] == {"team": "rides", "perennial/model": "small_delays", "perennial/version": "2", "version": "v2"}
    assert [server[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")] == [
        "/live",
        "/live",
        "/ready",
    ]
    assert "command" not in server


def test_replicas_grow_by_load_and_one_budget_covers_all():
    """SE-05: The autoscaler is there where the spec leaves it room; the disruption budget is the champion's alone."""
    predictors = rendered(ROUTES["canary"], replicas=2, max_replicas=5)["spec"]["predictors"]
    parts = [p["componentSpecs"][0] for p in predictors]
    assert [(part["hpaSpec"]["minReplicas"], part["hpaSpec"]["maxReplicas"]) for part in parts] == [(2, 5)] * 2
    assert [part.get("pdbSpec") for part in parts] == [{"maxUnavailable": 1}, None]
    assert all("hpaSpec" not in p["componentSpecs"][0] for p in rendered(ROUTES["canary"])["spec"]["predictors"])


@given(st.dictionaries(st.integers(1, 120), st.integers(0, WHOLE), min_size=1, max_size=120).filter(lambda w: sum(w.values())))
def test_percents_add_up_and_lose_nobody(parts):
    """SE-06, SE-08: Whatever the weights: 100 in all, nothing for those without a weight, something for those with one, and less than one
    off where possible."""
    total = sum(parts.values())
    weights = {version: part * WHOLE // total for version, part in parts.items()}
    weights[max(weights, key=weights.get)] += WHOLE - sum(weights.values())
    found = seldon_v1.percents(weights)
    assert sum(found.values()) == 100
    assert all(share >= 0 for share in found.values())
    assert all(not found[version] for version, weight in weights.items() if not weight)
    if sum(map(bool, weights.values())) <= 100:
        assert all(found[version] for version, weight in weights.items() if weight)
    if all(not 0 < weight < 100 for weight in weights.values()):
        assert all(abs(found[version] - weight / 100) < 1 for version, weight in weights.items())


def test_the_same_route_is_the_same_object():
    """SE-08, DE-18: The operator's defaults make no difference; a share changed by hand does, and so does another template."""
    wanted = rendered(ROUTES["canary"])
    live = copy.deepcopy(wanted)
    live["spec"]["predictors"][0]["graph"] |= {"implementation": "UNKNOWN_IMPLEMENTATION", "endpoint": {"httpPort": 9000}}
    live["spec"]["predictors"][0]["labels"]["more"] = "x"
    assert seldon_v1.same(live, wanted)
    live["spec"]["predictors"][0]["traffic"] = 50
    assert not seldon_v1.same(live, wanted)
    other = copy.deepcopy(TEMPLATE)
    other["spec"]["containers"][0]["image"] = "other:2"
    assert not seldon_v1.same(wanted, rendered(ROUTES["canary"], other))


def broken(change):
    """What our own checks say of an object that was changed."""
    document = rendered(ROUTES["canary, shadow and idle"])
    change(document["spec"]["predictors"])
    return "; ".join(seldon_v1.faults(document))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[1].update(traffic=50), "must add up to 100"),
        (lambda p: p.reverse(), "an idle predictor comes after one with traffic"),
        (lambda p: p[0].update(shadow=True), "v3 and v4 are shadows"),
        (lambda p: p[1].update(name="v3"), "there are two predictors v3"),
        (lambda p: p[1].update(name="V_1"), "'V_1' is no DNS label"),
        (lambda p: p[0]["graph"].update(implementation="SKLERN_SERVER"), "unknown implementation SKLERN_SERVER"),
        (lambda p: p[0]["graph"].update(implementation="SKLEARN_SERVER"), "without a modelUri"),
        (lambda p: p[0]["graph"].update(name="other"), "no container named other"),
        (lambda p: p[0]["graph"].update(children=[{"name": "x"}]), "several parts and no orchestrator"),
        (lambda p: p[0]["graph"].update(logger={"mode": "all"}), "logs requests"),
        (lambda p: p[0]["componentSpecs"][0].update(pdbSpec={"maxUnavailable": 1}), "two predictors have a disruption budget"),
        (lambda p: p.__setitem__(slice(None), p[-1:]), "the shadow v4 is alone"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_here(change, words):
    """DE-06: Mistakes that Seldon Core takes without a word are named before anything is applied."""
    assert words in broken(change)


def test_a_wrong_object_is_never_applied():
    """DE-06: Rendering raises with the sentence of the check."""
    with pytest.raises(ValueError, match="is no DNS label"):
        seldon_v1.render(small_model("m").model_copy(update={"name": "UPPER"}), ROUTES["first"], "models", TEMPLATE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("kind: Deployment\nspec: {}", "is no manifest of a Pod"),
        ("kind: Pod\nspec: {containers: [{name: main, image: x}]}", "has no container named base"),
        (
            "kind: Pod\nspec: {containers: [{name: base, image: x, env: [{name: AWS_SECRET_ACCESS_KEY, value: hunter2}]}]}",
            "gives AWS_SECRET_ACCESS_KEY in the open",
        ),
    ],
)
def test_a_template_that_will_not_do_is_named(tmp_path, text, words):
    """DE-06, SC-04: The sentence says which file, what is wrong with it, and never shows a secret."""
    if text is not None:
        (tmp_path / "server.yaml").write_text(text)
    with pytest.raises(SettingMissing, match=words) as told:
        server_pod.read_template(Settings(pod_templates=str(tmp_path)))
    assert "server.yaml" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_a_template_is_read(tmp_path):
    """DE-06: A good file is returned as it is; without the setting the sentence names it."""
    (tmp_path / "server.yaml").write_text(yaml.safe_dump(TEMPLATE))
    assert server_pod.read_template(Settings(pod_templates=str(tmp_path))) == TEMPLATE
    with pytest.raises(SettingMissing, match="PERENNIAL_POD_TEMPLATES is not set"):
        server_pod.read_template(Settings())
