"""Runs a stage as a pod of the cluster, watched by the triggerer."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from perennial.errors import EXIT_DONE, EXIT_FAULT, EXIT_REFUSED
from perennial.settings import Settings
from perennial.specs import ComputeSpec
from perennial.stage_command import stage_command
from perennial_airflow.cluster_access import in_order, message
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
from perennial_airflow.operators.collect_stage import FILE, VARIABLE, Collects
from perennial_airflow.operators.experiment_stage import ExperimentLooks
from perennial_airflow.operators.release_stage import ReleaseLooks
from perennial_airflow.operators.stage import StageOperator
from perennial_airflow.stage_pod import (
    MAIN,
    RESULT_FILE,
    SIDE_CAR,
    apply_compute,
    ending_of,
    give_run,
    has_ended,
    main_container,
    main_state,
    mark_of,
    merge_side_car,
    pod_name,
    pod_template,
    read_template,
    waits_for_side_car,
)
from perennial_airflow.trace_context import give_trace
from perennial_airflow.triggers.pod_watch import KILL_GRACE_SECONDS, PodWatch, is_away

if TYPE_CHECKING:
    from airflow.sdk import Context

TASK_LABEL = "perennial/task"  # the same for all pods of a task instance, whatever they work on
NO_INPUTS = ("retry",)  # arguments that tell how often a stage was tried, not what it works on
QUOTA_SECONDS = 20.0  # a pod that has just ended still counts
RESULT_SECONDS = 180.0
CONNECTIONS = "/perennial/connections"  # where a pod finds what its source asks for


class PodStage(ClusterStage, KubernetesPodOperator):  # type: ignore[misc] # its list of arguments is made of ours by name, for a moment
    """A stage as a pod.

    The pod's name comes from what the stage works on, so that every try of the task finds the pod of the tries before it: a running one is
    watched further, the result of one that ended well is taken, and only otherwise the stage is started again.

    Args:
        compute: what the pod may use; the template says it if None.
    """

    KIND = "pod"
    template_fields = StageOperator.template_fields
    _looks = 0  # pods that this try of the task had before: a release has one for each look

    def __init__(self, *, compute: ComputeSpec | None = None, **kwargs: Any) -> None:
        given = {"startup_timeout_seconds": START_SECONDS, "schedule_timeout_seconds": SCHEDULE_SECONDS, **kwargs}
        super().__init__(
            deferrable=True,
            durable=True,
            random_name_suffix=False,
            do_xcom_push=True,
            log_pod_spec_on_failure=False,
            base_container_name=MAIN,
            **given,
        )
        self.compute = compute

    def _wait_for(self, running: client.V1Pod, context: Context) -> None:
        self.pod = running
        pod = _address(running)
        trigger = PodWatch(
            **pod, stage=self.stage, schedule_seconds=self.schedule_timeout_seconds, start_seconds=self.startup_timeout_seconds
        )
        kept = {"pod": pod, "looks": self._looks}
        self.defer(trigger=trigger, method_name="trigger_reentry", kwargs=kept, timeout=self._time_left(context))

    def trigger_reentry(self, context: Context, event: dict[str, Any], pod: dict[str, str] | None = None, looks: int = 0) -> Any:
        """Take the result of the pod that was watched, remove the pod, and conclude.

        Raises:
            NothingToDo: the task is skipped.
            StageRefused: a decision against; not retried.
            StageFault: the stage broke; retried.
        """
        assert pod is not None  # our own trigger always says it
        self.pod, self._looks = _pod_at(pod), looks
        try:
            result = event["ending"] or self._result(pod, event["last"])
            self._remove(pod, grace_seconds=1)
        except UNANSWERED as error:
            result = self._unanswered(error)
        if event["last"] and event["last"] != result["sentence"]:
            self.log.info("%s", event["last"])
        return self._conclude(result, context)

    def on_kill(self) -> None:
        """End the stage: its pod is deleted, also one that was asked for a moment ago."""
        if self.pod:
            self._remove(_address(self.pod), KILL_GRACE_SECONDS)
        elif TASK_LABEL in self.labels:
            self._remove_all()

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> client.V1Pod:
        """The template's pod with the stage's command line: arguments alone, so that the image keeps its entry point."""
        inputs, self.arguments = self.arguments, [*stage_command(self.stage, self.arguments), f"--result={RESULT_FILE}"]  # type: ignore[assignment]
        try:
            return super().build_pod_request_obj(context, dry_run=dry_run)
        finally:
            self.arguments = inputs

    def manifest(self, context: Context) -> dict[str, Any]:
        """The whole pod, as it is sent to the cluster.

        Raises:
            SettingMissing: there is no usable template.
        """
        settings = Settings.from_environment()
        template = pod_template(settings, self.stage)
        read_template(template)
        ti, inputs = context["ti"], {k: v for k, v in self.arguments.items() if k not in NO_INPUTS}
        task = [ti.dag_id, context["run_id"], ti.task_id, ti.map_index]
        subject = str(self.arguments.get("model") or self.arguments.get("dataset"))
        self.name = pod_name(subject, self.stage, [*task, inputs, self._looks])
        self.namespace = settings.pod_namespace
        self.pod_template_file = str(template)
        self.labels = {TASK_LABEL: mark_of(task)}
        pod: dict[str, Any] = plain(self.build_pod_request_obj(context))
        merge_side_car(pod)
        give_run(main_container(pod), os.environ)
        give_trace(pod)
        for empty in [key for key, value in main_container(pod).items() if value == []]:
            del main_container(pod)[empty]
        return apply_compute(pod, self.compute) if self.compute else pod

    # -- pods of this task ---------------------------------------------------------------------------------------

    def _find_or_start(self, context: Context) -> client.V1Pod:
        """The pod to watch: one of an earlier try, or a new one."""
        wanted = self.manifest(context)
        self.log.info("perennial %s", " ".join(stage_command(self.stage, self.arguments)))
        deadline = time.monotonic() + QUOTA_SECONDS
        while True:
            if left := self._left_by_earlier_tries(wanted, context):
                self.log.info("It goes on in the pod %s, which an earlier try started.", left.metadata.name)
                return left
            try:
                made = self.client.create_namespaced_pod(self.namespace, wanted)
            except ApiException as error:
                code, said = int(error.status or 0), message(error)
                if code == 409 and time.monotonic() < deadline + REMOVAL_SECONDS:  # another try was quicker, or the name is not free yet
                    time.sleep(PAUSE_SECONDS)
                    continue
                if "exceeded quota" in said and time.monotonic() < deadline:
                    time.sleep(PAUSE_SECONDS)
                    continue
                raise NotCreated(self.stage, wanted, error) from None
            self.log.info("It runs in the pod %s of the namespace %s.", made.metadata.name, made.metadata.namespace)
            return made

    def _left_by_earlier_tries(self, wanted: Mapping[str, Any], context: Context) -> client.V1Pod | None:
        """A pod of this task that does the wanted work or has done it; all others are removed, and gone when this returns None."""
        label = f"{TASK_LABEL}={self.labels[TASK_LABEL]}"
        deadline = time.monotonic() + REMOVAL_SECONDS
        while pods := self.client.list_namespaced_pod(self.namespace, label_selector=label).items:
            for pod in pods:
                manifest = plain(pod)
                if pod.metadata.deletion_timestamp:
                    if is_away(manifest, time.time()) or time.monotonic() > deadline:
                        self._remove(_address(pod), grace_seconds=0)  # its node does not answer: nobody else would
                elif self._is_ours(pod.metadata.name, wanted["metadata"]["name"], context) and _is_usable(manifest):
                    return pod
                else:
                    self.log.info("The pod %s of an earlier try is removed: the stage starts again.", pod.metadata.name)
                    self._remove(_address(pod), grace_seconds=1 if has_ended(manifest) else KILL_GRACE_SECONDS)
            time.sleep(PAUSE_SECONDS)
        return None

    def _is_ours(self, name: str, wanted: str, context: Context) -> bool:
        """Whether a pod of this task does the work of this try."""
        return name == wanted

    def _remove(self, pod: Mapping[str, str], grace_seconds: int) -> None:
        options = client.V1DeleteOptions(grace_period_seconds=grace_seconds, preconditions=client.V1Preconditions(uid=pod["uid"]))
        try:
            self.client.delete_namespaced_pod(pod["name"], pod["namespace"], body=options)
        except ApiException as error:
            if error.status not in GONE:
                self._tell_left(pod["name"], error)

    def _remove_left(self, context: Context) -> None:
        self.manifest(context)
        self._remove_all()

    def _remove_all(self) -> None:
        """Remove every pod of this task."""
        for pod in self.client.list_namespaced_pod(self.namespace, label_selector=f"{TASK_LABEL}={self.labels[TASK_LABEL]}").items:
            self._remove(_address(pod), KILL_GRACE_SECONDS)

    # -- results -------------------------------------------------------------------------------------------------

    def _result(self, where: Mapping[str, str], last: str) -> dict[str, Any]:
        """The result that the stage wrote; one is made up from the pod's end if there is none."""
        pod, written = self._read_result(where)
        if written:
            result: dict[str, Any] = json.loads(written)
            code = main_state(pod or {}).get("terminated", {}).get("exitCode", EXIT_DONE)
            if code not in (EXIT_DONE, EXIT_FAULT, EXIT_REFUSED):
                self.log.warning("The stage had written its result, then ended with code %d.", code)
            return result
        listed = self.client.list_namespaced_event(
            where["namespace"], field_selector=f"involvedObject.kind=Pod,involvedObject.name={where['name']}"
        )
        events = in_order(plain(listed.items))
        return ending_of(pod, events, self.stage, name=where["name"], last=last)

    def _read_result(self, where: Mapping[str, str]) -> tuple[dict[str, Any] | None, str]:
        """The pod as it now is, None if it is gone, and the text of the result, empty if there is none; a node may answer late."""
        deadline = time.monotonic() + RESULT_SECONDS
        while True:
            try:
                pod = plain(self.client.read_namespaced_pod(where["name"], where["namespace"]))
                if pod["metadata"]["uid"] != where["uid"]:
                    return None, ""
                if "running" in main_state(pod, SIDE_CAR):
                    return pod, self._read_file(where)
                if not waits_for_side_car(pod) or time.monotonic() > deadline:
                    return pod, ""
            except UNANSWERED as error:
                if getattr(error, "status", None) == 404:
                    return None, ""
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE_SECONDS)

    def _read_file(self, where: Mapping[str, str]) -> str:
        """Content of the result file, read by the side-car."""
        shell = f"if [ -s {RESULT_FILE} ]; then cat {RESULT_FILE}; fi"
        answer = stream(
            self.client.connect_get_namespaced_pod_exec,
            where["name"],
            where["namespace"],
            container=SIDE_CAR,
            command=["/bin/sh", "-c", shell],
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        with contextlib.closing(answer):
            answer.run_forever(timeout=60)
            if answer.peek_stderr():
                self.log.warning("%s", answer.read_stderr())
            content: str = answer.read_all()
        return content


class PodCollectStage(Collects, PodStage):  # type: ignore[misc] # see PodStage
    """Looks as pods. The connection is a Secret of the pod's name, which the cluster removes with the pod."""

    def manifest(self, context: Context) -> dict[str, Any]:
        """The pod with its Secret, without which it does not start."""
        pod = super().manifest(context)
        if self.connection:
            container = main_container(pod)
            container.setdefault("volumeMounts", []).append({"name": "connections", "mountPath": CONNECTIONS, "readOnly": True})
            container.setdefault("env", []).append({"name": VARIABLE, "value": f"{CONNECTIONS}/{FILE}"})
            secret = {"secretName": pod["metadata"]["name"], "defaultMode": 0o400}
            pod["spec"].setdefault("volumes", []).append({"name": "connections", "secret": secret})
        return pod

    def _find_or_start(self, context: Context) -> client.V1Pod:
        text = self._connections() if self.connection else ""  # before a pod waits for it
        pod = super()._find_or_start(context)
        if text:
            self._give_secret(pod, text)
        return pod

    def _give_secret(self, pod: client.V1Pod, text: str) -> None:
        """Make the Secret that a pod waits for, unless an earlier try has."""
        where = pod.metadata
        owner = client.V1OwnerReference(api_version="v1", kind="Pod", name=where.name, uid=where.uid)
        metadata = client.V1ObjectMeta(name=where.name, namespace=where.namespace, owner_references=[owner], labels=self.labels)
        try:
            self.client.create_namespaced_secret(where.namespace, client.V1Secret(metadata=metadata, string_data={FILE: text}))
        except ApiException as error:
            if error.status != 409:
                self._remove(_address(pod), grace_seconds=0)
                raise


class PodReleaseStage(ReleaseLooks, PodStage):  # type: ignore[misc] # see PodStage
    """Looks as pods, one after the other: each look has a pod of its own."""

    def _time_left(self, context: Context) -> timedelta | None:
        """Each look has the whole time: a release may take days, and waits for people."""
        return self.execution_timeout

    def _is_ours(self, name: str, wanted: str, context: Context) -> bool:
        """A new try does not know how many looks there were: a pod that runs is the look that is being taken."""
        return self._looks == 0 or name == wanted


class PodExperimentStage(ExperimentLooks, PodReleaseStage):  # type: ignore[misc] # see PodStage
    """Looks at an experiment as pods, as those at a release are."""


def _is_usable(pod: Mapping[str, Any]) -> bool:
    """Whether a pod still works, or ended with a result that another try need not repeat."""
    code = main_state(pod).get("terminated", {}).get("exitCode")
    readable = "running" in main_state(pod, SIDE_CAR) or waits_for_side_car(pod)
    return code in (EXIT_DONE, EXIT_REFUSED) and readable if has_ended(pod) else True


def _address(pod: client.V1Pod) -> dict[str, str]:
    return address(plain(pod))


def _pod_at(address: Mapping[str, str]) -> client.V1Pod:
    return client.V1Pod(metadata=client.V1ObjectMeta(**address))
