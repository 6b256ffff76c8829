"""Runs, versions and aliases in a real MLflow server."""

import json
import socket
import threading
from datetime import datetime, timezone

import pytest

from perennial.errors import CandidateRefused, ServiceUnreachable, UnknownName
from perennial.registry.mlflow_server import MlflowServer
from perennial.registry.model_registry import ModelRegistry, Standing
from perennial.registry.run_facts import ColumnShown, DatasetUsed, RunFacts
from perennial.settings import Settings
from perennial.testing import small_manifest


@pytest.fixture
def registry(server):
    return ModelRegistry(server[0])


FACTS = RunFacts(
    datasets=(
        DatasetUsed("flights", "sha256-bytes:" + "a" * 64, "/store/tables/flights", 7, (ColumnShown("distance", "int"),), rows=31_000),
        DatasetUsed("delays", "b" * 64, "/store/tables/delays", 3, (ColumnShown("late", "bool", required=False),), context="labels"),
    ),
    source="include/perennial_models/whole",
    commit="c0ffee",
    parameters={"data.snapshot": "7"},
    inputs=(ColumnShown("distance", "int"), ColumnShown("history", "list", "float", required=False), ColumnShown("at", "timestamp")),
    outputs=(ColumnShown("on_time", "float"), ColumnShown("late", "float")),
    example=[{"distance": 300, "history": [0.5, 1.0], "at": "2013-01-01T05:00:00"}] * 9,
)


def recorded(registry, model, digest="d" * 64, **changes):
    return registry.record_run(
        small_manifest(model, run_key=digest[:24], **changes),
        {"log_loss": 0.5, "roc_auc": float("nan")},
        [{"loss": 1.0}, {"loss": 0.6}],
        digest,
    )


def test_a_run_is_recorded_once_and_whole(registry, server):
    """MO-10: Tags, parameters, epochs and the manifest; the same run key again is the same run."""
    run = recorded(registry, "once", parameters={"epochs": 3, "hidden": None}, parents=["p" * 64])
    assert recorded(registry, "once", parameters={"epochs": 3, "hidden": None}, parents=["p" * 64]) == run
    found = registry._server.get("runs/get", run_id=run)["run"]
    assert found["info"]["status"] == "FINISHED"
    assert {p["key"]: p["value"] for p in found["data"]["params"]} == {"seed": "0", "epochs": "3", "hidden": "None"}
    tags = registry.run_tags(run)
    assert (tags["snapshot"], tags["cause"], tags["parents"], tags["digest"]) == ("1", "manual", f'["{"p" * 64}"]', "d" * 64)
    history = registry._server.get("metrics/get-history", run_id=run, metric_key="loss")["metrics"]
    assert [(m["step"], m["value"]) for m in history] == [(0, 1.0), (1, 0.6)]
    assert list((server[1] / "files").rglob("manifest.json"))


def test_mlflow_shows_data_code_and_what_a_version_reads(registry, server):
    """MO-10, MO-12, MO-18: Datasets as inputs with digest, source and schema, source and commit, losses against the epoch, and, read by
    MLflow's own client, signature and input example of the version; a run that was cut short is completed and has nothing twice."""
    manifest = small_manifest("whole", run_key="whole", parameters={"hyperparameters.hidden": 32}, created=datetime.now(timezone.utc))
    history = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]
    run = registry.record_run(manifest, {"log_loss": 0.4}, history, "d" * 64, facts=FACTS)
    registry._server.post("runs/update", run_id=run, status="RUNNING")
    assert registry.record_run(manifest, {"log_loss": 0.4}, history, "d" * 64, facts=FACTS) == run

    found = registry._server.get("runs/get", run_id=run)["run"]
    inputs = {one["dataset"]["name"]: one for one in found["inputs"]["dataset_inputs"]}
    assert len(found["inputs"]["dataset_inputs"]) == 2
    flights = inputs["flights"]["dataset"]
    assert (flights["digest"], flights["source_type"]) == ("a" * 36, "delta_table")
    assert json.loads(flights["source"]) == {"path": "/store/tables/flights", "delta_table_version": 7}
    assert json.loads(flights["schema"]) == {"mlflow_colspec": [{"type": "long", "name": "distance", "required": True}]}
    assert json.loads(flights["profile"]) == {"num_rows": 31_000}
    assert [tag["value"] for one in inputs.values() for tag in one["tags"]] == ["training", "labels"]
    tags = registry.run_tags(run)
    assert (tags["mlflow.source.name"], tags["mlflow.source.git.commit"]) == ("include/perennial_models/whole", "c0ffee")
    parameters = {pair["key"]: pair["value"] for pair in found["data"]["params"]}
    assert parameters == {"seed": "0", "hyperparameters.hidden": "32", "data.snapshot": "7"}
    drawn = registry._server.get("metrics/get-history", run_id=run, metric_key="train_loss")["metrics"]
    assert sorted({(point["step"], point["value"]) for point in drawn}) == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert "epoch" not in {metric["key"] for metric in found["data"]["metrics"]}

    version = registry.register("whole", run, "d" * 64, {"gate": "passed"})
    assert version.tags["folder"] == f"perennial:/models/whole/versions/{'d' * 64}"
    info = read_model(server[0].mlflow_url, version)
    assert info.signature.inputs.to_dict() == [
        {"name": "distance", "type": "long", "required": True},
        {"name": "history", "type": "array", "items": {"type": "double"}, "required": False},
        {"name": "at", "type": "datetime", "required": True},
    ]
    assert info.signature.outputs.input_names() == ["on_time", "late"]
    assert info.saved_input_example_info["artifact_path"] == "input_example.json"
    stored = next((server[1] / "files").rglob(f"{run}/**/input_example.json"))
    assert json.loads(stored.read_text())["columns"] == ["distance", "history", "at"]
    assert len(json.loads(stored.read_text())["data"]) == 5


def read_model(url, version):
    """What MLflow's own client says of a version's model."""
    from mlflow import MlflowClient
    from mlflow.models import Model

    client = MlflowClient(tracking_uri=url, registry_uri=url)
    source = client.get_model_version(version.model, str(version.number)).source
    path = client.download_artifacts(version.run_id, f"{source.rsplit('/', 1)[-1]}/MLmodel")
    return Model.load(path)


PAGE = "http://airflow.test/dags/ended_training/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00"


def test_a_training_has_a_run_from_its_beginning(registry):
    """DE-15, MO-10: It runs, is killed, goes on in the same run, fails with the reason, and is finished once it made a version: one run,
    whose figures and tags are those of the version."""
    manifest = small_manifest("ended", run_key="e" * 24, parameters={"epochs": 3})
    run = registry.begin_run(manifest, {"orchestrator": PAGE})
    assert registry.running("ended", PAGE) == [run]
    assert registry.running("ended", f"{PAGE}0") == []
    registry.end_run(run, "KILLED", "It was ended from outside.")
    info = registry._run(run)["info"]
    assert (info["status"], info["end_time"] >= info["start_time"]) == ("KILLED", True)
    assert registry.run_tags(run)["ended"] == "It was ended from outside."
    assert registry.running("ended", PAGE) == []
    assert registry.begin_run(manifest, {"orchestrator": PAGE}) == run
    assert registry._run(run)["info"]["status"] == "RUNNING"
    assert registry.run_tags(run)["ended"] == ""
    registry.end_run(run, "FAILED", "The loss is no number.")
    assert registry.begin_run(manifest) == run
    again = {"parameters": {"epochs": 3}}
    assert recorded(registry, "ended", "e" * 64, **again) == run
    assert recorded(registry, "ended", "e" * 64, **again) == run
    found = registry._run(run)
    assert (found["info"]["status"], found["info"]["run_name"]) == ("FINISHED", "e" * 12)
    assert registry.run_tags(run)["ended"] == ""
    registry.end_run(run, "KILLED", "It comes too late.")
    assert registry.begin_run(manifest) == run
    assert registry._run(run)["info"]["status"] == "FINISHED"
    assert registry.register("ended", run, "e" * 64).number == 1


def test_a_recalibration_has_a_run_of_its_own(registry):
    """MO-10, MO-19: Its training's run stays as it was, though both have the same run key in their manifests; found again by its own
    key."""
    trained = recorded(registry, "apart")
    manifest = small_manifest("apart", run_key="d" * 24, cause="recalibration", parents=["d" * 64])
    run = registry.record_run(manifest, {"candidate_loss": 0.4}, [], "e" * 64, key="d-e")
    assert run != trained
    assert registry.record_run(manifest, {"candidate_loss": 0.4}, [], "e" * 64, key="d-e") == run
    assert recorded(registry, "apart") == trained
    tags, before = registry.run_tags(run), registry.run_tags(trained)
    assert (tags["run_key"], tags["cause"], tags["digest"]) == ("d-e", "recalibration", "e" * 64)
    assert (before["run_key"], before["cause"], before["digest"]) == ("d" * 24, "manual", "d" * 64)
    assert registry.register("apart", run, "e" * 64).tags["run_key"] == "d-e"


def test_a_version_is_registered_once_with_its_provenance(registry, server):
    """MO-11, MO-12, MO-18: The tags say where it comes from; registering it again gives the same number."""
    run = recorded(registry, "twice")
    version = registry.register("twice", run, "d" * 64, {"gate": "passed"}, "# A card")
    again = registry.register("twice", run, "d" * 64, {"gate": "passed again"}, "# Another card")
    assert (version.number, again.number) == (1, 1)
    found = registry.version("twice", 1)
    assert (found.digest, found.run_id, found.snapshot, found.tags["gate"], found.tags["code_digest"]) == (
        "d" * 64,
        run,
        1,
        "passed again",
        "c",
    )
    assert registry.register("twice", recorded(registry, "twice", "e" * 64), "e" * 64).number == 2
    assert [v.number for v in registry.versions("twice")] == [1, 2]
    assert registry.version_url("twice", 2) == f"{server[0].mlflow_url}/#/models/twice/versions/2?workflowType=machine_learning"
    assert registry.run_url(run).endswith(f"/runs/{run}?workflowType=machine_learning")


def test_a_run_without_provenance_cannot_be_registered(registry):
    """MO-10, MO-16: The sentence names what the run does not record; a run of another folder is refused too."""
    run = recorded(registry, "bare", code_digest="", lock_digest="")
    with pytest.raises(CandidateRefused, match="does not record code_digest and lock_digest"):
        registry.register("bare", run, "d" * 64)
    whole = recorded(registry, "bare", "e" * 64)
    with pytest.raises(CandidateRefused, match="recorded the version eeeeeeeeeeee"):
        registry.register("bare", whole, "d" * 64)
    with pytest.raises(UnknownName, match="no run"):
        registry.register("bare", "0" * 32, "d" * 64)
    assert registry.versions("bare") == []


def test_aliases_move(registry):
    """MO-11: One version has a role at a time; taking it away twice is no error; a missing version is named."""
    for digest in ("d" * 64, "e" * 64):
        registry.register("roles", recorded(registry, "roles", digest), digest)
    assert registry.version("roles", "champion") is None
    registry.set_alias("roles", "champion", 1)
    registry.set_alias("roles", "last_good", 1)
    assert registry.version("roles", "champion").aliases == ("champion", "last_good")
    registry.set_alias("roles", "champion", 2)
    assert (registry.version("roles", "champion").number, registry.versions("roles")[0].aliases) == (2, ("last_good",))
    registry.delete_alias("roles", "champion")
    registry.delete_alias("roles", "champion")
    registry.delete_alias("no_such_model", "champion")
    assert registry.version("roles", "champion") is None
    assert registry.version("roles", 77) is None
    with pytest.raises(UnknownName, match="no version 77"):
        registry.set_alias("roles", "champion", 77)
    with pytest.raises(ServiceUnreachable, match="Invalid alias name"):
        registry.set_alias("roles", "not an alias!", 1)


def test_versions_are_found_and_roles_told_in_one_request_each(registry, monkeypatch):
    """OP-10, MO-11: By content, number and role, however many others there are; numbers that lie far apart are asked for one by one."""
    assert registry.standing("many") == Standing()
    for place in range(6):
        registry.register("many", recorded(registry, "many", f"{place + 1:064d}"), f"{place + 1:064d}")
    registry.set_alias("many", "champion", 2)
    registry.set_alias("many", "last_good", 2)
    registry.note_followed("many", f"7 {'a' * 64}")
    asked, exchange = [], MlflowServer._exchange
    monkeypatch.setattr(MlflowServer, "_exchange", lambda self, *call: (asked.append(call[1]), exchange(self, *call))[1])
    assert registry.standing("many") == Standing(True, {"champion": 2, "last_good": 2}, f"7 {'a' * 64}")
    assert registry.standing("many").of(2) == registry.version("many", 2).aliases == ("champion", "last_good")
    assert (registry.find("many", f"{4:064d}").number, registry.find("many", "f" * 64)) == (4, None)
    assert {number: version.digest for number, version in registry.numbered("many", {2, 4, 40}).items()} == {
        2: f"{2:064d}", 4: f"{4:064d}"
    }  # fmt: skip
    assert registry.numbered("many", ()) == {}
    assert len(asked) == 6
    assert set(registry.numbered("many", {1, 6, 9000})) == {1, 6}
    assert len(asked) == 6 + 3


def test_what_a_run_says_already_is_not_logged_again(registry, monkeypatch):
    """OP-10, MO-10: A training that ran through sends its parameters once, and one call has figures, parameters and tags."""
    manifest = small_manifest(model="brief", run_key="b" * 24)
    bodies, post = [], MlflowServer.post
    monkeypatch.setattr(MlflowServer, "post", lambda self, path, **body: (bodies.append((path, body)), post(self, path, **body))[1])
    run = registry.begin_run(manifest, {"orchestrator": PAGE})
    assert registry.record_run(manifest, {"log_loss": 0.4}, [{"epoch": 1, "loss": 0.5}], "d" * 64) == run
    logged = [body for path, body in bodies if path == "runs/log-batch"]
    assert [sorted(body) for body in logged] == [["params", "run_id"], ["metrics", "run_id", "tags"]]
    assert [tag["key"] for tag in logged[1]["tags"]] == ["digest"]
    assert [path for path, _ in bodies].count("runs/create") == 1


def test_a_run_takes_notes_and_files(registry, server):
    """MO-10: Later stages add to it; an unknown run is named."""
    run = recorded(registry, "notes")
    registry.annotate(run, {"refused": "it is worse"}, {"test_log_loss": 0.7}, {"pages/gate.json": b"{}"})
    assert registry.run_tags(run)["refused"] == "it is worse"
    assert [path.read_bytes() for path in (server[1] / "files").rglob("gate.json")] == [b"{}"]
    with pytest.raises(UnknownName):
        registry.annotate("0" * 32, {"a": "b"})


def test_a_connection_that_the_server_closed_is_opened_again(registry):
    """DE-22: A stage that trained for an hour finds its kept connection dead."""
    registry.versions("nothing")
    registry._server._connection.sock.shutdown(socket.SHUT_RDWR)
    assert registry.versions("nothing") == []


def test_a_server_that_is_not_there_is_a_sentence():
    """MN-18: Refused at once, and soon if it takes the call and says nothing."""
    with pytest.raises(ServiceUnreachable, match=r"does not answer .*Start it, or correct PERENNIAL_MLFLOW_URL"):
        ModelRegistry(Settings.from_environment({"PERENNIAL_MLFLOW_URL": "http://127.0.0.1:1"})).versions("m")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "refuses the credentials"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}", "failed with status 500"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", "failed with status 200"),
        (b"nonsense", "does not answer"),
    ],
)
def test_a_server_that_answers_badly_is_a_sentence(answer, words, monkeypatch):
    """MN-18: Wrong credentials, a crash, another server on the port."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jo")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServiceUnreachable, match=words):
            ModelRegistry(Settings.from_environment({"PERENNIAL_MLFLOW_URL": url})).versions("m")
        thread.join()
    assert b"Authorization: Basic am86d3Jvbmc=" in asked[0]
