"""Base of the operators that run a stage on the cluster and wait for it in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

from perennial.errors import PerennialError
from perennial_airflow.cluster_access import message
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.stage_end import give_up
from perennial_airflow.stage_pod import made_up, not_created, over_time

if TYPE_CHECKING:
    from airflow.sdk import Context

SCHEDULE_SECONDS = 3600
START_SECONDS = 1800  # an image with CUDA is some gigabytes
REMOVAL_SECONDS = 120.0
PAUSE_SECONDS = 1.0
UNANSWERED = (ApiException, HTTPError, WebSocketException, OSError)
GONE = (404, 409)  # gone already, or another one has the name

Plain = dict[str, Any]


class NotCreated(Exception):
    """The cluster would not take what a stage runs in."""

    def __init__(self, stage: str, manifest: Mapping[str, Any], error: ApiException) -> None:
        metadata = manifest["metadata"]
        self.result = not_created(stage, metadata["name"], metadata["namespace"], int(error.status or 0), message(error))
        super().__init__(self.result["sentence"])


class ClusterStage(StageOperator):
    """A stage that runs in something of the cluster's, which every try of the task finds again."""

    KIND: ClassVar[str]  # of what a stage runs in

    @cached_property
    def hook(self) -> KubernetesHook:
        """The cluster that Airflow runs in, else that of $KUBECONFIG: no Airflow connection is needed, and none is asked for."""
        return KubernetesHook(conn_id=None, kubernetes_conn_id=None)

    def execute(self, context: Context) -> Any:
        """Find or start what the stage runs in, then wait for it in the triggerer.

        Raises:
            TaskDeferred: always, unless there is nothing to wait for.
            StageFault: the stage cannot be started.
        """
        try:
            running = self._find_or_start(context)
        except PerennialError as error:
            return self._conclude(made_up("fault", str(error)), context)
        except NotCreated as error:
            return self._conclude(error.result, context)
        except ConfigException as error:
            return self._conclude(
                made_up("fault", f"Airflow knows no cluster: {error} Set KUBECONFIG, or run Airflow in the cluster."), context
            )
        except UNANSWERED as error:
            return self._conclude(self._unanswered(error), context)
        self._wait_for(running, context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the wait; a watch that broke leaves nothing without a task that will look after it."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            self._remove_left(context)
            assert self.execution_timeout is not None, "the wait ended by it"
            return self._conclude(over_time(self.stage, self.execution_timeout), context)
        except TaskDeferralError as error:
            if context["ti"].try_number > context["ti"].max_tries:
                self._remove_left(context)
            said = f"Airflow's triggerer could not watch the {self.KIND} of the stage {self.stage}: {error}."
            give_up(self, f"{said} The next try goes on with the {self.KIND}.")

    def _find_or_start(self, context: Context) -> Any:
        """What to wait for: what an earlier try started, or something new."""
        raise NotImplementedError

    def _wait_for(self, running: Any, context: Context) -> None:
        """Defer."""
        raise NotImplementedError

    def _remove_left(self, context: Context) -> None:
        """Remove whatever any try of this task started."""
        raise NotImplementedError

    def _unanswered(self, error: Exception) -> Plain:
        """The result of a stage whose cluster does not answer."""
        sentence = f"The cluster does not answer Airflow ({_said(error)})."
        return made_up("fault", f"{sentence} A {self.KIND} that runs is left alone: the next try goes on with it.")

    def _tell_left(self, name: str, error: Exception) -> None:
        """Say that something could not be deleted."""
        self.log.warning("The %s %s could not be deleted (%s): delete it by hand.", self.KIND, name, _said(error))

    def _time_left(self, context: Context) -> timedelta | None:
        """What is left of the task's execution_timeout, over all its waits."""
        if self.execution_timeout is None:
            return None
        return max(self.execution_timeout - timedelta(seconds=time.time() - context["ti"].start_date.timestamp()), timedelta(seconds=1))


def plain(kubernetes_object: Any) -> Any:
    """An object of the API, or a list of them, as manifests."""
    return client.ApiClient().sanitize_for_serialization(kubernetes_object)


def address(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What tells an object of the cluster from all others."""
    return {key: manifest["metadata"][key] for key in ("name", "namespace", "uid")}


def _said(error: Exception) -> str:
    return f"{error.status} {message(error)}" if isinstance(error, ApiException) else " ".join(str(error).split())[:300]
