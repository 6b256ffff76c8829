"""What the tests on a cluster share: the cluster, namespaces, the servers that pods reach, pod templates, a Prometheus.

Any cluster will do: the one that $KUBECONFIG names. Its pods must reach this machine at one address (`host_address`). Imports
neither Airflow nor torch, for the tests of both environments use it. As a program it says whether the cluster answers: exit code 0 or 1.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client, config

from perennial.local import postgres
from perennial.settings import Settings
from perennial.testing_s3 import S3Server, s3_server

HOW = "set KUBECONFIG to a cluster's file, then run `make kubernetes`"
VENVS = Path(sys.prefix).parent
BUCKET = "perennial"
USER = 50000  # who the images run as
CONFIG_MAP, SECRET, TEMPLATES = "perennial-settings", "perennial-secrets", "perennial-pod-templates"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "crds"
TEMPLATES_IN_PODS = "/etc/perennial/pod-templates"
ANSWER_SECONDS = 10
# Taken away at once: what begins with PERENNIAL_ and is no setting is refused by whatever reads the settings.
_ASKED = {name: os.environ.pop(f"PERENNIAL_{name}", "") for name in ("TEST_IMAGES", "TEST_PULL_POLICY", "TEST_HOST_ADDRESS", "SELDON_CRDS")}


def image(name: str) -> str:
    """Reference of one of the images `workload`, `serving`, `airflow`; `{}` in PERENNIAL_TEST_IMAGES stands for the name."""
    return (_ASKED["TEST_IMAGES"] or "perennial/{}:dev").format(name)


def pull_policy() -> str:
    """`Always`, as tests use a tag that moves. Set PERENNIAL_TEST_PULL_POLICY=IfNotPresent where images are loaded into the nodes."""
    return _ASKED["TEST_PULL_POLICY"] or "Always"


def seldon_kinds() -> Path | None:
    """Folder of the CustomResourceDefinitions of Seldon Core: PERENNIAL_SELDON_CRDS, or beside the checkout; else None."""
    place = Path(_ASKED["SELDON_CRDS"] or BESIDE)
    return place if any(place.rglob("*.yaml")) else None


def why_not() -> str:
    """Why there is no cluster to test on, in one line; empty if it answers."""
    if not os.environ.get("KUBECONFIG"):
        return f"no cluster named: {HOW}"
    try:
        config.load_kube_config()
        client.VersionApi().get_code(_request_timeout=ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001 - the client raises some dozen kinds, urllib3's among them
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"the cluster of {os.environ['KUBECONFIG']} does not answer ({first[:200]}): start it, or {HOW}"
    return ""


class Cluster:
    """The cluster that $KUBECONFIG names, through Kubernetes' own client."""

    def __init__(self) -> None:
        config.load_kube_config()
        self.core = client.CoreV1Api()
        self.apps = client.AppsV1Api()
        self.batch = client.BatchV1Api()
        self.custom = client.CustomObjectsApi()
        self.rights = client.RbacAuthorizationV1Api()
        code = client.VersionApi().get_code()
        self.version = (int(code.major), int(code.minor.rstrip("+")))
        self.host_address = _ASKED["TEST_HOST_ADDRESS"] or self._host_address()

    def _host_address(self) -> str:
        """Address of this machine on the way to a node: pods have that way back."""
        for node in self.core.list_node().items:
            for found in node.status.addresses:
                if found.type == "InternalIP":
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                        probe.connect((found.address, 9))  # sends nothing: asks for the route alone
                        address: str = probe.getsockname()[0]
                        return address
        raise RuntimeError("No node of the cluster has an address: set PERENNIAL_TEST_HOST_ADDRESS to one of this machine that pods reach.")

    @contextlib.contextmanager
    def namespace(self, prefix: str = "test") -> Iterator[str]:
        """A new namespace, deleted with all in it at the end. What happened in it is printed then: pytest shows it where a test failed."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.core.create_namespace({"metadata": {"name": name}})
        try:
            wait_until(lambda: self._exists(name), 30, f"the default service account of {name}")
            yield name
        finally:
            print(self.describe(name))
            self.core.delete_namespace(name)

    def _exists(self, namespace: str) -> bool:
        """Whether the namespace has its default service account: pods are refused before."""
        return any(found.metadata.name == "default" for found in self.core.list_namespaced_service_account(namespace).items)

    def pods(self, namespace: str, labels: str = "") -> list[Any]:
        """The pods there are, as `client.V1Pod`."""
        found: list[Any] = self.core.list_namespaced_pod(namespace, label_selector=labels).items
        return found

    def started(self, namespace: str, container: str = "base") -> list[str]:
        """Names of the pods whose container was started, in order; also of those that are gone (events are kept for an hour)."""
        events = self.core.list_namespaced_event(namespace, field_selector="reason=Started,involvedObject.kind=Pod").items
        whole = "{" + container + "}"
        ours = [e for e in events if (e.involved_object.field_path or "").endswith(whole)]
        return [e.involved_object.name for e in sorted(ours, key=lambda e: e.first_timestamp or e.event_time)]

    def describe(self, namespace: str) -> str:
        """Pods and events of a namespace, for a person who reads why a test failed."""
        lines = [f"-- namespace {namespace}"]
        lines += [f"{pod.metadata.name}: {pod.status.phase} {pod.status.reason or ''}".rstrip() for pod in self.pods(namespace)]
        events = self.core.list_namespaced_event(namespace).items
        for event in sorted(events, key=lambda e: str(e.last_timestamp or e.event_time)):
            lines.append(f"{event.last_timestamp or event.event_time} {event.involved_object.name} {event.reason}: {event.message}")
        return "\n".join(lines)


# -- servers of this machine -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Servers:
    """What pods talk to."""

    s3: S3Server
    postgres_url: str  # of an administrator, without a database
    mlflow_url: str
    bucket: str = BUCKET

    def store(self, prefix: str) -> str:
        """PERENNIAL_STORE of one test."""
        return f"s3://{self.bucket}/{prefix}"

    def secrets(self) -> dict[str, str]:
        """What a stage must know and nobody else: it comes from a Secret."""
        return self.s3.environment()


@contextlib.contextmanager
def bucket_at(address: str) -> Iterator[S3Server]:
    """An S3 server (Ceph) with a bucket, listening at an address that pods reach."""
    with s3_server(address) as s3:
        s3.create_bucket(BUCKET)
        yield s3


@contextlib.contextmanager
def servers_at(address: str, s3: S3Server, folder: Path) -> Iterator[Servers]:
    """PostgreSQL and MLflow beside an S3 server, listening at an address that pods reach; they keep nothing afterwards."""
    with contextlib.ExitStack() as stack:
        postgres_url = stack.enter_context(postgres_server(address, folder / "postgres-home"))
        mlflow_url = stack.enter_context(mlflow_server(address, postgres_url, f"s3://{BUCKET}/mlflow", s3.environment(), folder))
        yield Servers(s3, postgres_url, mlflow_url)


@contextlib.contextmanager
def postgres_server(address: str, home: Path) -> Iterator[str]:
    """The PostgreSQL of the one-machine stack, with a password and on the network; yields its address without a database."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "venvs").symlink_to(VENVS)
    settings, password, port = Settings(home=home), secrets.token_hex(16), free_port(address)
    postgres.initialise(settings)
    with open(postgres.data_folder(settings) / "pg_hba.conf", "a") as rules:
        rules.write("host all all all scram-sha-256\n")
    command = [*postgres.command(settings), f"--listen_addresses={address}", f"--port={port}"]
    with program("postgres", command, {}, home, stop=signal.SIGINT) as process:
        url = f"postgresql://postgres:{password}@{address}:{port}"
        _set_password(settings, port, password, process)
        outside = settings.model_copy(update={"postgres_url": url})
        postgres.create_databases(outside)
        yield url


def _set_password(settings: Settings, port: int, password: str, process: subprocess.Popen[bytes]) -> None:
    import psycopg
    from psycopg import sql

    local = f"{postgres.address(settings, 'postgres')}&port={port}"

    def done() -> bool:
        assert process.poll() is None, f"PostgreSQL ended with {process.returncode}: see {settings.home}/postgres.log"
        try:
            with psycopg.connect(local, autocommit=True) as connection:
                connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(password)))
        except psycopg.OperationalError:
            return False
        return True

    wait_until(done, 60, "PostgreSQL to answer")


@contextlib.contextmanager
def mlflow_server(address: str, postgres_url: str, artifacts: str, environment: Mapping[str, str], folder: Path) -> Iterator[str]:
    """An MLflow server; yields its address."""
    port = free_port(address)
    database = postgres_url.replace("postgresql://", "postgresql+psycopg://", 1) + "/mlflow"
    command = [str(VENVS / "workload/bin/mlflow"), "server", "--host", address, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database, "--artifacts-destination", artifacts, "--allowed-hosts", f"{address}:{port}"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with program("mlflow", command, {**environment, **quiet}, folder) as process:
        url = f"http://{address}:{port}"
        wait_until(lambda: _alive(process, "MLflow") and answers(f"{url}/health"), 120, "MLflow to answer")
        yield url


@contextlib.contextmanager
def prometheus_server(cluster: Cluster, namespace: str, folder: Path, port: int = 9000, seconds: float = 1) -> Iterator[str]:
    """Prometheus on this machine, which scrapes `/metrics` of every running pod of a namespace at one port; yields its address.

    It asks through the API server, so that it works where this machine does not reach pods. Series carry `namespace`, `pod` and the
    pod's labels as `label_<name>`. Debian's Prometheus cannot ask Kubernetes for pods itself: a thread does, and writes them into a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    api = cluster.core.api_client.configuration
    scheme, _, host = api.host.rstrip("/").partition("://")
    pods: dict[str, Any] = {"job_name": "pods", "scheme": scheme, "file_sd_configs": [{"files": [str(folder / "pods.json")]}]}
    pods["tls_config"] = {"insecure_skip_verify": not api.verify_ssl}
    for ours, theirs in (("ca_file", api.ssl_ca_cert), ("cert_file", api.cert_file), ("key_file", api.key_file)):
        if theirs:  # kept beside Prometheus: the client removes its own copies when it ends
            pods["tls_config"][ours] = str(shutil.copy(theirs, folder / ours))
    if token := api.get_api_key_with_prefix("authorization"):
        pods["authorization"] = {"type": "Bearer", "credentials": token.removeprefix("Bearer ")}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"global": {"scrape_interval": f"{seconds:g}s"}, "scrape_configs": [pods]}))
    listen = f"{cluster.host_address}:{free_port(cluster.host_address)}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    ended = threading.Event()
    watcher = threading.Thread(target=_write_pods, args=(cluster, namespace, host, port, folder, ended))
    watcher.start()
    try:
        with program("prometheus", [*command, f"--web.listen-address={listen}"], {}, folder) as process:
            wait_until(lambda: _alive(process, "Prometheus") and answers(f"http://{listen}/-/ready"), 60, "Prometheus to answer")
            yield f"http://{listen}"
    finally:
        ended.set()
        watcher.join()


def _write_pods(cluster: Cluster, namespace: str, host: str, port: int, folder: Path, ended: threading.Event) -> None:
    """Keep the file of what Prometheus scrapes up to date."""
    before = None
    while not ended.wait(0.5):
        try:
            pods = [pod for pod in cluster.pods(namespace) if pod.status.phase == "Running"]
        except (client.ApiException, urllib3.exceptions.HTTPError) as error:
            print(f"The pods of {namespace} cannot be listed now: {error}")
            continue
        found = [
            {
                "targets": [host],
                "labels": {
                    "__metrics_path__": f"/api/v1/namespaces/{namespace}/pods/{pod.metadata.name}:{port}/proxy/metrics",
                    "namespace": namespace,
                    "pod": pod.metadata.name,
                    "instance": pod.metadata.name,
                    **{f"label_{re.sub('[^a-zA-Z0-9]', '_', name)}": value for name, value in (pod.metadata.labels or {}).items()},
                },
            }
            for pod in pods
        ]
        if found != before:
            unfinished = folder / "pods.unfinished"
            unfinished.write_text(json.dumps(found))
            os.replace(unfinished, folder / "pods.json")
            before = found


@contextlib.contextmanager
def program(
    name: str, command: list[str], environment: Mapping[str, str], folder: Path, stop: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A server of this machine, ended with all its children; what it says is in `<folder>/<name>.log`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PERENNIAL_", "AWS_", "AIRFLOW", "PYTHON", "MLFLOW_"))}
    with open(folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command, env={**inherited, **environment}, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            print(f"{name} did not end by itself; its log is {folder / name}.log")
        with contextlib.suppress(ProcessLookupError):  # nobody is left of it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _alive(process: subprocess.Popen[bytes], name: str) -> bool:
    assert process.poll() is None, f"{name} ended with {process.returncode} before it answered"
    return True


def free_port(address: str) -> int:
    """A port of this address that nobody listens on now."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether something answers there without an error."""
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition()`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise TimeoutError(f"{what} did not come true in {seconds:g} s")


# -- pod templates ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Templates:
    """Pod templates of one namespace, and what they refer to."""

    folder: Path
    namespace: str
    settings: dict[str, str] = field(default_factory=dict)  # the ConfigMap: PERENNIAL_… of every stage pod


def write_templates(cluster: Cluster, namespace: str, folder: Path, settings: Mapping[str, str], secret: Mapping[str, str]) -> Templates:
    """Write `stage.yaml`, `release.yaml`, `rollback.yaml`, `server.yaml`, and create the ConfigMaps, Secret and accounts they name.

    The folder that a release's pod needs itself, for `server.yaml`, is a ConfigMap too.

    Args:
        cluster: where the namespace is.
        namespace: of stages and served versions alike.
        folder: where the templates are written; the value of PERENNIAL_POD_TEMPLATES.
        settings: `PERENNIAL_…` variables of every pod.
        secret: variables that nobody may read in a pod's manifest, such as `AWS_SECRET_ACCESS_KEY`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stage = _pod("workload", "perennial-stage")
    release = copy.deepcopy(stage)
    release["spec"] |= {"serviceAccountName": "perennial-release", "automountServiceAccountToken": True}
    release["spec"]["volumes"].append({"name": "templates", "configMap": {"name": TEMPLATES}})
    release["spec"]["containers"][0]["volumeMounts"].append({"name": "templates", "mountPath": TEMPLATES_IN_PODS, "readOnly": True})
    release["spec"]["containers"][0]["env"] = [{"name": "PERENNIAL_POD_TEMPLATES", "value": TEMPLATES_IN_PODS}]
    server = _pod("serving", "perennial-server")
    server["spec"]["containers"][0]["env"] = [{"name": "PERENNIAL_HOST", "value": "0.0.0.0"}]
    texts = {
        f"{name}.yaml": yaml.safe_dump(pod, sort_keys=False)
        for name, pod in {"stage": stage, "release": release, "rollback": release, "server": server}.items()
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    _create_what_they_name(cluster, namespace, settings, secret, texts)
    return Templates(folder, namespace, dict(settings))


def _create_what_they_name(
    cluster: Cluster, namespace: str, settings: Mapping[str, str], secret: Mapping[str, str], texts: Mapping[str, str]
) -> None:
    core = cluster.core
    core.create_namespaced_config_map(namespace, {"metadata": {"name": CONFIG_MAP}, "data": dict(settings)})
    core.create_namespaced_config_map(namespace, {"metadata": {"name": TEMPLATES}, "data": dict(texts)})
    data = {k: base64.b64encode(v.encode()).decode() for k, v in secret.items()}
    core.create_namespaced_secret(namespace, {"metadata": {"name": SECRET}, "data": data})
    for account in ("perennial-stage", "perennial-release", "perennial-server"):
        core.create_namespaced_service_account(namespace, {"metadata": {"name": account}, "automountServiceAccountToken": False})
    whole = ["get", "list", "create", "update", "delete"]
    rules = [
        {"apiGroups": ["machinelearning.seldon.io"], "resources": ["seldondeployments"], "verbs": whole},
        {"apiGroups": ["mlops.seldon.io"], "resources": ["models", "experiments"], "verbs": whole},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    cluster.rights.create_namespaced_role(namespace, {"metadata": {"name": "perennial-release"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "perennial-release", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "perennial-release"}
    binding = {"metadata": {"name": "perennial-release"}, "subjects": [subject], "roleRef": role}
    cluster.rights.create_namespaced_role_binding(namespace, binding)


def _pod(name: str, account: str) -> dict[str, Any]:
    """A pod of one of the images, as restricted as can be."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"app.kubernetes.io/part-of": "perennial"}},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "base",
                    "image": image(name),
                    "imagePullPolicy": pull_policy(),
                    "envFrom": [{"configMapRef": {"name": CONFIG_MAP}}, {"secretRef": {"name": SECRET}}],
                    "resources": {"requests": {"cpu": "50m", "memory": "128M"}},  # promised: any node has room; the spec sets the limits
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "home", "mountPath": "/var/lib/perennial"},
                    ],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}],
        },
    }


def main() -> int:
    """Say whether the cluster answers."""
    reason = why_not()
    print(reason or f"The cluster of {os.environ['KUBECONFIG']} answers.")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
