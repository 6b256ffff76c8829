"""Versions as InferenceServices: pure rendering, and the schema of KServe."""

import copy

import pytest

from perennial.serving.backends import kserve, seldon_v1, written_route
from perennial.serving.route import WHOLE, Route
from perennial.testing import small_model

from ..crd_schemas import folder, problems
from .test_seldon_v1 import DIGESTS, TEMPLATE


def rendered(version=7, template=TEMPLATE, model="small_delays", **serving):
    """What is applied for a version."""
    return kserve.render(small_model(model, **serving), version, DIGESTS[version], "models", template)


@pytest.mark.parametrize("serving", [{}, {"replicas": 2, "max_replicas": 6, "cpus": 0.5, "memory_gb": 0.25}], ids=["one", "many"])
def test_every_field_is_one_that_the_schema_knows(serving):
    """SY-13, DE-06: Nothing that is rendered would be refused or silently dropped by the API server."""
    assert problems(rendered(**serving), folder("KServe")) == []


def test_a_version_is_the_same_pod_as_under_seldon_core():
    """SY-13: Image, probes, limits and secrets by reference are those of a predictor; name and server are what KServe asks for:
    the one that speaks the Open Inference Protocol.
    """
    predictor = rendered()["spec"]["predictor"]
    route = Route({7: WHOLE}, None, DIGESTS)
    (part,) = seldon_v1.render(small_model(), route, "models", TEMPLATE)["spec"]["predictors"][0]["componentSpecs"]
    pod = copy.deepcopy(part["spec"])
    (server,) = pod["containers"]
    server["name"] = "kserve-container"
    assert server["args"].pop() == "seldon"
    server["args"].append("open")
    assert {name: predictor[name] for name in pod} == pod
    assert server["args"][:6] == ["--model", "small_delays", "--version", "7", "--digest", DIGESTS[7]]


def test_kserve_gives_a_version_replicas_and_no_address_of_its_own():
    """SY-13, SE-08: It is a plain Deployment, that callers reach by the model's HTTPRoute alone, with the labels by which it is counted."""
    document = rendered(replicas=2, max_replicas=6)
    assert (document["apiVersion"], document["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert (document["metadata"]["name"], document["metadata"]["namespace"]) == ("small-delays-v7", "models")
    assert document["metadata"]["labels"]["perennial/version"] == "7"
    assert kserve.service_name(small_model(), 7) == "small-delays-v7-predictor"
    assert document["metadata"]["labels"] | document["spec"]["predictor"]["labels"] == {
        "app.kubernetes.io/part-of": "perennial",
        "networking.kserve.io/visibility": "cluster-local",
        "perennial/model": "small_delays",
        "perennial/version": "7",
        "team": "rides",
    }
    assert document["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    predictor = document["spec"]["predictor"]
    assert {name: predictor[name] for name in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")} == {
        "minReplicas": 2,
        "maxReplicas": 6,
        "scaleMetric": "cpu",
        "scaleTarget": 70,
    }


def test_the_service_of_a_version_is_where_kserve_makes_it():
    """SY-13: KServe's Services have the port 80, which leads to the container's first."""
    assert kserve.SERVICE_PORT == 80
    assert rendered()["spec"]["predictor"]["containers"][0]["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    assert kserve.PLURAL == "inferenceservices"


def test_what_kserve_fills_in_is_no_change():
    """SE-08: A version is written anew where its description differs, not where KServe added defaults to it."""
    wanted = rendered()
    live = copy.deepcopy(wanted)
    live["spec"]["predictor"]["containerConcurrency"] = 0
    live["metadata"]["annotations"]["kserve.io/seen"] = "yes"
    assert kserve.same(live, wanted)
    assert not kserve.same(live, rendered(cpus=2))
    del live["metadata"]["annotations"][written_route.RENDERED]
    assert not kserve.same(live, wanted)


@pytest.mark.parametrize(("name", "well"), [("m" * 50, True), ("m" * 51, False), ("UPPER", False)])
def test_names_that_kubernetes_refuses_are_named(name, well):
    """DE-06: The Service's name, which KServe makes of the model's, has 63 letters at most; said before anything is applied."""
    model = small_model("m").model_copy(update={"name": name})
    if well:
        assert len(kserve.service_name(model, 7)) == 63
        kserve.render(model, 7, DIGESTS[7], "models", TEMPLATE)
    else:
        with pytest.raises(ValueError, match=f"would be called {name}-v7: that is no name of 53 letters at most"):
            kserve.render(model, 7, DIGESTS[7], "models", TEMPLATE)
