"""Serving behind a gateway, against a small Kubernetes API: who is told what. The promises of a backend are kept in tests/integration."""

import pytest
import yaml

from perennial.errors import LedgerConflict, ServiceUnreachable, SettingMissing
from perennial.serving.backends import gateway_api, gateway_routed, open_backend, seldon_core2, versions_in_pods
from perennial.serving.route import WHOLE, Route
from perennial.settings import Settings
from perennial.testing import small_model

from .....small_kubernetes import SmallKubernetes
from .test_seldon_v1 import DIGESTS, TEMPLATE

MODEL = small_model()
FIRST, OTHER = Route({1: WHOLE}, None, DIGESTS, 1), Route({1: WHOLE, 2: 0}, None, DIGESTS, 1)
OVER = Route({1: 0, 2: WHOLE}, None, DIGESTS, 2)


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A Kubernetes API without operators, whose Deployments a test puts."""
    api = SmallKubernetes()
    (tmp_path / "kubeconfig").write_text(api.kubeconfig())
    (tmp_path / "server.yaml").write_text(yaml.safe_dump(TEMPLATE))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(versions_in_pods, "TAKE_UP_SECONDS", 0.3)
    monkeypatch.setattr(versions_in_pods.Probe, "ask", lambda self: 1)
    yield api
    api.stop()


@pytest.fixture
def settings(tmp_path):
    """Of KServe behind a gateway."""
    return Settings(
        serving="kserve",
        ingress="gateway-api",
        gateway="infra/public",
        store=str(tmp_path / "store"),
        pod_templates=str(tmp_path),
        serving_namespace="models",
        gateway_url="http://127.0.0.1:9",
    )


def ready(api, version):
    """A version's Deployment as it is when all its replicas are ready."""
    labels = {"perennial/model": MODEL.name, "perennial/version": str(version)}
    counts = {"observedGeneration": 9, "updatedReplicas": 1, "replicas": 1, "readyReplicas": 1}
    api.put("deployments", {"metadata": {"name": f"v{version}", "labels": labels}, "spec": {"replicas": 1}, "status": counts})


def test_the_settings_open_the_backend(api, settings):
    """SY-13, DE-09: KServe goes with a gateway, Seldon Core 1 with and without, Seldon Core 2 without; the rest is a sentence."""

    def opened(**changes):
        return open_backend(settings.model_copy(update=changes))

    assert isinstance(opened().workloads, gateway_routed.KServeWorkloads)
    assert isinstance(opened(serving="seldon").workloads, gateway_routed.SeldonWorkloads)
    assert isinstance(opened(serving="seldon", seldon_dialect="v2", ingress="own"), seldon_core2.Core2Backend)
    with pytest.raises(SettingMissing, match=r"by itself KServe keeps no version warm.*Set PERENNIAL_INGRESS=gateway-api"):
        opened(ingress="own")
    with pytest.raises(SettingMissing, match=r"PERENNIAL_SELDON_DIALECT is v2.*Unset PERENNIAL_INGRESS"):
        opened(serving="seldon", seldon_dialect="v2")
    with pytest.raises(SettingMissing, match="PERENNIAL_GATEWAY is ''"):
        opened(gateway="")


@pytest.mark.parametrize("serving", ["kserve", "seldon"])
def test_of_two_writers_one_is_told(api, settings, serving):
    """SE-08: A write that rests on a route which another one has changed since is refused; what the winner wrote stays."""
    backend = open_backend(settings.model_copy(update={"serving": serving}))
    backend.apply(MODEL, FIRST)
    before = backend._live(MODEL)
    backend.apply(MODEL, OTHER)
    with pytest.raises(LedgerConflict, match="Another writer changed the HTTPRoute small-delays"):
        backend._share(MODEL, before, OVER)
    assert backend.route(MODEL) == Route({1: WHOLE, 2: 0}, None, {v: DIGESTS[v] for v in (1, 2)}, 1)


def test_a_route_of_somebody_else_is_left_alone(api, settings):
    """SE-08: An HTTPRoute of the model's name that Perennial has not made is not taken over, and nothing is started."""
    api.put("httproutes", {"metadata": {"name": "small-delays"}, "spec": {}})
    backend = open_backend(settings)
    assert backend.route(MODEL) is None
    with pytest.raises(ServiceUnreachable, match=r"There is an HTTPRoute small-delays .* has not made: delete it, or rename the model"):
        backend.apply(MODEL, FIRST)
    assert api.writes == 0


def test_a_gateway_that_does_not_take_a_route_is_told_by_its_own_words(api, settings):
    """MN-18, SE-08: Traffic that does not move ends in a sentence that has the reason of the HTTPRoute's status; no version is stopped."""
    backend = open_backend(settings)
    backend.apply(MODEL, FIRST)
    for version in (1, 2):
        ready(api, version)
    backend.apply(MODEL, OTHER)

    def refuse(api):
        live = api.objects["httproutes", "small-delays"]
        condition = {"type": "Accepted", "status": "False", "observedGeneration": 99, "reason": "NotAllowed", "message": "wrong namespace"}
        live["status"] = {"parents": [{"conditions": [condition]}]}

    api.after_write.append(refuse)
    with pytest.raises(
        ServiceUnreachable,
        match=r"has not moved 0\.3 s after its HTTPRoute was changed: version 2 gets no request\. .*"
        r"About the HTTPRoute the gateway says NotAllowed: wrong namespace\.",
    ):
        backend.apply(MODEL, OVER)
    assert {name for kind, name in api.objects if kind == "inferenceservices"} == {"small-delays-v1", "small-delays-v2"}
    api.after_write.clear()
    api.objects["httproutes", "small-delays"]["status"] = {}
    with pytest.raises(
        ServiceUnreachable, match=r"gets no request\. Look at the controller of KServe and at the ingress behind [^ ]*ready\.$"
    ):
        backend._share(MODEL, api.objects["httproutes", "small-delays"] | {"spec": {"rules": []}}, OVER)


def test_what_is_not_ready_gets_no_share_and_what_goes_is_stopped_last(api, settings):
    """SE-06, SE-08: While no version of a route is ready those before answer and run; then they go."""
    backend = open_backend(settings)
    backend.apply(MODEL, FIRST)
    ready(api, 1)
    alone = Route({2: WHOLE}, None, DIGESTS, 2)
    backend.apply(MODEL, alone)
    assert backend.route(MODEL) == Route({2: WHOLE}, None, {2: DIGESTS[2]}, 2)
    assert gateway_api.shares_of(backend._live(MODEL), (1, 2), lambda v: f"small-delays-v{v}-predictor") == {1: WHOLE}
    assert ("inferenceservices", "small-delays-v1") in api.objects


def test_a_kind_that_the_cluster_lacks_is_told_with_its_product(api, settings):
    """DE-09: KServe and the Gateway API are named with the setting that chose them."""
    backend = open_backend(settings)
    with pytest.raises(ServiceUnreachable, match=r"knows no unicorns of gateway\.example: the Gateway API is not .*PERENNIAL_INGRESS"):
        backend.api._call("GET", "/apis/gateway.example/v1/namespaces/x/unicorns/y", "get unicorns")
    with pytest.raises(ServiceUnreachable, match=r"knows no unicorns of serving\.kserve\.io: KServe is not .*set PERENNIAL_SERVING to"):
        backend.api._call("GET", "/apis/serving.kserve.io/v1/namespaces/x/unicorns/y", "get unicorns")
