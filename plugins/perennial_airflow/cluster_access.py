"""The cluster, asked asynchronously: the one that Airflow runs in, by its service account, else the one that $KUBECONFIG names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kubernetes_asyncio import client, config

ANSWER_SECONDS = 30


@asynccontextmanager
async def cluster_client() -> AsyncIterator[client.ApiClient]:
    """A client of the cluster's API, for some minutes: credentials change.

    It looks for no Airflow connection: the triggerer would load half of Airflow's API server to ask for one.

    Raises:
        kubernetes_asyncio.config.ConfigException: there is neither a service account nor a configuration.
    """
    access = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=access)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(client_configuration=access)
    async with client.ApiClient(access) as connection:
        yield connection


class PodAccess:
    """What can be asked of one pod.

    Args:
        connection: client of the cluster's API.
        name: name of the pod.
        namespace: its namespace.
    """

    def __init__(self, connection: client.ApiClient, name: str, namespace: str) -> None:
        self._connection = connection
        self._core = client.CoreV1Api(connection)
        self._name, self._namespace = name, namespace

    async def read(self) -> dict[str, Any]:
        """The pod as the API says it."""
        pod = await self._core.read_namespaced_pod(self._name, self._namespace, _request_timeout=ANSWER_SECONDS)
        as_json: dict[str, Any] = self._connection.sanitize_for_serialization(pod)
        return as_json

    async def events(self) -> list[dict[str, Any]]:
        """What the cluster tells of pods of this name, oldest first."""
        about = f"involvedObject.kind=Pod,involvedObject.name={self._name}"
        listed = await self._core.list_namespaced_event(self._namespace, field_selector=about, _request_timeout=ANSWER_SECONDS)
        return in_order(self._connection.sanitize_for_serialization(listed.items))

    async def log(self, container: str, since_seconds: int | None) -> list[str]:
        """Lines of a container's log, each after the time at which it was written."""
        asked: dict[str, Any] = {} if since_seconds is None else {"since_seconds": since_seconds}
        answer: Any = await self._core.read_namespaced_pod_log(
            self._name,
            self._namespace,
            container=container,
            timestamps=True,
            _request_timeout=ANSWER_SECONDS,
            _preload_content=False,
            **asked,
        )
        content: bytes = await answer.read()
        if answer.status != 200:
            raise client.ApiException(status=answer.status, reason=content.decode(errors="replace")[:500])
        return content.decode(errors="replace").split("\n")

    async def delete(self, uid: str, grace_seconds: int) -> None:
        """Delete the pod if it still is the one of this uid."""
        wanted = client.V1DeleteOptions(grace_period_seconds=grace_seconds, preconditions=client.V1Preconditions(uid=uid))
        try:
            await self._core.delete_namespaced_pod(self._name, self._namespace, body=wanted, _request_timeout=ANSWER_SECONDS)
        except client.ApiException as error:
            if error.status not in (404, 409):  # gone already, or another pod has the name
                raise


def in_order(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events by the time at which they were last seen."""
    return sorted(events, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or e.get("firstTimestamp") or ""))


def message(error: Any) -> str:
    """What the API server says in an ApiException of either client, without its wrapping."""
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
