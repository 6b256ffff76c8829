"""Runs a stage on several nodes of the cluster at once, watched by the triggerer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from perennial.settings import Settings
from perennial.specs import ComputeSpec
from perennial.stage_command import stage_command
from perennial_airflow.operators.cluster_stage import (
    GONE,
    PAUSE_SECONDS,
    REMOVAL_SECONDS,
    SCHEDULE_SECONDS,
    START_SECONDS,
    UNANSWERED,
    ClusterStage,
    NotCreated,
    address,
    plain,
)
from perennial_airflow.stage_job import JOB_LABEL, RESULT_FILE, answer_of, condition, culprit, job_name, render_job, render_service
from perennial_airflow.stage_pod import apply_compute, give_run, main_container, pod_template, read_template
from perennial_airflow.trace_context import give_trace
from perennial_airflow.triggers.job_watch import JobWatch

if TYPE_CHECKING:
    from airflow.sdk import Context


class JobStage(ClusterStage):
    """A stage as a Job with one pod for each node.

    The Job's name comes from the task and what the stage works on, so that every try of the task finds the Job of the tries before it: one
    that works is watched further, the result of one that ended well is taken, and only otherwise the stage is started again.

    Args:
        compute: what each node may use, and how many there are.
        schedule_seconds: how long a pod may wait for a node of the cluster. A queue may hold the Job for as long as it likes.
        start_seconds: how long a pod may then take to start.
    """

    KIND = "Job"

    def __init__(
        self, *, compute: ComputeSpec, schedule_seconds: float = SCHEDULE_SECONDS, start_seconds: float = START_SECONDS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.compute = compute
        self.schedule_seconds, self.start_seconds = schedule_seconds, start_seconds
        self._job: dict[str, str] | None = None

    def _wait_for(self, running: dict[str, str], context: Context) -> None:
        watch = JobWatch(
            **running,
            stage=self.stage,
            nodes=self.compute.nodes,
            schedule_seconds=self.schedule_seconds,
            start_seconds=self.start_seconds,
        )
        self.defer(trigger=watch, method_name="take_result", kwargs={"job": running}, timeout=self._time_left(context))

    def take_result(self, context: Context, event: dict[str, Any], job: dict[str, str]) -> Any:
        """Remove the Job that was watched, and conclude.

        Raises:
            NothingToDo: the task is skipped.
            StageRefused: a decision against; not retried.
            StageFault: the stage broke; retried.
        """
        self._job = job
        self._remove(job)
        result = event["result"]
        if event["last"] and event["last"] != result["sentence"]:
            self.log.info("%s", event["last"])
        if event["lines"]:
            self.log.warning("The last lines of the pod %s:\n%s", event["broken"], "\n".join(event["lines"]))
        return self._conclude(result, context)

    def on_kill(self) -> None:
        """End the stage: its Job is deleted, with its pods and its Service."""
        if self._job:
            self._remove(self._job)

    def manifest(self, context: Context) -> dict[str, Any]:
        """The Job, as it is sent to the cluster.

        Raises:
            SettingMissing: there is no usable template.
        """
        settings = Settings.from_environment()
        pod = apply_compute(read_template(pod_template(settings, self.stage)), self.compute)
        give_run(main_container(pod), os.environ)
        give_trace(pod)
        ti = context["ti"]
        identity = [ti.dag_id, context["run_id"], ti.task_id, ti.map_index, self.arguments]
        job = render_job(
            pod,
            name=job_name(str(self.arguments["model"]), self.stage, identity),
            nodes=self.compute.nodes,
            arguments=[*stage_command(self.stage, self.arguments), f"--result={RESULT_FILE}"],
            labels=(pod.get("metadata") or {}).get("labels") or {},
            seconds=self.execution_timeout.total_seconds() if self.execution_timeout else None,
        )
        job["metadata"]["namespace"] = settings.pod_namespace
        return job

    # -- the Job of this task ------------------------------------------------------------------------------------

    def _find_or_start(self, context: Context) -> dict[str, str]:
        """Address of the Job to watch: one of an earlier try, or a new one."""
        wanted = self.manifest(context)
        name, namespace = wanted["metadata"]["name"], wanted["metadata"]["namespace"]
        self.log.info("perennial %s", " ".join(stage_command(self.stage, self.arguments)))
        deadline = time.monotonic() + REMOVAL_SECONDS
        while True:
            if job := self._read(name, namespace):
                if self._is_usable(job):
                    self.log.info("It goes on in the Job %s, which an earlier try started.", name)
                    self._serve(job)
                    return address(job)
                self._clear_away(job, deadline)
            elif made := self._create(wanted):
                self._job = address(made)
                self._serve(made)
                self.log.info("It runs on %d nodes in the Job %s of the namespace %s.", self.compute.nodes, name, namespace)
                return self._job
            time.sleep(PAUSE_SECONDS)

    def _create(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The Job as the cluster took it; None if there is one of this name already.

        Raises:
            NotCreated: the cluster would not take it.
        """
        try:
            made: dict[str, Any] = plain(self._batch.create_namespaced_job(job["metadata"]["namespace"], job))
        except ApiException as error:
            if error.status == 409:
                return None
            raise NotCreated(self.stage, job, error) from None
        return made

    def _serve(self, job: dict[str, Any]) -> None:
        """Make the Service of a Job, unless it is there; one that still belongs to an earlier Job would soon be gone."""
        service, namespace = render_service(job), job["metadata"]["namespace"]
        name = service["metadata"]["name"]
        while True:
            try:
                self._core.create_namespaced_service(namespace, service)
                return
            except ApiException as error:
                if error.status != 409:
                    self._remove(address(job))
                    raise NotCreated(self.stage, job, error) from None
            owners = self._owners(name, namespace)
            if owners == [job["metadata"]["uid"]]:
                return
            if owners is not None:
                self._ignoring_absence(self._core.delete_namespaced_service, name, namespace)
            time.sleep(PAUSE_SECONDS)

    def _owners(self, name: str, namespace: str) -> list[str] | None:
        """Whom a Service belongs to; None if it is gone."""
        try:
            service = self._core.read_namespaced_service(name, namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            return None
        return [owner.uid for owner in service.metadata.owner_references or []]

    def _is_usable(self, job: dict[str, Any]) -> bool:
        """Whether a Job still works, or ended with a result that another try need not repeat."""
        if job["metadata"].get("deletionTimestamp"):
            return False
        pods = self._pods(job)
        return answer_of(pods) is not None or not (condition(job, "Failed") or condition(job, "Complete") or culprit(pods))

    def _clear_away(self, job: dict[str, Any], deadline: float) -> None:
        """Remove a Job of an earlier try, which keeps its name until its pods are gone."""
        if not job["metadata"].get("deletionTimestamp"):
            self.log.info("The Job %s of an earlier try is removed: the stage starts again.", job["metadata"]["name"])
            self._remove(address(job))
        elif time.monotonic() > deadline:
            for pod in self._pods(job):  # nobody ends them: their nodes do not answer
                metadata = pod["metadata"]
                self.log.warning("The pod %s of an earlier try does not end: it is forgotten.", metadata["name"])
                self._ignoring_absence(self._core.delete_namespaced_pod, metadata["name"], metadata["namespace"], grace_period_seconds=0)

    def _read(self, name: str, namespace: str) -> dict[str, Any] | None:
        try:
            job: dict[str, Any] = plain(self._batch.read_namespaced_job(name, namespace))
        except ApiException as error:
            if error.status != 404:
                raise
            return None
        return job

    def _pods(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        metadata = job["metadata"]
        listed = self._core.list_namespaced_pod(metadata["namespace"], label_selector=f"{JOB_LABEL}={metadata['name']}")
        return [plain(pod) for pod in listed.items]

    def _remove(self, job: Mapping[str, str]) -> None:
        wanted = client.V1DeleteOptions(propagation_policy="Foreground", preconditions=client.V1Preconditions(uid=job["uid"]))
        try:
            self._batch.delete_namespaced_job(job["name"], job["namespace"], body=wanted)
        except UNANSWERED as error:
            if getattr(error, "status", None) not in GONE:
                self._tell_left(job["name"], error)

    def _remove_left(self, context: Context) -> None:
        metadata = self.manifest(context)["metadata"]
        if job := self._read(metadata["name"], metadata["namespace"]):
            self._remove(address(job))

    def _ignoring_absence(self, delete: Any, *arguments: Any, **named: Any) -> None:
        try:
            delete(*arguments, **named)
        except ApiException as error:
            if error.status != 404:
                raise

    @property
    def _batch(self) -> client.BatchV1Api:
        return self.hook.batch_v1_client

    @property
    def _core(self) -> client.CoreV1Api:
        return self.hook.core_v1_client
