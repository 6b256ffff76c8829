"""Why a version does not serve, from what Kubernetes says of its pods."""

from datetime import datetime, timezone

import pytest

from perennial.serving.backends import served_pods


def pod(name="p", deleted=False, **status):
    """A pod as the API shows it."""
    return {"metadata": {"name": name, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})}, "status": status}


def container(image="registry/x:1", ready=False, restarts=0, **states):
    """A container's status."""
    return {"name": "server", "image": image, "ready": ready, "restartCount": restarts, **states}


def deployment(wanted=1, generation=3, seen=3, updated=1, ready=1, total=1, **status):
    """A Deployment as the API shows it."""
    counts = {"observedGeneration": seen, "updatedReplicas": updated, "readyReplicas": ready, "replicas": total}
    return {"metadata": {"name": "d", "generation": generation}, "spec": {"replicas": wanted}, "status": {**counts, **status}}


@pytest.mark.parametrize(
    ("found", "whole"),
    [
        (deployment(), True),
        (deployment(seen=2), False),
        (deployment(updated=0), False),
        (deployment(total=2), False),
        (deployment(ready=0), False),
        (deployment(wanted=2), False),
        (deployment(wanted=0, updated=0, ready=0, total=0), False),
    ],
)
def test_a_deployment_is_complete_when_its_newest_description_runs_alone(found, whole):
    """SE-12: Old pods beside the new ones, a description not looked at yet and missing replicas are all not complete."""
    assert served_pods.complete(found) is whole


UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}]


@pytest.mark.parametrize(
    ("pods", "words", "died"),
    [
        ([], "it has no pod yet", None),
        ([pod(deleted=True)], "it has no pod yet", None),
        ([pod(conditions=UNSCHEDULED)], "has no place on any node: 0/1 nodes are available", None),
        (
            [pod(containerStatuses=[container(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}})])],
            "its image registry/x:1 cannot be pulled (ErrImagePull: not found)",
            None,
        ),
        (
            [pod(containerStatuses=[container(state={"waiting": {"reason": "CreateContainerConfigError",
                "message": 'secret "s" not found'}})])],
            'cannot be started (secret "s" not found)',
            None,
        ),
        (
            [
                pod(
                    containerStatuses=[
                        container(
                            restarts=3,
                            state={"waiting": {"reason": "CrashLoopBackOff"}},
                            lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                        )
                    ]
                )
            ],
            "its server ended (exit code 137, OOMKilled, 3 times so far)",
            ("p", "server"),
        ),
        ([pod(containerStatuses=[container(state={"running": {}})])], "its pods run and are not ready", None),
    ],
)  # fmt: skip
def test_the_cause_is_named(pods, words, died):
    """MN-18: The sentence is what a person would look for."""
    found = served_pods.trouble([deployment(ready=0)], pods, "the operator")
    assert words in found.sentence
    assert found.died == died


def test_what_keeps_pods_from_being_made_is_named():
    """MN-18: No Deployment is the operator's doing; a quota shows on the Deployment."""
    assert "the operator has made no Deployment" in served_pods.trouble([], [], "the operator").sentence
    refused = deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}])
    assert "no pod of it may be made: exceeded quota: small" in served_pods.trouble([refused], [], "the operator").sentence


def test_ready_counts_from_the_condition():
    """SE-12: A pod on its way out is not ready, whatever it says."""
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    now = datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)
    assert served_pods.ready_seconds(pod(conditions=conditions), now) == 60
    assert served_pods.ready_seconds(pod(conditions=conditions, deleted=True), now) is None
    assert served_pods.ready_seconds(pod(), now) is None


def test_a_server_that_does_not_answer_says_nothing():
    """MN-18: No address, or nobody there."""
    assert served_pods.ask_ready(pod(), 9, 0.2) is None
    assert served_pods.ask_ready(pod(podIP="127.0.0.1"), 9, 0.2) is None
