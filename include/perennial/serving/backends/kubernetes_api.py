"""The Kubernetes API as serving needs it: plain documents of one namespace, and every refusal as one sentence."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from perennial.errors import LedgerConflict, ServiceUnreachable

Json = dict[str, Any]

NOT_FOUND, CONFLICT, FORBIDDEN, UNAUTHORIZED = 404, 409, 403, 401
_SECONDS = (5.0, 30.0)  # to connect, to answer
_LOG_LINES = 5
_TRIES = 5
_GROUPS = {
    "pods": "/api/v1",
    "deployments": "/apis/apps/v1",
    "seldondeployments": "/apis/machinelearning.seldon.io/v1",
    "models": "/apis/mlops.seldon.io/v1alpha1",
    "experiments": "/apis/mlops.seldon.io/v1alpha1",
    "inferenceservices": "/apis/serving.kserve.io/v1beta1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
}
# What brings kinds that a cluster may lack, by a word of their group, and the setting that chooses it.
_PRODUCTS = {
    "seldon": ("Seldon Core", "PERENNIAL_SELDON_DIALECT or PERENNIAL_SERVING"),
    "kserve": ("KServe", "PERENNIAL_SERVING"),
    "gateway": ("the Gateway API", "PERENNIAL_INGRESS"),
}


class Missing(Exception):
    """There is no such object."""


class Conflict(Exception):
    """The object is there already, or was changed since it was read."""


class KubernetesApi:
    """Objects of one namespace.

    Inside a cluster the pod's service account is used, elsewhere the file that $KUBECONFIG names (`~/.kube/config` if it is not set).

    Raises:
        ServiceUnreachable: there is neither.
    """

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        self.namespace = namespace
        configuration = client.Configuration()
        try:
            try:  # in the order of Airflow's Kubernetes hook, so that stages and versions are always in one cluster
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except config.ConfigException as error:
            raise ServiceUnreachable(
                f"No Kubernetes cluster is named ({error}): set KUBECONFIG to a cluster's file, "
                "or give the pod a service account with its token."
            ) from error
        self._client = client.ApiClient(configuration)

    def get(self, plural: str, name: str) -> Json:
        """One object. Raises Missing."""
        document: Json = self._call("GET", f"{_path(plural, self.namespace)}/{name}", f"get {plural}")
        return document

    def list(self, plural: str, labels: Mapping[str, str]) -> list[Json]:
        """All objects with these labels."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        documents: list[Json] = self._call("GET", _path(plural, self.namespace), f"list {plural}", query={"labelSelector": selector})[
            "items"
        ]
        return documents

    def create(self, plural: str, document: Json) -> Json:
        """Make an object. Raises Conflict if it is there."""
        created: Json = self._call("POST", _path(plural, self.namespace), f"create {plural}", body=document)
        return created

    def replace(self, plural: str, document: Json) -> Json:
        """Write an object anew. Raises Conflict if it was changed since its `resourceVersion`, Missing if it is gone."""
        name = document["metadata"]["name"]
        replaced: Json = self._call("PUT", f"{_path(plural, self.namespace)}/{name}", f"update {plural}", body=document)
        return replaced

    def find(self, plural: str, name: str) -> Json | None:
        """One object; None if there is none."""
        try:
            return self.get(plural, name)
        except Missing:
            return None

    def write_if_unchanged(
        self, plural: str, live: Json | None, wanted: Json, *, same: Callable[[Json, Json], bool], ours: Callable[[Json], Any]
    ) -> Json:
        """Make an object what is wanted, unless somebody else has changed it since it was read; returns it as it is then.

        An operator changes an object too, its status: that is no other writer.

        Args:
            plural: kind of the object.
            live: the object as it was read; None if there was none.
            wanted: the object as it is to be.
            same: whether a live object is what is wanted.
            ours: the part of a live object that only writers like this one change.

        Raises:
            LedgerConflict: another writer came between.
        """
        name = wanted["metadata"]["name"]
        for _ in range(_TRIES):
            if live is not None and same(live, wanted):
                return live
            try:
                if live is None:
                    return self.create(plural, wanted)
                version = live["metadata"]["resourceVersion"]
                return self.replace(plural, {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}})
            except (Conflict, Missing):
                newest = self.find(plural, name)
            if newest is None or live is None or ours(live) != ours(newest):
                break
            live = newest
        raise LedgerConflict(
            f"Another writer changed the {wanted['kind']} {name} at the same time. Run the stage again: it decides on what holds now."
        )

    def put(self, plural: str, wanted: Json, *, same: Callable[[Json, Json], bool], ours: Callable[[Json], Any]) -> None:
        """Make an object what is wanted, whatever it was; the arguments are those of `write_if_unchanged`.

        Raises:
            LedgerConflict: others keep changing it.
        """
        name = wanted["metadata"]["name"]
        for _ in range(_TRIES):
            with contextlib.suppress(LedgerConflict):
                self.write_if_unchanged(plural, self.find(plural, name), wanted, same=same, ours=ours)
                return
        raise LedgerConflict(f"Others keep changing {name} of {plural} at the same time. Run the stage again.")

    def delete(self, plural: str, name: str) -> None:
        """Remove an object and what it owns. No error if it is gone."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        try:
            self._call("DELETE", f"{_path(plural, self.namespace)}/{name}", f"delete {plural}", body=options)
        except Missing:
            return

    def last_lines(self, pod: str, container: str) -> str:
        """The last log lines of a container that died; empty if there are none."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        query = {"container": container, "tailLines": str(_LOG_LINES), "previous": "true"}
        try:
            return str(self._call("GET", path, "get pods/log", query=query, text=True)).strip()
        except Missing:
            return ""

    def _call(
        self, method: str, path: str, what: str, *, query: Mapping[str, str] | None = None, body: Json | None = None, text: bool = False
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            answer = self._client.call_api(
                path, method, query_params=list((query or {}).items()), body=body, auth_settings=["BearerToken"],
                header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
                _preload_content=False, _return_http_data_only=True, _request_timeout=_SECONDS,
            )  # fmt: skip
            content = answer.data.decode(errors="replace")
            return content if text else json.loads(content)
        except ApiException as error:
            raise self._told(error.status, error.body, path, what) from error
        except (HTTPError, OSError, ValueError) as error:
            why = getattr(error, "reason", None) or error  # a retried request tells its last failure
            raise ServiceUnreachable(
                f"The Kubernetes API at {self._client.configuration.host} does not answer ({type(why).__name__}: {why}): "
                "check the cluster and $KUBECONFIG."
            ) from error

    def _told(self, status: int, body: Any, path: str, what: str) -> Exception:
        message, details = _message(body)
        if status == NOT_FOUND and not details:  # the whole kind is unknown, not one object of it
            group = path.split("/")[2]
            product, setting = next((known for word, known in _PRODUCTS.items() if word in group), ("its kind", "PERENNIAL_SERVING"))
            return ServiceUnreachable(
                f"The cluster knows no {what.rpartition(' ')[2]} of {group}: {product} is not installed there, or not in this version. "
                f"Install it, or set {setting} to what is there."
            )
        if status == NOT_FOUND:
            return Missing(message)
        if status == CONFLICT:
            return Conflict(message)
        if status in (FORBIDDEN, UNAUTHORIZED):
            return ServiceUnreachable(
                f"The cluster does not let this account {what} in the namespace {self.namespace} ({message}): "
                "give it that right, or use another account."
            )
        if "log" in what and status == 400:  # the container has not died before
            return Missing(message)
        return ServiceUnreachable(f"The cluster refused to {what} in the namespace {self.namespace} ({status}: {message}).")


def _path(plural: str, namespace: str) -> str:
    return f"{_GROUPS[plural]}/namespaces/{namespace}/{plural}"


def _message(body: Any) -> tuple[str, Any]:
    """The API's error message with the object that it is about, if its kind is known."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        answer = json.loads(text)
        return str(answer.get("message", text)), (answer.get("details") or {}).get("name")
    except ValueError:
        return text.strip()[:300], None
