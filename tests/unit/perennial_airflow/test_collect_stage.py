"""A source is looked at: with its connection, by whom it should be, and again when it is time."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from perennial.specs import Column, DatasetSpec, SqlSource
from perennial_airflow.operators.collect_stage import CollectStage, stated
from perennial_airflow.sightings import Over, Seen, in_collection
from perennial_airflow.stage_end import StageFault, StageRefused
from perennial_airflow.stage_task import stage_task

from .test_pod_stage import KUBECONFIG, TEMPLATE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SECRET = "geheim:/@%"


def _spec(connection="shop"):
    source = SqlSource(table="trips", cursor="id", **({"connection": connection} if connection else {"url": "sqlite://"}))
    columns = (Column(name="id", type="int"), Column(name="at", type="timestamp"))
    return DatasetSpec(name="trips", title="Trips", owner="ada", columns=columns, key=("id",), event_time="at", source=source)


def _task(seconds=0, connection=""):
    return CollectStage(task_id="collect", stage="collect", arguments={"dataset": "trips"}, seconds=seconds, connection=connection)


def _context(task_instance, run_type="manual", began=None):
    ti = task_instance()
    ti.start_date = began or datetime.now(timezone.utc)
    return {"ti": ti, "dag_run": SimpleNamespace(run_type=run_type)}


@pytest.fixture
def shop(monkeypatch):
    """Airflow's connection `shop`, as a variable."""
    fields = {"conn_type": "postgres", "host": "db", "port": 5433, "login": "reader", "password": SECRET, "schema": "shop"}
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({**fields, "extra": {"sslmode": "require"}}))


def test_the_stage_gets_the_connection_in_a_file(stages, task_log, task_instance, shop):
    """SC-05, DM-01: Of this user alone, gone with the task; the password stands in no argument, result or log line."""
    stages.do("""
path = os.environ["PERENNIAL_CONNECTIONS"]
known = json.load(open(path))
end(0, sentence="Read.", path=path, mode=oct(os.stat(path).st_mode)[-3:], known=sorted(known),
    right=known["shop"]["password"] == "geheim:/@%", rest={k: v for k, v in known["shop"].items() if k != "password"}, given=given)
""")
    result = _task(connection="shop").execute(_context(task_instance))
    assert (result["mode"], result["known"], result["right"]) == ("600", ["shop"], True)
    expected = {"type": "postgres", "host": "db", "port": 5433, "login": "reader", "database": "shop", "extra": {"sslmode": "require"}}
    assert result["rest"] == expected
    assert not os.path.exists(result["path"])
    assert SECRET not in json.dumps([result, task_log.lines])


def test_a_connection_that_airflow_does_not_have(stages, task_log, task_instance):
    """SC-05, DE-15: One sentence says where to make it; the stage is not started."""
    stages.do("end(0, sentence='started')")
    with pytest.raises(StageFault, match=r"Airflow has no connection nowhere.*AIRFLOW_CONN_NOWHERE"):
        _task(connection="nowhere").execute(_context(task_instance))


def test_runs_that_files_have_started_do_not_look(stages, task_log, task_instance):
    """DM-01: Else what a look lands would start the next run, for ever."""
    stages.do("end(0, sentence='started')")
    with pytest.raises(AirflowSkipException, match="Files have started this run"):
        _task().execute(_context(task_instance, "asset_triggered"))
    assert _task().execute(_context(task_instance, "scheduled"))["sentence"] == "started"


def test_it_waits_until_the_server_may_be_asked_again(stages, task_log, task_instance):
    """DM-01, OP-10: In the triggerer, to the moment that the server named, whether or not something has landed."""
    at = time.time() + 900
    stages.do(f"end(0, outcome='done', sentence='Busy.', again_at={at})")
    with pytest.raises(TaskDeferred) as deferred:
        _task().execute(_context(task_instance))
    assert (deferred.value.trigger.at, deferred.value.method_name) == (at, "look")
    stages.do("end(0, outcome='done', sentence='Read.')")
    again = _task().resume_execution("look", {**deferred.value.kwargs, "event": at}, _context(task_instance))
    assert again["sentence"] == "Read."


def test_it_waits_for_new_rows_as_long_as_a_person_says(stages, task_log, task_instance):
    """DM-01, DE-16: Since the task began, over all its waits; then it is skipped with the sentence."""
    stages.do("end(0, outcome='skipped', sentence='Nothing new.', again_at=None)")
    with pytest.raises(TaskDeferred) as deferred:
        _task(seconds="60").execute(_context(task_instance))
    assert 13 < deferred.value.trigger.at - time.time() < 16
    long_ago = datetime.fromtimestamp(time.time() - 50, timezone.utc)
    with pytest.raises(AirflowSkipException, match="Nothing new"):
        _task(seconds="60").look(_context(task_instance, began=long_ago), event=0, looks=3)
    with pytest.raises(AirflowSkipException, match="Nothing new"):
        _task().execute(_context(task_instance))


def test_a_refusal_is_final(stages, task_log, task_instance):
    """DM-01, DE-15: What the spec and the source do not agree on is for a person."""
    stages.do("end(2, outcome='refused', sentence='No such column.', again_at=None)")
    with pytest.raises(StageRefused, match="No such column"):
        _task().execute(_context(task_instance))


def test_what_people_hear_of_a_source():
    """MN-09: A source that is not read is an incident, until it is."""
    result = {"outcome": "refused", "sentence": "No such column.", "links": {}}
    assert in_collection(result) == [Seen("service", "collection", "warning", "No such column.")]
    assert in_collection({**result, "outcome": "fault"})[0].severity == "critical"
    assert in_collection({**result, "outcome": "skipped"}) == [Over("service", "collection", "Collection works again.")]
    assert in_collection(None) == []


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder with one template, named by the settings; a cluster that is never asked."""
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(TEMPLATE))
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    monkeypatch.setenv("PERENNIAL_RUNTIME", "pod")
    monkeypatch.setenv("PERENNIAL_POD_TEMPLATES", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_POD_NAMESPACE", "stages")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))


class _Cluster:
    """Keeps the Secrets that are made, or does not allow them."""

    def __init__(self, status=0):
        self.status, self.secrets, self.deleted = status, [], []

    def create_namespaced_secret(self, namespace, secret):
        if self.status:
            raise ApiException(self.status)
        self.secrets.append((namespace, secret))

    def delete_namespaced_pod(self, name, *_, **__):
        self.deleted.append(name)


def _pod_task(connection="shop"):
    return stage_task("collect", _spec(connection), task={"connection": connection})


def test_a_pod_waits_for_a_secret_of_its_name(cluster, shop):
    """SC-05, OP-07: The pod names it, mounts it read-only and holds nothing secret itself; the cluster removes it with the pod."""
    ti = SimpleNamespace(dag_id="d", task_id="collect", map_index=-1, try_number=1, max_tries=2)
    task = _pod_task()
    pod = task.manifest({"ti": ti, "run_id": "r1", "dag": SimpleNamespace()})
    base = pod["spec"]["containers"][0]
    assert {"name": "PERENNIAL_CONNECTIONS", "value": "/perennial/connections/connections.json"} in base["env"]
    assert {"name": "connections", "mountPath": "/perennial/connections", "readOnly": True} in base["volumeMounts"]
    named = {"secretName": pod["metadata"]["name"], "defaultMode": 0o400}
    assert {"name": "connections", "secret": named} in pod["spec"]["volumes"]
    assert SECRET not in json.dumps(pod)
    task.client = _Cluster()
    made = client.V1Pod(metadata=client.V1ObjectMeta(name=pod["metadata"]["name"], namespace="stages", uid="u1"))
    task._give_secret(made, task._connections())
    ((namespace, secret),) = task.client.secrets
    assert (namespace, secret.metadata.name, secret.metadata.owner_references[0].uid) == ("stages", pod["metadata"]["name"], "u1")
    assert json.loads(secret.string_data["connections.json"])["shop"]["password"] == SECRET
    plain = _pod_task("").manifest({"ti": ti, "run_id": "r1", "dag": SimpleNamespace()})
    assert "connections" not in json.dumps(plain)


def test_a_secret_of_an_earlier_try_is_enough(cluster, shop):
    """DE-22: And a pod whose Secret cannot be made is removed: it would wait for ever."""
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="p", namespace="stages", uid="u1"))
    task = _pod_task()
    task.client = _Cluster(409)
    task._give_secret(pod, "{}")
    assert task.client.deleted == []
    task.client = _Cluster(403)
    with pytest.raises(ApiException):
        task._give_secret(pod, "{}")
    assert task.client.deleted == ["p"]


def test_what_airflow_does_not_say_is_left_out(monkeypatch):
    """SC-05: A connection as an address has the same parts."""
    monkeypatch.setenv("AIRFLOW_CONN_CARS", "http://tok@host/")
    assert stated("cars") == {"type": "http", "host": "host", "login": "tok"}
