"""A training over several nodes: what is sent to the cluster, and what the ends of its pods mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from perennial.results import TrainResult
from perennial.specs import ComputeSpec, Toleration
from perennial_airflow.stage_job import (
    INDEX,
    JOB_LABEL,
    LOST,
    MOST_BYTES,
    answer_of,
    culprit,
    ending_of_job,
    ending_of_node,
    job_name,
    render_job,
    render_service,
    result_in,
)
from perennial_airflow.stage_pod import apply_compute

SCHEMAS = "1.33.0"
VALIDATE = Path(sys.executable).parents[2] / "tools" / "bin" / "kubernetes-validate"
OWNED = {"uid": "11111111-2222-3333-4444-555555555555"}


def template(**spec):
    """A pod template as a person writes it."""
    container = {
        "name": "base",
        "image": "perennial/workload:1",
        "env": [{"name": "TOKENIZERS_PARALLELISM", "value": "false"}, {"name": "NODE_RANK", "value": "7"}],
        "envFrom": [{"configMapRef": {"name": "perennial-settings"}}],
        "resources": {"requests": {"cpu": "100m"}},
    }
    side_car = {"name": "airflow-xcom-sidecar", "image": "alpine"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"app.kubernetes.io/part-of": "perennial"}, "annotations": {"a": "b"}},
        "spec": {"serviceAccountName": "perennial-stage", "restartPolicy": "Never", "containers": [container, side_car], **spec},
    }


def rendered(nodes=2, seconds=None, **compute):
    """Job and Service of a training on GPUs."""
    asked = ComputeSpec(nodes=nodes, gpus=2, node_selector={"gpu": "h100"}, tolerations=(Toleration(key="gpu"),), **compute)
    pod = apply_compute(template(), asked)
    command = ["train", "--model=m", "--result=/dev/termination-log"]
    job = render_job(
        pod,
        name=job_name("flight_delays", "train", 1),
        nodes=nodes,
        arguments=command,
        labels=pod["metadata"]["labels"],
        seconds=seconds,
    )
    known = {**job, "metadata": {**job["metadata"], **OWNED, "namespace": "perennial"}}
    return job, render_service(known)


@pytest.mark.parametrize("given", [{}, {"queue": "research", "runtime_class": "nvidia", "seconds": 3600.5}])
def test_the_objects_pass_the_schemas_of_kubernetes(tmp_path, given):
    """MO-05: Strictly: no field that the API does not know, in the oldest version that is supported."""
    if not VALIDATE.exists():
        pytest.skip("kubernetes-validate is not on this machine: `make setup` makes the tools environment")
    file = tmp_path / "objects.yaml"
    file.write_text(yaml.safe_dump_all(rendered(**given)))
    ran = subprocess.run([VALIDATE, "--strict", "-k", SCHEMAS, file], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("passed") == 2, ran.stdout + ran.stderr


def test_one_pod_for_each_node_and_none_twice():
    """MO-05: An Indexed Job that fails as a whole, and goes by itself if nobody removes it."""
    job, _ = rendered(nodes=3, seconds=90)
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"], spec["backoffLimit"]) == ("Indexed", 3, 3, 0)
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] == 90
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_image_keeps_its_entry_point_and_each_pod_learns_who_it_is():
    """MO-05: Arguments alone are set; the address of node 0 is a host name of the Service; the template's other variables stay."""
    job, service = rendered()
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    name = job["metadata"]["name"]
    assert "command" not in container
    assert container["args"][-1] == "--result=/dev/termination-log" == f"--result={container['terminationMessagePath']}"
    variables = {v["name"]: v.get("value") or v["valueFrom"]["fieldRef"]["fieldPath"] for v in container["env"]}
    assert len(container["env"]) == len(variables)
    assert variables == {
        "TOKENIZERS_PARALLELISM": "false",
        "MASTER_ADDR": f"{name}-0.{name}",
        "MASTER_PORT": str(service["spec"]["ports"][0]["port"]),
        "NODE_RANK": f"metadata.annotations['{INDEX}']",
    }
    assert pod["subdomain"] == service["metadata"]["name"] == name
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert service["metadata"]["ownerReferences"][0]["uid"] == OWNED["uid"]


def test_every_node_gets_what_the_spec_says():
    """OP-04: GPUs, placement and the rest of the template."""
    job, _ = rendered()
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["tolerations"]
    assert pod["serviceAccountName"] == "perennial-stage"
    assert job["spec"]["template"]["metadata"]["annotations"] == {"a": "b"}


def test_a_queue_holds_the_whole_job():
    """OP-04: Kueue counts the Job, not its pods, and lets it go when there is room for all of it."""
    job, _ = rendered(queue="research")
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert "suspend" not in rendered()[0]["spec"]


def test_rendering_leaves_the_template_alone():
    """MO-05: The same template serves the next try."""
    pod = template()
    before = json.dumps(pod)
    render_job(pod, name="n", nodes=2, arguments=[], labels={})
    assert json.dumps(pod) == before


def test_names_fit_whatever_the_model_is_called():
    """MO-05: The host name of the thousandth node still is a DNS label; the same work has the same name, other work another."""
    long = "a_model_with_a_name_that_goes_on_and_on_and_on_for_ever"
    assert len(f"{job_name(long, 'train', 1)}-999") <= 63
    assert job_name(long, "train", [1, {"snapshot": "3"}]) == job_name(long, "train", [1, {"snapshot": "3"}])
    assert job_name(long, "train", [1]) != job_name(long, "train", [2])


def test_the_largest_result_of_a_training_fits():
    """MO-05: All metrics at full length, long addresses, and a sentence of a thousand letters."""
    metrics = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "calibration_error", "mse", "rmse", "mae")
    result = TrainResult(
        sentence="x" * 1000,
        links={"MLflow run": "https://mlflow.example.org/" + "y" * 500},
        seconds=123456.789,
        digest="d" * 64,
        run_id="r" * 32,
        epochs=1000,
        metrics=dict.fromkeys(metrics, 0.12345678901234567),
    )
    assert len(result.model_dump_json().encode()) < MOST_BYTES


def ended(index, code=0, *, outcome=None, sentence="It broke.", reason="Error", at="10", **metadata):
    """A pod whose stage has ended."""
    message = json.dumps({"outcome": outcome, "sentence": sentence, "links": {}, "seconds": 1.0}) if outcome else ""
    terminated = {"exitCode": code, "reason": reason, "message": message, "finishedAt": f"2026-01-01T00:00:{at}Z"}
    return {
        "metadata": {"name": f"j-{index}-abcde", "annotations": {INDEX: str(index)}, "labels": {JOB_LABEL: "j"}, **metadata},
        "spec": {"containers": [{"name": "base", "resources": {"limits": {"memory": "4000M"}}}]},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "base", "state": {"terminated": terminated}}],
        },
    }


def running(index, **metadata):
    """A pod whose stage runs."""
    pod = ended(index, **metadata)
    pod["status"] = {"phase": "Running", "containerStatuses": [{"name": "base", "state": {"running": {}}}]}
    return pod


def test_node_0_answers():
    """MO-05: Its result counts even if another node broke afterwards; that the others have ended well is none."""
    done = ended(0, outcome="done", sentence="Trained.")
    assert answer_of([ended(1, 1), done])["sentence"] == "Trained."
    assert answer_of([running(0), ended(1)]) is None
    assert answer_of([ended(0, 1, outcome="fault")]) is None


def test_a_refusal_of_any_node_is_the_answer():
    """DE-15: All nodes decide alike, and the cluster may end node 0 before it has said so."""
    refused = ended(1, 2, outcome="refused", sentence="Nothing to train on.")
    assert answer_of([running(0), refused])["outcome"] == "refused"


def test_a_result_that_was_cut_is_none():
    """DE-15: The kubelet keeps the end of a file that is too long: such a training is a fault that says so."""
    pod = ended(0, outcome="done")
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] = 'metrics": {}}'
    assert result_in(pod) is None
    ending = ending_of_node(pod, [], "train", 2)
    assert ending["outcome"] == "fault"
    assert f"at most {MOST_BYTES} bytes" in ending["sentence"]


LOSER = f"This process of m's training {LOST}."


@pytest.mark.parametrize(
    ("pods", "guilty"),
    [
        ([ended(0, 1, outcome="fault", sentence=LOSER, at="10"), ended(1, 137, reason="OOMKilled", at="11")], 1),
        ([ended(0, 1, outcome="fault", at="11"), ended(1, 1, outcome="fault", sentence=LOSER, at="10")], 0),
        ([ended(0, 1, outcome="fault", sentence=LOSER), ended(1, 143, deletionTimestamp="2026-01-01T00:00:09Z")], 1),
        ([ended(0, 143, deletionTimestamp="2026-01-01T00:00:12Z"), ended(1, 1, outcome="fault")], 1),
        ([ended(0, 1, outcome="fault", at="12"), ended(1, 1, outcome="fault", at="11")], 1),
        ([ended(0, 137), ended(1, 137)], 0),
    ],
)
def test_the_node_that_broke_the_training_is_found(pods, guilty):
    """MN-18: Not one that only lost another, nor one that the cluster ended because the Job had failed."""
    assert culprit(pods)["metadata"]["annotations"][INDEX] == str(guilty)


def test_nobody_is_guilty_while_all_is_well():
    """MO-05: Helpers end before node 0, which still seals the version."""
    assert culprit([running(0), ended(1)]) is None


def test_the_sentence_names_the_node_and_the_cause():
    """MN-18: The cluster's own cause, or the stage's sentence; the outcome stays."""
    memory = ending_of_node(ended(1, 137, reason="OOMKilled"), [], "train", 2)
    assert memory["outcome"] == "fault"
    assert memory["sentence"].startswith("Node 1 of 2, counted from 0: ")
    assert "want of memory" in memory["sentence"]
    assert "4000M" in memory["sentence"]
    assert ending_of_node(ended(0, 1, outcome="fault", sentence="MLflow does not answer."), [], "train", 2)["sentence"].endswith(
        "counted from 0: MLflow does not answer."
    )
    refused = ending_of_node(ended(0, 2), [], "train", 2, last="perennial train: error: unknown argument")
    assert (refused["outcome"], refused["sentence"]) == ("refused", "perennial train: error: unknown argument")
    assert "was deleted" in ending_of_node(running(1, deletionTimestamp="gone"), [], "train", 2, gone=True)["sentence"]


def test_the_end_of_a_job_without_pods():
    """MN-18: Deleted, out of time, or failed for a reason of the cluster; a Job that works has no end."""
    job = {"metadata": {"name": "j"}, "status": {}}
    assert ending_of_job(job, "j", "train") is None
    assert "was deleted" in ending_of_job(None, "j", "train")["sentence"]
    assert "was deleted" in ending_of_job({"metadata": {"deletionTimestamp": "t"}}, "j", "train")["sentence"]

    def failed(**said):
        return ending_of_job({**job, "status": {"conditions": [{"type": "Failed", "status": "True", **said}]}}, "j", "train")["sentence"]

    assert "took longer than it may (compute.longest_hours)" in failed(reason="DeadlineExceeded")
    assert "failed: Job has reached the specified backoff limit." in failed(message="Job has reached the specified backoff limit")
