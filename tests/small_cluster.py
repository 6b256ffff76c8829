"""A cluster for tests without one: a small Kubernetes API, and what operators, kubelets, an ingress and a Prometheus would do with its
objects, as far as serving needs it. No part of the product.

Pods are servers of versions at loopback addresses of their own (`small_node`), so answers, readiness, counts and golden rows are real, and
the ingress is an Envoy. What operators do follows their documentation and source:

* Seldon Core 1 moves traffic only once every predictor of an object is ready, and lets go of what left only then.
* KServe makes a Deployment and a Service `<name>-predictor` of each InferenceService; a deleted one goes at once.
* A gateway shares requests by the HTTPRoute as it stands, also to a Service without a ready pod.
"""

from __future__ import annotations

import http.client
import http.server
import itertools
import json
import os
import re
import threading
import time
import traceback
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from perennial import testing
from perennial.serving.backends.written_route import MODEL, VERSION

from .kubernetes.workload.reconciler import Ingress, Split
from .small_kubernetes import SmallKubernetes

Json = dict[str, Any]

NAMESPACE, PORT = "models", 9000
TEMPLATE = {"kind": "Pod", "spec": {"containers": [{"name": "base", "image": "perennial/serving:test"}]}}
TICK_SECONDS = 0.05
DRAIN_SECONDS = 0.3  # between the ingress that lets go of a pod and its end
_ADDRESSES = itertools.count(1)
_SERIES = re.compile(r"(\w+)\{(.*)\} (\S+)")


@dataclass
class Workload:
    """A Deployment that an operator wants."""

    name: str
    service: str
    labels: dict[str, str]
    arguments: list[str]  # of the server


@dataclass
class RunningPod:
    """A pod of a Deployment."""

    name: str
    address: str
    workload: Workload
    since: str = ""  # when it became ready
    ready: bool = False


@dataclass
class Counts:
    """What Prometheus has of a pod: its metrics as last scraped."""

    text: str = ""
    at: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)


class SmallCluster:
    """Runs until `stop`."""

    def __init__(self, folder: Path, venvs: Path, store: str) -> None:
        self.folder, self.api = folder, SmallKubernetes()
        self.problems: list[str] = []
        self.pods: dict[str, RunningPod] = {}  # by name
        self._scraped: dict[str, Counts] = {}
        self._splits: dict[str, Split] = {}
        self._numbers = itertools.count(1)
        self._changing = threading.RLock()
        self.programs = testing.Programs(folder / "logs")
        self._node, gateway, admin = testing.free_ports(3)
        own = {"PERENNIAL_HOME": str(folder / "home"), "PERENNIAL_STORE": store, "PERENNIAL_SERVING": "seldon"}
        command = [str(venvs / "serving" / "bin" / "python"), str(Path(__file__).with_name("small_node.py")), str(self._node)]
        self.programs.add_program("node", command, own)
        self.ingress = Ingress(self.programs, folder / "ingress", venvs / "tools" / "bin" / "envoy", "127.0.0.1", gateway, admin)
        self.ingress.start()
        self._prometheus = self._start_prometheus()
        (folder / "kubeconfig").write_text(self.api.kubeconfig())
        (folder / "server.yaml").write_text(yaml.safe_dump(TEMPLATE))
        self.variables = {
            "PERENNIAL_HOME": str(folder / "home"),
            "PERENNIAL_STORE": store,
            "PERENNIAL_SERVING_NAMESPACE": NAMESPACE,
            "PERENNIAL_POD_TEMPLATES": str(folder),
            "PERENNIAL_PROMETHEUS_URL": f"http://127.0.0.1:{self._prometheus.server_address[1]}",
            "PERENNIAL_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
            "PERENNIAL_GATEWAY": f"{NAMESPACE}/public",
        }
        testing.wait_until(lambda: _answers(self._node) and _answers(gateway), 60, "the node and the ingress")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End all of it."""
        self._ended.set()
        self._thread.join()
        self.programs.shutdown()
        self._prometheus.shutdown()
        self._prometheus.server_close()
        self.api.stop()

    def kill(self, model: str, version: int) -> None:
        """End the pods of a version without a warning."""
        with self._changing:
            for pod in [*self.pods.values()]:
                if pod.workload.labels[MODEL] == model and pod.workload.labels[VERSION] == str(version):
                    self._end(pod)

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                with self._changing:
                    self._round()
            except Exception:  # noqa: BLE001 - shown by the test that asks
                self.problems.append(traceback.format_exc())

    def _round(self) -> None:
        objects = dict(self.api.objects)
        wanted = [*_of_kserve(objects), *_of_seldon(objects)]
        there = {pod.workload.name for pod in self.pods.values()}
        for workload in wanted:
            for pod in [pod for pod in self.pods.values() if pod.workload.name == workload.name]:
                if pod.workload.arguments != workload.arguments:
                    self._end(pod)
                    there.discard(workload.name)
            if workload.name not in there:
                self._begin(workload)
        for pod in self.pods.values():
            self._look(pod)
        blocked = self._move(objects)
        names = {workload.name for workload in wanted}
        leaving = [pod for pod in self.pods.values() if pod.workload.name not in names and pod.workload.labels[MODEL] not in blocked]
        self._publish(names | {pod.workload.name for pod in self.pods.values() if pod not in leaving})
        self.ingress.take_up(NAMESPACE, self._splits, self._endpoints(leaving))
        if leaving:
            time.sleep(DRAIN_SECONDS)
            for pod in leaving:
                self._end(pod)

    def _move(self, objects: dict[tuple[str, str], Json]) -> set[str]:
        """Share requests as objects say; the models whose operator waits for a version before it lets others go."""
        blocked, splits = set(), dict[str, Split]()
        for (kind, name), found in objects.items():
            if kind == "seldondeployments":
                predictors = found["spec"]["predictors"]
                ready = {pod.workload.service for pod in self.pods.values() if pod.ready}
                if not all(f"{name}-{p['name']}" in ready for p in predictors):
                    blocked.add(found["metadata"]["labels"][MODEL])
                    if name in self._splits:
                        splits.setdefault(name, self._splits[name])
                else:
                    weights = {f"{name}-{p['name']}": p.get("traffic", 0) for p in predictors if not p.get("shadow")}
                    shadow = next((f"{name}-{p['name']}" for p in predictors if p.get("shadow")), None)
                    splits.setdefault(name, Split(weights, shadow, int(found["spec"]["annotations"]["seldon.io/rest-timeout"]) / 1000))
        for (kind, name), found in objects.items():
            if kind == "httproutes":
                splits[name] = _split(found)
        by_gateway = {name for kind, name in objects if kind == "httproutes"}
        self._splits = {name: split for name, split in splits.items() if not self.behind_gateway or name in by_gateway}
        return blocked

    behind_gateway = False  # whether only what an HTTPRoute names is reached

    def _begin(self, workload: Workload) -> None:
        number = next(_ADDRESSES)
        pod = RunningPod(f"{workload.name}-{next(self._numbers)}", f"127.8.{number // 250}.{number % 250 + 1}", workload)
        given = dict(zip(workload.arguments[::2], workload.arguments[1::2], strict=True))
        self.pods[pod.name] = pod
        told = {"address": pod.address, "model": given["--model"], "version": int(given["--version"]), "digest": given["--digest"]}
        _tell(self._node, "/start", told)

    def _end(self, pod: RunningPod) -> None:
        self._scrape(pod)
        del self.pods[pod.name]
        _tell(self._node, "/stop", {"address": pod.address})

    def _look(self, pod: RunningPod) -> None:
        if not pod.ready:
            pod.ready = bool(_get(pod, "/ready")["ready"])
            pod.since = datetime.now(timezone.utc).isoformat() if pod.ready else ""

    def _publish(self, names: set[str]) -> None:
        """Deployments and pods as objects, with their status."""
        for kind, name in [key for key in self.api.objects if key[0] in ("deployments", "pods")]:
            if name not in (names if kind == "deployments" else {pod.name for pod in self.pods.values() if pod.workload.name in names}):
                self.api.objects.pop((kind, name), None)
        for pod in self.pods.values():
            if pod.workload.name not in names:
                continue
            counts = {"observedGeneration": 9, "updatedReplicas": 1, "replicas": 1, "readyReplicas": int(pod.ready)}
            meta = {"name": pod.workload.name, "labels": pod.workload.labels}
            self._state("deployments", {"metadata": meta, "spec": {"replicas": 1}, "status": counts})
            conditions = [{"type": "Ready", "status": str(pod.ready), "lastTransitionTime": pod.since}]
            meta = {"name": pod.name, "labels": pod.workload.labels}
            self._state("pods", {"metadata": meta, "status": {"podIP": pod.address, "conditions": conditions}})

    def _state(self, kind: str, document: Json) -> None:
        live = self.api.objects.get((kind, document["metadata"]["name"]))
        if live is None or live["status"] != document["status"]:
            self.api.put(kind, document)

    def _endpoints(self, leaving: list[RunningPod]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for pod in self.pods.values():
            found.setdefault(pod.workload.service, [])
            if pod.ready and pod not in leaving:
                found[pod.workload.service].append(pod.address)
        return found

    def _scrape(self, pod: RunningPod) -> None:
        with urllib.request.urlopen(f"http://{pod.address}:{PORT}/metrics", timeout=5) as answer:
            self._scraped[pod.name] = Counts(answer.read().decode(), time.time(), {"namespace": NAMESPACE, "pod": pod.name})

    def _start_prometheus(self) -> http.server.ThreadingHTTPServer:
        cluster = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                data = json.dumps(cluster.query(parse_qs(urlsplit(self.path).query)["query"][0])).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    def query(self, text: str) -> Json:
        """What Prometheus answers to one of the three questions of a look: the last values of every pod, also of those that are gone."""
        with self._changing:
            for pod in self.pods.values():
                self._scrape(pod)
            metric, model = re.search(r"(perennial_\w+)\{", text), re.search(r'model="(\w+)"', text)
            assert metric, text
            assert model, text
            rows: list[tuple[dict[str, str], float]] = []
            newest: dict[str, float] = {}
            for counts in self._scraped.values():
                for name, labels, value in _SERIES.findall(counts.text):
                    found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                    if name == metric[1] and found["model"] == model[1]:
                        rows.append(({**found, **counts.labels}, float(value)))
                        newest[found["version"]] = max(newest.get(found["version"], 0.0), counts.at)
        if text.startswith("max by"):
            rows = [({"version": version}, at) for version, at in newest.items()]
        return {"data": {"result": [{"metric": labels, "value": [time.time(), str(value)]} for labels, value in rows]}}


def _of_kserve(objects: dict[tuple[str, str], Json]) -> list[Workload]:
    """The controller of KServe, for deployments that are raw."""
    made = []
    for (kind, name), found in objects.items():
        if kind == "inferenceservices":
            assert found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
            predictor = found["spec"]["predictor"]
            (container,) = [c for c in predictor["containers"] if c["name"] == "kserve-container"]
            assert container["ports"][0]["containerPort"] == PORT  # the Service's port 80 leads to the first
            labels = {**found["metadata"]["labels"], **predictor["labels"]}
            made.append(Workload(f"{name}-predictor", f"{name}-predictor", labels, container["args"]))
    return made


def _of_seldon(objects: dict[tuple[str, str], Json]) -> list[Workload]:
    """The operator of Seldon Core 1, without an orchestrator."""
    made = []
    for (kind, name), found in objects.items():
        if kind == "seldondeployments":
            for predictor in found["spec"]["predictors"]:
                service = f"{name}-{predictor['name']}"
                (container,) = [c for c in predictor["componentSpecs"][0]["spec"]["containers"] if c["name"] == "server"]
                made.append(Workload(f"{service}-0-server", service, predictor["labels"], container["args"]))
    return made


def _split(route: Json) -> Split:
    """What a gateway makes of an HTTPRoute: first the rules that ask for more of a request."""
    asked_for, weights, shadow, seconds = {}, dict[str, int](), None, 30.0
    for rule in route["spec"]["rules"]:
        (match,) = rule["matches"]
        assert match["path"]["value"] == f"/seldon/{NAMESPACE}/{route['metadata']['name']}"
        backends = {backend["name"]: backend.get("weight", 1) for backend in rule["backendRefs"]}
        if "headers" in match:
            (header,), (service,) = match["headers"], backends
            asked_for[header["value"]] = service
        else:
            weights, seconds = backends, float(rule["timeouts"]["request"].removesuffix("ms")) / 1000
            shadow = next((f["requestMirror"]["backendRef"]["name"] for f in rule["filters"] if "requestMirror" in f), None)
    return Split(weights, shadow, seconds, asked_for)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def _tell(port: int, path: str, told: Json) -> None:
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(told).encode()), timeout=60).close()


def _get(pod: RunningPod, path: str) -> Json:
    connection = http.client.HTTPConnection(pod.address, PORT, timeout=5)
    try:
        connection.request("GET", path)
        answer: Json = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def point_at(cluster: SmallCluster) -> None:
    """Have this process's Kubernetes client talk to the cluster."""
    os.environ["KUBECONFIG"] = str(cluster.folder / "kubeconfig")
