"""Serving by Seldon Core on a real cluster: what every backend does, and what only a cluster can do wrong."""

import copy
import re
import threading
import uuid

import pytest
import yaml

from perennial import testing
from perennial.errors import LedgerConflict, ServiceUnreachable, SettingMissing
from perennial.serving.backends import seldon_v1, server_pod, written_route
from perennial.serving.backends.seldon import SeldonBackend
from perennial.testing import small_model

from ...backend_conformance import BackendConformance
from .seldon_platform import ServedInCluster, seldon_platform


@pytest.fixture(scope="module")
def platform(cluster, tmp_path_factory):
    """A namespace with all that Seldon Core would bring."""
    with seldon_platform(cluster, tmp_path_factory.mktemp("seldon")) as found:
        yield found


@pytest.fixture
def served(platform):
    """A model of its own, taken away at the end."""
    name = f"m_{uuid.uuid4().hex[:8]}"
    served = ServedInCluster(
        platform.settings, platform.store, small_model(name, cpus=0.5, memory_gb=0.5, start_seconds=180), platform.folder / name
    )
    served.platform = platform
    yield served
    served.backend().reset(served.model)


class TestConformance(BackendConformance):
    """The Seldon backend keeps the interface's promises."""


def with_template(platform, change):
    """Settings whose server.yaml was changed."""
    template = copy.deepcopy(server_pod.read_template(platform.settings))
    change(template["spec"]["containers"][0])
    folder = platform.folder / f"templates-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "server.yaml").write_text(yaml.safe_dump(template))
    return platform.settings_of(pod_templates=str(folder))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(image="127.0.0.1:9/nobody/nothing:1"), r"its image 127\.0\.0\.1:9/nobody/nothing:1 cannot be pulled"),
        (lambda c: c.update(resources={"requests": {"cpu": "450m", "example.com/unicorn": "1"}, "limits": {"example.com/unicorn": "1"}}),
            "has no place on any node: .*example.com/unicorn"),
        (lambda c: c.update(envFrom=[{"secretRef": {"name": "not-there"}}]), 'cannot be started .*secret "not-there" not found'),
        (lambda c: c.update(envFrom=[], env=[{"name": "PERENNIAL_STORE", "value": "ftp://x"}]),
            r"its server ended \(exit code \d+.*Its last words: .*PERENNIAL_STORE is 'ftp://x'"),
    ],
    ids=["image", "no room", "no secret", "crash"],
)  # fmt: skip
def test_a_version_that_does_not_come_up_is_told_by_its_cause(served, change, words):
    """MN-18, DE-11: The sentence is Kubernetes' or the server's own, not "not ready in time"."""
    served.settings = with_template(served.platform, change)
    route = served.route({1: 100})
    backend = served.backend()
    backend.apply(served.model, route)
    with pytest.raises(ServiceUnreachable, match=r"is not ready after .* s: "):
        backend.wait_ready(served.model, 1, 0.1)

    def told():
        with pytest.raises(ServiceUnreachable) as error:
            backend.wait_ready(served.model, 1, 1)
        return str(error.value) if re.search(words, str(error.value), re.DOTALL) else None

    testing.wait_until(told, 120, words)


def test_of_two_writers_one_is_told(served):
    """SE-08: A write that rests on an object which another one has changed since is refused; the operator's status is no writer."""
    served.serve({1: 100})
    route = served.route({1: 100, 2: 0})
    other = served.route({1: 100, 3: 0})
    backend = SeldonBackend(served.settings)
    template = server_pod.read_template(served.settings)
    first = backend._live(served.model)
    body = {**first, "status": {"state": "Creating", "description": "looked at again"}}
    place = ("machinelearning.seldon.io", "v1", served.platform.namespace, seldon_v1.PLURAL)
    served.platform.cluster.custom.replace_namespaced_custom_object_status(*place, written_route.name_of(served.model), body)
    backend._write(first, seldon_v1.render(served.model, route, backend.api.namespace, template))
    with pytest.raises(LedgerConflict, match="Another writer changed the SeldonDeployment"):
        backend._write(first, seldon_v1.render(served.model, other, backend.api.namespace, template))
    assert backend.route(served.model) == route


def test_many_writers_at_once_leave_one_whole_route(served):
    """SE-08: Whoever wins, the object is one of the routes that were asked for, and the losers know."""
    served.serve({1: 100})
    wanted = [served.route({1: 100, version: 0}) for version in (2, 3, 4)]
    outcomes = []

    def write(route):
        try:
            SeldonBackend(served.settings).apply(served.model, route)
            outcomes.append(route)
        except LedgerConflict:
            outcomes.append(None)

    writers = [threading.Thread(target=write, args=(route,)) for route in wanted]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(outcomes) == 3
    assert served.backend().route(served.model) in [route for route in outcomes if route]


def test_an_idle_version_that_is_sick_holds_up_nobody(served):
    """SE-12: Traffic moves although another idle version cannot start, which would hold up all changes of its object."""
    served.serve({1: 100, 2: 0}, champion=1)
    served.publish_wrong(3)
    backend = served.backend()
    route = served.route({1: 0, 2: 100, 3: 0}, champion=2)
    backend.apply(served.model, route)
    assert served.send(50).by_version == {2: 50}
    assert backend.route(served.model) == route


def test_a_prometheus_that_is_blind_is_no_evidence(served):
    """MN-15: No answer, no Prometheus, and one that does not scrape a version are told apart, each with what to do."""
    served.serve({1: 100})
    platform = served.platform
    for url, words in (
        ("", "PERENNIAL_PROMETHEUS_URL is not set"),
        ("http://127.0.0.1:9", "does not answer"),
        (platform.settings.gateway_url, r"refuses a question \(404"),
    ):
        with pytest.raises((ServiceUnreachable, SettingMissing), match=words):
            SeldonBackend(platform.settings_of(prometheus_url=url)).observe(served.model)


def test_rights_and_kinds_that_lack_are_named(served, monkeypatch, tmp_path):
    """DE-09: A missing right, a kind that the cluster does not know and no cluster at all are one sentence each."""
    platform = served.platform
    elsewhere = SeldonBackend(platform.settings)
    elsewhere.api = Stranger(platform)
    with pytest.raises(ServiceUnreachable, match=r"does not let this account get seldondeployments in the namespace .*cannot get resource"):
        elsewhere.route(served.model)
    with pytest.raises(ServiceUnreachable, match=r"knows no unicorns of example\.com: its kind is not installed there"):
        SeldonBackend(platform.settings).api._call("GET", "/apis/example.com/v1/namespaces/x/unicorns/y", "get unicorns")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ServiceUnreachable, match="No Kubernetes cluster is named"):
        SeldonBackend(platform.settings)


def Stranger(platform):
    """A connection as a service account without any right."""
    api = SeldonBackend(platform.settings).api
    api._client.set_default_header("Impersonate-User", f"system:serviceaccount:{platform.namespace}:perennial-server")
    return api
