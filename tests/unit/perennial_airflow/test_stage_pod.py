"""What a pod is made of, and what its end means."""

from __future__ import annotations

import copy

import pytest

from perennial.errors import SettingMissing
from perennial.settings import Settings
from perennial.specs import Column, ComputeSpec, DatasetSpec, Toleration
from perennial_airflow import stage_pod

from ..lateness import lateness

COMPUTE = ComputeSpec(cpus=4, memory_gb=16, gpus=2, nodes=3, node_selector={"zone": "a"}, queue="night")


def _model(**keywords):
    return lateness(compute=COMPUTE, **keywords)


def _template():
    return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "base", "image": "i:1"}]}}


def _pod(state=None, **status):
    """A pod as the API says it, with this state of its main container."""
    told = [{"name": "base", "image": "registry/i:1", "state": state}] if state else []
    return {
        "metadata": {"name": "perennial-m-train-1", "uid": "u"},
        "spec": {"nodeName": "n1", "containers": [{"name": "base", "resources": {"limits": {"memory": "3000M"}}}]},
        "status": {"phase": "Running", "containerStatuses": told, **status},
    }


def _ended(code, **details):
    return _pod({"terminated": {"exitCode": code, **details}})


def test_a_stage_has_its_own_template_or_the_common_one(tmp_path):
    """OP-04: `train.yaml` before `stage.yaml`; none of the two, or no folder, is told with what to do."""
    settings = Settings(pod_templates=str(tmp_path))
    with pytest.raises(SettingMissing, match=r"neither train\.yaml nor stage\.yaml"):
        stage_pod.pod_template(settings, "train")
    (tmp_path / "stage.yaml").touch()
    assert stage_pod.pod_template(settings, "train").name == "stage.yaml"
    (tmp_path / "train.yaml").touch()
    assert stage_pod.pod_template(settings, "train").name == "train.yaml"
    with pytest.raises(SettingMissing, match="PERENNIAL_POD_TEMPLATES is empty"):
        stage_pod.pod_template(Settings(), "train")


def test_who_may_use_what():
    """OP-04, MO-23: Training all of it; what only measures no GPUs and one node; what only asks servers what the template says."""
    dataset = DatasetSpec(
        name="trips",
        title="Trips",
        owner="ada",
        columns=(Column(name="at", type="timestamp"),),
        key=("at",),
        event_time="at",
        compute=ComputeSpec(memory_gb=9),
    )
    assert stage_pod.compute_of(_model(), "train") == COMPUTE
    assert stage_pod.compute_of(dataset, "ingest").memory_gb == 9
    for stage in ("validate", "evaluate", "monitor"):
        found = stage_pod.compute_of(_model(), stage)
        assert (found.gpus, found.nodes, found.memory_gb, found.node_selector) == (0, 1, 16, {"zone": "a"})
    for stage in ("register", "release", "rollback"):
        assert stage_pod.compute_of(_model(), stage) is None


@pytest.mark.parametrize("subject", ["m", "flight_delays", "a" * 40])
@pytest.mark.parametrize("stage", ["train", "validate"])
def test_a_name_is_a_dns_label_and_always_the_same(subject, stage):
    """DE-22: It says what runs; other inputs give another name."""
    name = stage_pod.pod_name(subject, stage, ["d", "r", {"snapshot": "3"}])
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    assert f"-{stage}-" in name
    assert name == stage_pod.pod_name(subject, stage, ["d", "r", {"snapshot": "3"}])
    assert name != stage_pod.pod_name(subject, stage, ["d", "r", {"snapshot": "4"}])


def test_the_spec_decides_what_a_pod_may_use():
    """OP-04, MO-23: Limits, GPUs, nodes, taints, runtime class and queue."""
    compute = COMPUTE.model_copy(
        update={"tolerations": (Toleration(key="gpu", operator="Exists", effect="NoSchedule"),), "runtime_class": "nvidia"}
    )
    pod = stage_pod.apply_compute(_template(), compute)
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "4", "memory": "16000M", "nvidia.com/gpu": "2"}
    assert pod["spec"]["nodeSelector"] == {"zone": "a"}
    assert pod["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["spec"]["runtimeClassName"] == "nvidia"
    assert pod["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "night"}


def test_what_a_template_says_and_the_spec_does_not_stays():
    """OP-04: Smaller requests, other limits, its own selector and tolerations; a request above the limit comes down to it."""
    template = _template()
    template["spec"] |= {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "spot"}]}
    template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "250m", "memory": "64Gi"}, "limits": {"ephemeral-storage": "1Gi"}}
    pod = stage_pod.apply_compute(template, ComputeSpec(cpus=1, memory_gb=3, node_selector={"zone": "a"}))
    resources = pod["spec"]["containers"][0]["resources"]
    assert resources["requests"] == {"cpu": "250m", "memory": "3000M"}
    assert resources["limits"] == {"ephemeral-storage": "1Gi", "cpu": "1", "memory": "3000M"}
    assert pod["spec"]["nodeSelector"] == {"disk": "fast", "zone": "a"}
    assert pod["spec"]["tolerations"] == [{"key": "spot"}]
    assert "runtimeClassName" not in pod["spec"]


def test_the_stage_s_container_comes_first():
    """OP-04: A template that names it otherwise is told so."""
    with pytest.raises(SettingMissing, match=r"is 'main': it must be named 'base'"):
        stage_pod.apply_compute({"spec": {"containers": [{"name": "main"}]}}, ComputeSpec())


def test_the_side_car_is_as_restricted_as_the_stage():
    """SC-01: Unless the template says what it is."""
    pod = _template()
    pod["spec"]["containers"][0]["securityContext"] = {"readOnlyRootFilesystem": True}
    added = {
        "name": "airflow-xcom-sidecar",
        "image": "alpine",
        "volumeMounts": [{"name": "xcom"}],
        "resources": {"requests": {"cpu": "1m"}},
    }
    plain = copy.deepcopy(pod)
    plain["spec"]["containers"].append(dict(added))
    side_car = stage_pod.merge_side_car(plain)["spec"]["containers"][1]
    assert side_car["securityContext"] == {"readOnlyRootFilesystem": True}
    assert side_car["resources"]["limits"] == {"cpu": "100m", "memory": "64Mi"}
    pod["spec"]["containers"] += [
        {"name": "airflow-xcom-sidecar", "image": "mirror/alpine", "securityContext": {"runAsUser": 1}},
        dict(added),
    ]
    base, side_car = stage_pod.merge_side_car(pod)["spec"]["containers"]
    assert base["name"] == "base"
    assert (side_car["image"], side_car["securityContext"], side_car["volumeMounts"]) == (
        "mirror/alpine",
        {"runAsUser": 1},
        [{"name": "xcom"}],
    )


FAULTS = {
    "memory": (_ended(137, reason="OOMKilled"), [], "want of memory: its pod perennial-m-train-1 may use 3000M"),
    "signal": (_ended(137, reason="Error"), [], "was ended by SIGKILL before it had a result"),
    "code": (_ended(3), [], "ended with code 3 and no result"),
    "no program": (
        _ended(128, reason="StartError", message='exec: "perennial": not found'),
        [],
        'could not be started: exec: "perennial": not found',
    ),
    "evicted": (
        _pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        [],
        "was evicted: The node was low on resource: memory.",
    ),
    "deadline": (_pod(phase="Failed", reason="DeadlineExceeded"), [], "activeDeadlineSeconds"),
    "failed": (_pod(phase="Failed", message="Pod was rejected: no"), [], "ended before its stage train did: Pod was rejected: no."),
    "nothing known": (_pod(phase="Pending"), [], "did not start in time, and the cluster does not say why"),
    "unschedulable": (
        _pod(
            phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes fit"}]
        ),
        [],
        "No node can take the pod perennial-m-train-1 of the stage train: 0/3 nodes fit.",
    ),
    "image": (
        _pod({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}, phase="Pending"),
        [{"type": "Warning", "reason": "Failed", "message": 'Failed to pull image "registry/i:1": not found'}],
        'The image registry/i:1 of the stage train cannot be pulled: Failed to pull image "registry/i:1": not found.',
    ),
    "secret": (
        _pod({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "keys" not found'}}, phase="Pending"),
        [],
        'The container base of the stage train cannot be made: secret "keys" not found.',
    ),
    "volume": (
        _pod(phase="Pending"),
        [{"type": "Warning", "reason": "FailedMount", "message": 'configmap "c" not found'}],
        'does not start: configmap "c" not found.',
    ),
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_fault_names_its_cause(cause):
    """MN-18: Whatever ended the pod, the sentence says it, and the stage is tried again."""
    pod, events, expected = FAULTS[cause]
    ending = stage_pod.ending_of(pod, events, "train")
    assert ending["outcome"] == "fault"
    assert expected in ending["sentence"]
    assert set(ending) - {"fault"} == {"outcome", "sentence", "links", "seconds"}


def test_arguments_that_were_not_understood_are_a_refusal():
    """DE-15: Exit 2 without a result: not tried again, with the stage's last line."""
    ending = stage_pod.ending_of(_ended(2), [], "train", last="perennial train: error: unknown argument")
    assert (ending["outcome"], ending["sentence"]) == ("refused", "perennial train: error: unknown argument")


GONE = {
    "somebody": ([], "was deleted while the stage train ran in it"),
    "taint": (
        [{"reason": "TaintManagerEviction", "message": "Marking for deletion Pod x/y"}],
        "The cluster took the pod perennial-m-train-1 away from the stage train: Marking for deletion Pod x/y.",
    ),
    "node": ([{"reason": "NodeNotReady", "message": "Node is not ready"}], "The node n1 on which the stage train ran answers no more."),
}


@pytest.mark.parametrize("who", GONE)
def test_a_pod_that_is_gone_says_who_took_it(who):
    """MN-18: A person, the cluster or the node; also where the pod is still being ended."""
    events, expected = GONE[who]
    assert expected in stage_pod.ending_of(_pod({"running": {}}), events, "train", gone=True)["sentence"]
    ending = _pod({"terminated": {"exitCode": 137, "reason": "Error"}})
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert expected in stage_pod.ending_of(ending, events, "train")["sentence"]


def test_a_pod_that_was_never_seen_is_named():
    """MN-18: By the name that it was to have."""
    assert "perennial-m-train-2 was deleted" in stage_pod.ending_of(None, [], "train", name="perennial-m-train-2")["sentence"]


def test_patience_depends_on_the_trouble():
    """MN-18: An image that is not there is hopeless, a registry that does not answer is not yet, and a full cluster may be waited for."""
    pull = {"waiting": {"reason": "ErrImagePull", "message": "dial tcp: i/o timeout"}}
    assert stage_pod.why_not_started(_pod(pull, phase="Pending"), [], "train").patience == stage_pod.IMAGE_PATIENCE
    wrong = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse"}}
    assert stage_pod.why_not_started(_pod(wrong, phase="Pending"), [], "train").patience == 0
    pod, events, _ = FAULTS["image"]
    assert stage_pod.why_not_started(pod, events, "train").patience == 0
    assert stage_pod.why_not_started(FAULTS["unschedulable"][0], [], "train").patience is None
    gated = [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]
    assert stage_pod.why_not_started(_pod(phase="Pending", conditions=gated), [], "train").cause == "queue"
    assert stage_pod.why_not_started(_pod({"running": {}}), events, "train") is None


def test_a_side_car_that_cannot_start_is_told_before_the_stage_has_worked_in_vain():
    """MN-18: Its result could not be read."""
    pod = _pod({"running": {}})
    pull = {"waiting": {"reason": "ErrImagePull", "message": "alpine: not found"}}
    pod["status"]["containerStatuses"].append({"name": "airflow-xcom-sidecar", "image": "alpine", "state": pull})
    assert stage_pod.waits_for_side_car(pod)
    assert "The image alpine of the stage train cannot be pulled" in stage_pod.why_not_started(pod, [], "train").sentence
    assert not stage_pod.waits_for_side_car(_pod({"running": {}}))


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (
            403,
            'pods "p" is forbidden: exceeded quota: team, used: 1',
            'no room for the stage train: pods "p" is forbidden: exceeded quota: team',
        ),
        (403, "cannot create resource pods", "does not allow the pod of the stage train: cannot create resource pods."),
        (404, 'namespaces "n" not found', "correct PERENNIAL_POD_NAMESPACE"),
        (422, "invalid: spec", "did not take the pod p of the stage train (422): invalid: spec."),
    ],
)
def test_a_pod_that_the_cluster_would_not_take(code, message, expected):
    """MN-18: The quota, the right or the field is named."""
    ending = stage_pod.not_created("train", "p", "n", code, message)
    assert ending["outcome"] == "fault"
    assert expected in ending["sentence"]
