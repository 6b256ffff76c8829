"""Routes as Models and Experiments: pure rendering, and the schemas of Seldon Core 2.6.0."""

import pytest

from perennial.errors import SettingMissing
from perennial.serving.backends import seldon_v2
from perennial.serving.backends.written_route import read_route
from perennial.serving.route import Route
from perennial.testing import small_model

from ..crd_schemas import folder, problems
from .test_seldon_v1 import DIGESTS, ROUTES, routes


def rendered(route, store="s3://bucket/perennial", **serving):
    """What is applied for a route: the Models by name, and the Experiment."""
    *models, experiment = seldon_v2.render(small_model(**serving), route, "models", store)
    return {model["metadata"]["name"]: model for model in models}, experiment


@routes
@pytest.mark.parametrize("serving", [{}, {"replicas": 2, "max_replicas": 6}], ids=["one", "many"])
def test_every_field_is_one_that_the_schema_knows(route, serving):
    """DE-06: Nothing that is rendered would be refused or silently dropped by the API server."""
    place = folder()
    models, experiment = rendered(route, **serving)
    assert {name: problems(document, place) for name, document in {**models, "": experiment}.items()} == {
        name: [] for name in (*models, "")
    }


@routes
def test_weights_are_exact_and_idle_versions_out_of_reach(route):
    """SE-06, SE-08: Basis points stand as they are; a version without a weight is a Model that the Experiment does not name."""
    models, experiment = rendered(route)
    assert set(models) == {f"small-delays-v{version}" for version in route.versions}
    shares = {int(entry["name"].rpartition("-v")[2]): entry["weight"] for entry in experiment["spec"]["candidates"]}
    assert shares == {version: weight for version, weight in route.weights.items() if weight}
    assert experiment["spec"]["default"] == f"small-delays-v{route.stable}"
    assert experiment["spec"].get("mirror") == ({"name": f"small-delays-v{route.shadow}", "percent": 100} if route.shadow else None)
    assert read_route(experiment) == Route(route.weights, route.shadow, {v: DIGESTS[v] for v in route.versions}, route.champion)


def test_a_model_is_a_folder_that_says_which_version():
    """DE-06, SC-01: Seldon's agent fetches what MLServer is told; another content of a version is another folder, loaded anew."""
    models, _ = rendered(ROUTES["canary"])
    spec = models["small-delays-v2"]["spec"]
    assert spec["storageUri"] == f"s3://bucket/perennial/mlserver/small_delays/v2-{DIGESTS[2][:12]}"
    assert "parameters" not in spec
    assert spec["requirements"] == ["perennial"]


def test_a_folder_is_no_store_for_servers_elsewhere():
    """DE-09: The sentence says what the store must be."""
    with pytest.raises(SettingMissing, match="must be s3://"):
        rendered(ROUTES["first"], store="/var/lib/store")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec: spec.update(default="small-delays-v9"), "the default small-delays-v9 is no candidate"),
        (lambda spec: spec["candidates"].append({"name": "small-delays-v9", "weight": 1}), "there is no such Model"),
        (lambda spec: spec["candidates"].append(spec["candidates"][0]), "is a candidate twice"),
        (lambda spec: spec["candidates"][0].update(weight=0), "a candidate has no weight"),
        (lambda spec: spec["mirror"].update(name="small-delays-v1"), "both a candidate and the mirror"),
    ],
)
def test_what_the_schema_lets_pass_is_refused_here(change, words):
    """DE-06: Mistakes that Seldon Core takes without a word are named before anything is applied."""
    documents = seldon_v2.render(small_model(), ROUTES["canary, shadow and idle"], "models", "s3://bucket")
    change(documents[-1]["spec"])
    assert words in "; ".join(seldon_v2.faults(documents))
