"""For tests: what Seldon Core 1's operator and an ingress do, as far as serving needs it. No part of the product.

SeldonDeployments of one namespace become Deployments and Services with the operator's names, labels and owner, and what left
is deleted. As with the operator, traffic moves only once every Deployment of an object is ready, and the object's status says
`Available` though its newest description may not have been looked at. The ingress is an Envoy of this machine, which sends requests
to the pods' addresses: a pod network that this machine does not reach will not do.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import ApiException, CustomObjectsApi

from perennial import testing

GROUP, VERSION, PLURAL = "machinelearning.seldon.io", "v1", "seldondeployments"
PORT = 9000
ENVOY = "type.googleapis.com/envoy."
Json = dict[str, Any]


def install(cluster: Any, folder: Path) -> None:
    """Make the cluster know the kinds whose CustomResourceDefinitions are in a folder. What is there stays."""
    from kubernetes.client import ApiextensionsV1Api

    api = ApiextensionsV1Api()
    names = []
    for file in sorted(folder.rglob("*.yaml")):
        for document in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if document and document.get("kind") == "CustomResourceDefinition":
                names.append(document["metadata"]["name"])
                _complete(document)
                with contextlib.suppress(AlreadyThere):
                    _create(api.create_custom_resource_definition, document)

    def served() -> bool:
        found = {crd.metadata.name: crd for crd in api.list_custom_resource_definition().items}
        return all(any(c.type == "Established" and c.status == "True" for c in found[n].status.conditions or ()) for n in names)

    testing.wait_until(served, 60, "the kinds of Seldon Core")


def _complete(schema: Any) -> None:
    """Say of a list's items that they may be any object where a schema leaves them out, as it does of a
    graph's children; the API server asks."""
    if isinstance(schema, dict):
        items = schema.get("items")
        if schema.get("type") == "array" and isinstance(items, dict) and "type" not in items and "x-kubernetes-int-or-string" not in items:
            items.update({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
        for part in schema.values():
            _complete(part)
    elif isinstance(schema, list):
        for part in schema:
            _complete(part)


@dataclass
class Split:
    """Traffic of one object as the ingress has it."""

    weights: dict[str, int]  # by Service
    shadow: str | None
    seconds: float
    asked_for: dict[str, str] = field(default_factory=dict)  # Service of a request with this header `x-predictor`


@dataclass
class Reconciler:
    """Runs until `stop`."""

    cluster: Any
    namespace: str
    ingress: Ingress
    problems: list[str] = field(default_factory=list)
    paused: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin."""
        self._ended = threading.Event()
        self._splits: dict[str, Split] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what was made stays."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.15):
            try:
                if not self.paused.is_set():
                    self._round()
            except ApiException as error:
                if error.status not in (404, 409):  # somebody was faster: the next round sees it
                    self.problems.append(f"{error.status} {error.body}")
            except Exception:  # noqa: BLE001 - shown by the test that asks
                self.problems.append(traceback.format_exc())

    def _round(self) -> None:
        custom: CustomObjectsApi = self.cluster.custom
        objects = custom.list_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL)["items"]
        names = {found["metadata"]["name"] for found in objects}
        self._splits = {name: split for name, split in self._splits.items() if name in names}
        for found in objects:
            self._reconcile(found)
        self.ingress.take_up(self.namespace, self._splits, self._endpoints())

    def _reconcile(self, found: Json) -> None:
        name, predictors = found["metadata"]["name"], found["spec"]["predictors"]
        wanted = [_deployment(found, predictor) for predictor in predictors]
        there = {d.metadata.name: d for d in self._deployments(name)}
        ready = True
        for deployment, predictor in zip(wanted, predictors, strict=True):
            live = there.get(deployment["metadata"]["name"])
            if live is None:
                with contextlib.suppress(AlreadyThere):
                    _create(self.cluster.apps.create_namespaced_deployment, self.namespace, deployment)
                    _create(self.cluster.core.create_namespaced_service, self.namespace, _service(found, predictor))
                ready = False
            elif live.metadata.annotations.get("test/described") != deployment["metadata"]["annotations"]["test/described"]:
                deployment["metadata"]["resourceVersion"] = live.metadata.resource_version
                self.cluster.apps.replace_namespaced_deployment(live.metadata.name, self.namespace, deployment)
                ready = False
            else:
                seen = (live.status.observed_generation or 0) >= live.metadata.generation
                ready = ready and seen and bool(live.status.ready_replicas) and not live.status.unavailable_replicas
        if ready:
            services = {p["name"]: f"{name}-{p['name']}" for p in predictors}
            self._splits[name] = Split(
                {services[p["name"]]: p.get("traffic", 0) for p in predictors if not p.get("shadow")},
                next((services[p["name"]] for p in predictors if p.get("shadow")), None),
                int(found["spec"]["annotations"]["seldon.io/rest-timeout"]) / 1000,
            )
            kept = {deployment["metadata"]["name"] for deployment in wanted}
            self.ingress.take_up(self.namespace, self._splits, self._endpoints())
            for gone in set(there) - kept:
                self.cluster.apps.delete_namespaced_deployment(gone, self.namespace, propagation_policy="Foreground")
                self.cluster.core.delete_namespaced_service("-".join(gone.split("-")[:-2]), self.namespace)
        status = {"state": "Available" if ready else "Creating", "replicas": len(wanted)}
        if (found.get("status") or {}) != status:
            body = {**found, "status": status}
            self.cluster.custom.replace_namespaced_custom_object_status(GROUP, VERSION, self.namespace, PLURAL, name, body)

    def _deployments(self, name: str) -> list[Any]:
        found = self.cluster.apps.list_namespaced_deployment(self.namespace, label_selector=f"seldon-deployment-id={name}").items
        return [deployment for deployment in found if not deployment.metadata.deletion_timestamp]

    def _endpoints(self) -> dict[str, list[str]]:
        """Addresses of ready pods, by Service: a pod on its way out is none."""
        found: dict[str, list[str]] = {}
        for pod in self.cluster.pods(self.namespace, "app.kubernetes.io/managed-by=seldon-core"):
            service = pod.metadata.labels["seldon-app"]
            ready = any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())
            found.setdefault(service, [])
            if ready and not pod.metadata.deletion_timestamp:
                found[service].append(pod.status.pod_ip)
        return found


class AlreadyThere(Exception):
    """Another one made it."""


def _create(make: Any, *arguments: Any) -> None:
    try:
        make(*arguments)
    except ApiException as error:
        if error.status == 409:
            raise AlreadyThere from error
        raise


def _owner(found: Json) -> Json:
    return {
        "apiVersion": f"{GROUP}/{VERSION}", "kind": "SeldonDeployment", "name": found["metadata"]["name"],
        "uid": found["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def _deployment(found: Json, predictor: Json) -> Json:
    """As the operator makes it, for a predictor without an orchestrator."""
    name = found["metadata"]["name"]
    service, part = f"{name}-{predictor['name']}", predictor["componentSpecs"][0]
    spec = json.loads(json.dumps(part["spec"]))
    server = next(c for c in spec["containers"] if c["name"] == predictor["graph"]["name"])
    server["ports"] += [
        {"name": "metrics", "containerPort": 6000, "protocol": "TCP"},
        {"name": "grpc", "containerPort": 9500, "protocol": "TCP"},
    ]
    server["env"] += [{"name": "PREDICTIVE_UNIT_ID", "value": server["name"]}, {"name": "PREDICTOR_ID", "value": predictor["name"]}]
    server["volumeMounts"] = [*server.get("volumeMounts", []), {"name": "seldon-podinfo", "mountPath": "/etc/podinfo"}]
    annotations = {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}
    spec["volumes"] = [*spec.get("volumes", []), {"name": "seldon-podinfo", "downwardAPI": {"items": [annotations]}}]
    spec["securityContext"] = {"runAsUser": 8888}
    own = {"seldon-deployment-id": name, "seldon-app": service, "seldon-app-svc": f"{service}-{server['name']}"}
    shadow = {"seldon.io/shadow": "true"} if predictor.get("shadow") else {}
    labels = {
        **own,
        **shadow,
        "seldon.io/model": "true",
        "app.kubernetes.io/managed-by": "seldon-core",
        "fluentd": "true",
        **predictor["labels"],
    }
    described = json.dumps([spec, labels, predictor["replicas"]], sort_keys=True)
    title = f"{service}-0-{server['name']}"
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": title, "labels": {**labels, "app": title}, "ownerReferences": [_owner(found)],
            "annotations": {"test/described": described},
        },
        "spec": {
            "replicas": predictor["replicas"],
            "selector": {"matchLabels": own},
            "strategy": {"rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": {**labels, "app": title},
                    "annotations": {**found["spec"]["annotations"], **predictor["annotations"]}},
                "spec": spec,
            },
        },
    }  # fmt: skip


def _service(found: Json, predictor: Json) -> Json:
    service = f"{found['metadata']['name']}-{predictor['name']}"
    return {
        "metadata": {"name": service, "ownerReferences": [_owner(found)], "labels": {"seldon-app": service}},
        "spec": {"selector": {"seldon-app": service}, "ports": [{"name": "http", "port": PORT, "targetPort": PORT}]},
    }


@dataclass
class Ingress:
    """An Envoy that does what Istio's VirtualServices of Seldon Core say: weights, one mirror, retries of what no pod took."""

    programs: testing.Programs
    folder: Path
    envoy: Path
    host: str
    port: int
    admin_port: int

    def start(self) -> None:
        """Start it without a route."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._written: dict[str, str] = {}
        self.take_up("", {}, {})
        (self.folder / "bootstrap.json").write_text(json.dumps(self._bootstrap()))
        command = [
            str(self.envoy),
            "-c",
            str(self.folder / "bootstrap.json"),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "--log-level",
            "warning",
        ]
        self.programs.add_program("ingress", command, {})

    def take_up(self, namespace: str, splits: dict[str, Split], endpoints: dict[str, list[str]]) -> None:
        """Send requests so; returns once Envoy has read it."""
        named = {service for split in splits.values() for service in (*split.weights, *([split.shadow] if split.shadow else []))}
        for service in sorted(named | set(endpoints)):
            places = [{"endpoint": {"address": _address(ip, PORT)}} for ip in sorted(endpoints.get(service, []))]
            load = {"cluster_name": service, "endpoints": [{"lb_endpoints": places}]}
            self._write(f"eds-{service}", [{"@type": f"{ENVOY}config.endpoint.v3.ClusterLoadAssignment", **load}])
        self._write("cds", [self._cluster(service) for service in sorted(named | set(endpoints))])
        changed = self._write("rds", [self._routes(namespace, splits)])
        if changed and namespace:
            time.sleep(0.3)  # it watches its files

    def _write(self, name: str, resources: list[Json]) -> bool:
        text = json.dumps({"resources": resources})
        if self._written.get(name) == text:
            return False
        unfinished = self.folder / f".{name}.{os.getpid()}"
        unfinished.write_text(text)
        unfinished.replace(self.folder / f"{name}.json")
        self._written[name] = text
        return True

    def _routes(self, namespace: str, splits: dict[str, Split]) -> Json:
        table = []
        for name, split in sorted(splits.items()):
            clusters = [{"name": service, "weight": weight} for service, weight in split.weights.items()]
            mirror = {"request_mirror_policies": [{"cluster": split.shadow}]} if split.shadow else {}
            retry = {"retry_on": "gateway-error,connect-failure,refused-stream", "num_retries": 2}
            action = {
                "weighted_clusters": {"clusters": clusters},
                "prefix_rewrite": "/",
                "timeout": f"{split.seconds:g}s",
                "retry_policy": retry,
                **mirror,
            }
            prefix = f"/seldon/{namespace}/{name}/"
            for value, service in split.asked_for.items():
                header = {"name": "x-predictor", "string_match": {"exact": value}}
                table.append({"match": {"prefix": prefix, "headers": [header]}, "route": {"cluster": service, "prefix_rewrite": "/"}})
            table.append({"match": {"prefix": prefix}, "route": action})
        hosts = [{"name": "models", "domains": ["*"], "routes": table}]
        return {"@type": f"{ENVOY}config.route.v3.RouteConfiguration", "name": "models", "virtual_hosts": hosts}

    def _cluster(self, service: str) -> Json:
        source = self._watched(f"eds-{service}")
        return {
            "@type": f"{ENVOY}config.cluster.v3.Cluster", "name": service, "type": "EDS", "connect_timeout": "1s",
            "eds_cluster_config": {"service_name": service, "eds_config": source},
        }  # fmt: skip

    def _watched(self, name: str) -> Json:
        path = {"path": str(self.folder / f"{name}.json"), "watched_directory": {"path": str(self.folder)}}
        return {"resource_api_version": "V3", "path_config_source": path}

    def _bootstrap(self) -> Json:
        router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{ENVOY}extensions.filters.http.router.v3.Router"}}
        manager = {
            "@type": f"{ENVOY}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "models", "rds": {"route_config_name": "models", "config_source": self._watched("rds")},
            "http_filters": [router],
        }  # fmt: skip
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        return {
            "node": {"id": "ingress", "cluster": "tests"},
            "admin": {"address": _address("127.0.0.1", self.admin_port)},
            "dynamic_resources": {"cds_config": self._watched("cds")},
            "static_resources": {"listeners": [{"name": "models", "address": _address(self.host, self.port), "filter_chains": [chain]}]},
        }


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}
