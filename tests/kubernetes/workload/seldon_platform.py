"""Seldon Core's place in a namespace: its kinds, the reconciler and ingress of these tests, a store, a Prometheus, served models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from perennial import testing
from perennial.serving.backends import Backend, open_backend, seldon_v1, written_route
from perennial.serving.backends.kubernetes_api import KubernetesApi
from perennial.serving.backends.seldon import SeldonBackend
from perennial.settings import Settings
from perennial.store import Store, open_store
from perennial.testing_s3 import missing_programs, s3_server

from ... import backend_conformance as conformance
from .. import cluster as rig
from .reconciler import Ingress, Reconciler, install

BUCKET = "perennial"


def kinds() -> Path:
    """Where Seldon's CustomResourceDefinitions are; the test is skipped where they are not."""
    place = rig.seldon_kinds()
    if place is None:
        pytest.skip("Seldon's schemas are not beside the checkout: name their folder by PERENNIAL_SELDON_CRDS")
    return place


@dataclass
class SeldonPlatform:
    """What a test of serving by Seldon Core needs."""

    cluster: rig.Cluster
    namespace: str
    settings: Settings
    store: Store
    reconciler: Reconciler
    templates: rig.Templates
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def settings_of(self, **more: str) -> Settings:
        """The settings with some changed."""
        return self.settings.model_copy(update=more)

    def deployments(self, model: str) -> list[Any]:
        """Deployments of a model that are not on their way out."""
        found = self.cluster.apps.list_namespaced_deployment(self.namespace, label_selector=f"{written_route.MODEL}={model}").items
        return [deployment for deployment in found if not deployment.metadata.deletion_timestamp]


@contextlib.contextmanager
def seldon_platform(cluster: rig.Cluster, folder: Path) -> Iterator[SeldonPlatform]:
    """All of it, for a namespace of its own."""
    if missing := missing_programs():
        pytest.skip(missing)
    host = cluster.host_address
    install(cluster, kinds())
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(cluster.namespace("test-serving"))
        s3 = stack.enter_context(s3_server(host))
        s3.create_bucket(BUCKET)
        store = f"s3://{BUCKET}/{namespace}"
        templates = rig.write_templates(cluster, namespace, folder / "templates", {"PERENNIAL_STORE": store}, s3.environment())
        url = stack.enter_context(rig.prometheus_server(cluster, namespace, folder / "prometheus"))
        programs = stack.enter_context(testing.started(testing.Programs(folder / "logs")))
        ports = [rig.free_port(host), rig.free_port("127.0.0.1")]
        ingress = Ingress(programs, folder / "ingress", rig.VENVS / "tools" / "bin" / "envoy", host, *ports)
        ingress.start()
        reconciler = Reconciler(cluster, namespace, ingress)
        reconciler.start()
        stack.callback(reconciler.stop)
        settings = Settings.from_environment(
            {
                "PERENNIAL_HOME": str(folder / "home"),
                "PERENNIAL_STORE": store,
                "PERENNIAL_SERVING": "seldon",
                "PERENNIAL_SERVING_NAMESPACE": namespace,
                "PERENNIAL_POD_TEMPLATES": str(templates.folder),
                "PERENNIAL_PROMETHEUS_URL": url,
                "PERENNIAL_GATEWAY_URL": f"http://{host}:{ports[0]}",
            }
        )
        environment = s3.environment()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            yield SeldonPlatform(cluster, namespace, settings, open_store(store), reconciler, templates, folder, environment)
            assert reconciler.problems == []


class ServedInCluster(conformance.Served):
    """A model that Seldon Core serves."""

    platform: SeldonPlatform

    def backend(self) -> Backend:
        """See `Served`."""
        return open_backend(self.settings)

    def dying_backend(self, after: int) -> Backend:
        """See `Served`. A change is an object written."""
        backend = SeldonBackend(self.settings)
        backend.api = DyingApi(self.settings.serving_namespace, after)
        return backend

    def kill_server(self, version: int) -> None:
        """See `Served`. The pod goes without a chance to say more; its Deployment makes another."""
        for pod in self.pods(version):
            self.platform.cluster.core.delete_namespaced_pod(pod.metadata.name, self.platform.namespace, grace_period_seconds=0)

    def footprint(self) -> Any:
        """See `Served`."""
        live = self.platform.cluster.custom.get_namespaced_custom_object(
            "machinelearning.seldon.io", "v1", self.platform.namespace, seldon_v1.PLURAL, written_route.name_of(self.model)
        )
        pods = sorted(pod.metadata.uid for pod in self.pods())
        return live["metadata"]["generation"], live["metadata"]["annotations"], live["spec"], pods

    def running(self) -> set[int]:
        """See `Served`."""
        return {int(found.metadata.labels[written_route.VERSION]) for found in self.platform.deployments(self.model.name)}

    def pods(self, version: int | None = None) -> list[Any]:
        """Pods of the model, or of one version."""
        labels = f"{written_route.MODEL}={self.model.name}" + ("" if version is None else f",{written_route.VERSION}={version}")
        found = self.platform.cluster.pods(self.platform.namespace, labels)
        return [pod for pod in found if not pod.metadata.deletion_timestamp]


class DyingApi(KubernetesApi):
    """A connection whose process is killed at a change."""

    def __init__(self, namespace: str, after: int) -> None:
        super().__init__(namespace)
        self.left = after

    def _call(self, method: str, *arguments: Any, **more: Any) -> Any:
        if method != "GET":
            self.left -= 1
            if self.left < 0:
                raise conformance.Killed
        return super()._call(method, *arguments, **more)
