"""Every backend of a cluster keeps the interface's promises, on a small cluster with real servers (`tests/small_cluster.py`)."""

import json
import urllib.request
import uuid

import pytest

from perennial.serving.backends import open_backend
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.written_route import MODEL, VERSION
from perennial.settings import Settings
from perennial.store import open_store
from perennial.testing import small_model, small_rows

from ...backend_conformance import BackendConformance, Killed, Served
from ...small_cluster import NAMESPACE, SmallCluster
from .conftest import VENVS

BACKENDS = {
    "Seldon Core 1": {"PERENNIAL_SERVING": "seldon"},
    "Seldon Core 1 behind a gateway": {"PERENNIAL_SERVING": "seldon", "PERENNIAL_INGRESS": "gateway-api"},
    "KServe behind a gateway": {"PERENNIAL_SERVING": "kserve", "PERENNIAL_INGRESS": "gateway-api"},
}


class ServedOnSmallCluster(Served):
    """A model that one of the backends serves."""

    cluster: SmallCluster

    def backend(self):
        """See `Served`."""
        return open_backend(self.settings)

    def dying_backend(self, after):
        """See `Served`. A change is an object written."""
        backend = open_backend(self.settings)
        backend.api = DyingApi(NAMESPACE, after)
        if hasattr(backend, "workloads"):
            backend.workloads.api = backend.api
        return backend

    def kill_server(self, version):
        """See `Served`."""
        self.cluster.kill(self.model.name, version)

    def footprint(self):
        """See `Served`."""
        kept = {key: (o["metadata"]["generation"], o["metadata"].get("annotations")) for key, o in self.cluster.api.objects.items()}
        return kept, sorted(self.cluster.pods), self.cluster.api.writes

    def running(self):
        """See `Served`."""
        return {int(pod.workload.labels[VERSION]) for pod in [*self.cluster.pods.values()] if pod.workload.labels[MODEL] == self.model.name}


class DyingApi(KubernetesApi):
    """A connection whose process is killed at a change."""

    def __init__(self, namespace, after):
        super().__init__(namespace)
        self.left = after

    def _call(self, method, *arguments, **more):
        if method != "GET":
            self.left -= 1
            if self.left < 0:
                raise Killed
        return super()._call(method, *arguments, **more)


@pytest.fixture(scope="module", params=BACKENDS.values(), ids=BACKENDS)
def cluster(request, tmp_path_factory):
    """One with what the backend needs."""
    folder = tmp_path_factory.mktemp("cluster")
    cluster = SmallCluster(folder, VENVS, str(folder / "store"))
    cluster.behind_gateway = "PERENNIAL_INGRESS" in request.param
    cluster.settings = Settings.from_environment({**cluster.variables, **request.param})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
        yield cluster
    cluster.stop()
    assert cluster.problems == []


@pytest.fixture
def served(cluster):
    """A model of its own, taken away at the end."""
    name = f"m_{uuid.uuid4().hex[:8]}"
    served = ServedOnSmallCluster(cluster.settings, open_store(cluster.settings.store), small_model(name), cluster.folder / name)
    served.cluster = cluster
    yield served
    served.backend().reset(served.model)


class TestConformance(BackendConformance):
    """SE-08, SY-13: Every backend of a cluster keeps the interface's promises."""


def test_a_header_addresses_a_version_behind_a_gateway(served):
    """SE-08: A request with the header `x-predictor` is answered by that version, though it has no share; by Seldon's ingress not."""
    served.serve({1: 100, 2: 0}, champion=1)
    url = served.settings.gateway_url + served.settings.prediction_path(served.model.name)
    body = json.dumps({"data": {"rows": small_rows(1)}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "x-predictor": "2"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.headers["x-perennial-version"] == ("2" if served.cluster.behind_gateway else "1")
