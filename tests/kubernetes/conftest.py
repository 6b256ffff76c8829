"""The cluster and what runs beside it. Without a cluster every test of this folder is skipped, with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.testing_s3 import S3Server, missing_programs

from . import cluster as rig


@pytest.fixture(scope="session", autouse=True)
def cluster() -> rig.Cluster:
    """The cluster of $KUBECONFIG."""
    if reason := rig.why_not():
        pytest.skip(reason)
    return rig.Cluster()


@pytest.fixture
def namespace(cluster: rig.Cluster) -> Iterator[str]:
    """A fresh namespace, deleted afterwards."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="session")
def s3(cluster: rig.Cluster) -> Iterator[S3Server]:
    """An S3 server of this machine, at the address that pods reach."""
    if missing := missing_programs():
        pytest.skip(missing)
    with rig.bucket_at(cluster.host_address) as server:
        yield server


@pytest.fixture(scope="session")
def servers(cluster: rig.Cluster, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Servers]:
    """S3, PostgreSQL and MLflow of this machine, at the address that pods reach; one set for all tests."""
    with rig.servers_at(cluster.host_address, s3, tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture
def stage_settings(servers: rig.Servers, namespace: str) -> dict[str, str]:
    """PERENNIAL_… variables of the pods of `templates`: a store of the test's own, the MLflow of `servers`."""
    return {"PERENNIAL_STORE": servers.store(namespace), "PERENNIAL_MLFLOW_URL": servers.mlflow_url, "PERENNIAL_LOG_LEVEL": "INFO"}


@pytest.fixture
def templates(cluster: rig.Cluster, namespace: str, servers: rig.Servers, stage_settings: dict[str, str], tmp_path: Path) -> rig.Templates:
    """Pod templates for `namespace`, with the objects that they refer to."""
    return rig.write_templates(cluster, namespace, tmp_path / "templates", stage_settings, servers.secrets())


@pytest.fixture
def prometheus(cluster: rig.Cluster, namespace: str, tmp_path: Path) -> Iterator[str]:
    """Address of a Prometheus that scrapes the pods of `namespace` at port 9000, once a second."""
    if not shutil.which("prometheus"):
        pytest.skip("prometheus not installed: apt-get install prometheus")
    with rig.prometheus_server(cluster, namespace, tmp_path / "prometheus") as url:
        yield url
