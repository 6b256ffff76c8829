"""The stage train: one version for one set of inputs, fitted on the training days alone, or a sentence why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import reproduce
from perennial.data.hashes import digest_by_names
from perennial.data.snapshots import Snapshot, snapshot_at
from perennial.data.tables import Table
from perennial.encoding import Encoder
from perennial.errors import ServiceUnreachable, StoredDataDamaged, TrainingRefused, UnknownName
from perennial.lineage.making import making
from perennial.lineage.version_folder import fetch, key, published, read_manifest
from perennial.registry.model_registry import Standing, Version
from perennial.settings import Settings
from perennial.stages import train as stage
from perennial.store import FolderStore
from perennial.testing import crown

January = Callable[[int, int], pa.Table]


class Registry:
    """What the stage asks of the registry, in memory."""

    champion: Version | None = None
    down = False
    recorded: dict[str, Any] = {}  # noqa: RUF012  shared on purpose: the stage makes its own instance

    def __init__(self, settings: Settings) -> None:
        """Nothing to connect to."""

    def standing(self, model: str) -> Standing:
        """The champion's role."""
        return Standing(True, {"champion": self.champion.number}) if self.champion else Standing()

    def numbered(self, model: str, numbers: Collection[int]) -> dict[int, Version]:
        """The champion alone."""
        return {self.champion.number: self.champion} if self.champion else {}

    def record_run(self, manifest: Any, metrics: dict[str, float], history: list[dict[str, float]], digest: str, *, facts: Any) -> str:
        """Keep what was recorded."""
        if self.down:
            raise ServiceUnreachable("MLflow does not answer.")
        self.recorded[manifest.run_key] = {"manifest": manifest, "metrics": metrics, "history": history, "digest": digest, "facts": facts}
        return f"run-{manifest.run_key}"

    def begin_run(self, manifest: Any, tags: dict[str, str]) -> str:
        """Keep that it runs."""
        self.recorded[f"run-{manifest.run_key}"] = {"status": "RUNNING", **tags}
        return f"run-{manifest.run_key}"

    def end_run(self, run_id: str, status: str, sentence: str) -> None:
        """Keep how it ended."""
        if self.down:
            raise ServiceUnreachable("MLflow does not answer.")
        self.recorded[run_id] |= {"status": status, "ended": sentence}

    def annotate(self, run_id: str, tags: dict[str, str], metrics: dict[str, float], files: dict[str, bytes]) -> None:
        """Keep the notes."""
        self.recorded[run_id] = {**self.recorded.get(run_id, {}), **tags}

    def run_url(self, run_id: str) -> str:
        """Address of a run."""
        return f"http://mlflow/{run_id}"


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Registry]]:
    """The stage's registry."""
    monkeypatch.setattr(stage, "ModelRegistry", Registry)
    monkeypatch.setattr(Registry, "recorded", {})
    yield Registry
    Registry.champion, Registry.down = None, False


@pytest.fixture(scope="module")
def flights(january: January) -> pa.Table:
    """26 days of flights: five to train, a week to validate, a fortnight to test."""
    return january(1, 26)


@pytest.fixture
def store(tmp_path: Path, flights: pa.Table) -> FolderStore:
    """A store with one snapshot of flights."""
    store = FolderStore(str(tmp_path / "store"))
    Table(store, "flights").append(flights, "first")
    return store


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a machine."""
    return Settings(home=tmp_path / "home", store=str(tmp_path / "store"))


def go(settings: Settings, store: FolderStore, **given: Any) -> Any:
    """Run the stage for two epochs."""
    return stage.run(settings, store, **{"model": "flight_delays", "snapshot": 1, "max_epochs": 2} | given)


def test_a_version_is_sealed_and_recorded(settings: Settings, store: FolderStore, registry: type[Registry], tmp_path: Path) -> None:
    """MO-10, MO-16: The folder holds all that serving needs, the manifest all that made it, the registry its run."""
    registry.champion = Version("flight_delays", 1, "d" * 64, "r", aliases=("champion",))
    crown(store, "flight_delays", registry.champion)
    found = go(settings, store, cause="drift", request="req", reason="because", run_url="http://airflow/run")
    folder = fetch(store, "flight_delays", found.digest, tmp_path / "into")
    assert {"model.onnx", "encoder.json", "signature.json", "golden.json", "features.py", "manifest.json", "training.json"} == {
        file.name for file in folder.iterdir()
    }
    manifest = read_manifest(store, "flight_delays", found.digest)
    assert (manifest.cause, manifest.request, manifest.reason, manifest.parents) == ("drift", "req", "because", ["d" * 64])
    assert manifest.snapshot_digest == snapshot_at(store, discovery.dataset("flights"), 1).digest
    assert manifest.parameters["max_epochs"] == 2
    assert manifest.event_time_end.startswith("2013-01-05T")
    assert found.epochs == 2
    recorded = registry.recorded[manifest.run_key]
    assert recorded["digest"] == found.digest
    assert recorded["metrics"]["validation_log_loss"] == found.metrics["log_loss"]
    assert [epoch["epoch"] for epoch in recorded["history"]] == [1, 2]
    assert registry.recorded[found.run_id] == {"status": "RUNNING", "orchestrator": "http://airflow/run"}
    facts = recorded["facts"]
    assert [(one.name, one.digest, one.snapshot, one.context) for one in facts.datasets] == [
        ("flights", manifest.snapshot_digest, manifest.snapshot, "training")
    ]
    assert facts.datasets[0].rows == int(facts.parameters["data.train_rows"]) > 0
    assert {column.name for column in facts.inputs} == set(manifest.parameters["inputs"].split(","))
    assert [column.name for column in facts.outputs] == manifest.parameters["classes"].split(",")
    assert set(facts.example[0]) == {column.name for column in facts.inputs}
    made = making(store, manifest.model, found.digest)
    assert made is not None
    assert made.seconds is not None
    assert 0 < made.seconds < 1000
    assert made.usage is not None
    assert set(made.usage.parts) == {"read", "encode", "batches", "steps", "validation", "checkpoints", "export"}
    assert made.usage.sentence in found.sentence
    assert made.usage.figures().items() <= registry.recorded[manifest.run_key]["metrics"].items()
    assert not any("used" in name for name in json.loads((folder / "training.json").read_text()))
    assert found.links == {"MLflow run": f"http://mlflow/{found.run_id}"}


def test_the_same_inputs_are_trained_once(settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-22: A second call gives the same version without training; other parameters train another one."""
    first = go(settings, store)
    with monkeypatch.context() as nothing_trains:
        nothing_trains.setattr(stage, "fill_version_folder", None)
        again = go(settings, store, cause="schedule")
    assert (again.digest, again.run_id, again.metrics) == (first.digest, first.run_id, first.metrics)
    assert "was trained before" in again.sentence
    assert go(settings, store, max_epochs=1).digest != first.digest


def test_nothing_is_left_when_it_is_sealed(settings: Settings, store: FolderStore) -> None:
    """OP-10: Checkpoints of the run are removed, on the machine and from the store."""
    go(settings, store)
    assert not list((settings.home / "runs").iterdir())
    assert not list(store.list("models/flight_delays/runs"))


def test_a_registry_that_is_away_costs_no_second_training(
    settings: Settings, store: FolderStore, registry: type[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DE-22: The version is sealed before it is recorded; the retry only records it."""
    registry.down = True
    with pytest.raises(ServiceUnreachable):
        go(settings, store)
    registry.down = False
    monkeypatch.setattr(stage, "fill_version_folder", None)
    found = go(settings, store)
    assert registry.recorded[found.run_id.removeprefix("run-")]["digest"] == found.digest
    made = making(store, "flight_delays", found.digest)
    assert made is not None
    assert made.seconds  # of the training; the retry was none


def test_the_encoder_knows_the_training_days_alone(settings: Settings, store: FolderStore, flights: pa.Table, tmp_path: Path) -> None:
    """DM-04, DM-12: What happens on validation and test days changes no fitted value: the same encoder with and without their weather."""
    found = go(settings, store, max_epochs=1)
    changed = flights.to_pandas()
    late = changed["scheduled_departure"] >= "2013-01-06"
    changed.loc[late, "temp"] = 1000.0
    changed.loc[late, "carrier"] = "ZZ"
    other = FolderStore(str(tmp_path / "other"))
    Table(other, "flights").append(pa.Table.from_pandas(changed, schema=flights.schema, preserve_index=False), "changed")
    beside = go(settings, other, max_epochs=1)
    encoders = [
        fetch(where, "flight_delays", one.digest, tmp_path / name) / "encoder.json"
        for where, one, name in ((store, found, "a"), (other, beside, "b"))
    ]
    assert encoders[0].read_text() == encoders[1].read_text()
    assert Encoder.from_json(json.loads(encoders[0].read_text())).sizes("categories")
    assert found.digest != beside.digest


@pytest.mark.parametrize(
    ("delay", "sentence"),
    [(0, "no training row is late"), (99, "no training row is on_time")],
)
def test_one_class_alone_is_refused(settings: Settings, tmp_path: Path, flights: pa.Table, delay: int, sentence: str) -> None:
    """DM-10: There is nothing to tell apart; the sentence says which class is missing."""
    place = flights.schema.get_field_index("arr_delay")
    store = FolderStore(str(tmp_path / "other"))
    Table(store, "flights").append(
        flights.set_column(place, flights.schema.field(place), pa.array([delay] * len(flights), pa.int64())), "same"
    )
    with pytest.raises(TrainingRefused, match=sentence):
        go(settings, store)


def test_a_changed_byte_stops_the_training(settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-17: The file is named with what to do, and nothing has been learned from it."""
    file = Path(store.root, "tables/flights", Table(store, "flights").files()[0]["path"])
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr(discovery.model_part("flight_delays", "features"), "fit", lambda _: pytest.fail("it was learned from"))
    with pytest.raises(StoredDataDamaged, match=rf"tables/flights/{file.name} was changed after it was written"):
        go(settings, store)


def test_a_version_from_before_digests_over_bytes_is_the_same_training(
    settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DE-03, DM-06: Its manifest has the digest over names and sizes: it is answered with, and not trained again."""
    with monkeypatch.context() as then:
        then.setattr(Snapshot, "digest", property(lambda self: digest_by_names(self.table.files(self.version))))
        first = go(settings, store, max_epochs=1)
    assert len(read_manifest(store, "flight_delays", first.digest).snapshot_digest) == 64
    again = go(settings, store, max_epochs=1)
    assert again.digest == first.digest
    assert "was trained before on these inputs" in again.sentence


def test_too_few_rows_are_refused(settings: Settings, tmp_path: Path, flights: pa.Table) -> None:
    """DM-12: With the counts and what is needed; nothing is sealed."""
    store = FolderStore(str(tmp_path / "other"))
    Table(store, "flights").append(flights.slice(0, 200), "few")
    with pytest.raises(TrainingRefused, match="too small for flight_delays"):
        go(settings, store)
    assert not list(store.list("models"))


def test_an_unknown_snapshot_is_refused(settings: Settings, store: FolderStore) -> None:
    """DM-06: There is no snapshot 7."""
    with pytest.raises(UnknownName, match="no snapshot 7"):
        go(settings, store, snapshot=7)


def test_labels_must_be_classes(settings: Settings, store: FolderStore) -> None:
    """DM-10: A label outside the spec's classes, or a regression label that never varies, is a sentence."""
    spec, source = discovery.model("flight_delays"), snapshot_at(store, discovery.dataset("flights"), 1)
    with pytest.raises(TrainingRefused, match="its label is 7 in some rows, and the spec names 2 classes"):
        stage.refuse_untrainable(spec, source, np.array([0.0, 1.0, 7.0]), np.array([1.0]))
    regression = spec.model_copy(update={"task": "regression", "classes": ()})
    with pytest.raises(TrainingRefused, match="its label arr_delay is 3 in every training row"):
        stage.refuse_untrainable(regression, source, np.array([3.0, 3.0]), np.array([1.0]))
    stage.refuse_untrainable(regression, source, np.array([3.0, 4.0]), np.array([1.0]))


def test_labels_that_are_no_class_are_in_the_record_and_said(
    settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-10: Two flights whose delay is made no class are left out: the sealed folder counts them, the sentence names them."""
    features = discovery.model_part("flight_delays", "features")
    right = features.label
    early = sorted(snapshot_at(store, discovery.dataset("flights"), 1).rows(["arr_delay"])["arr_delay"].dropna())[0]
    monkeypatch.setattr(features, "label", lambda columns: np.where(columns["arr_delay"] == early, np.nan, right(columns)))
    found = go(settings, store, max_epochs=1)
    record = json.loads(store.read(f"{key('flight_delays', found.digest)}/training.json"))
    lost = record["unknown_labels"]
    assert (lost["rows"], list(lost["values"])) == (lost["values"][str(early)], [str(early)])
    assert f"{lost['rows']:,} of {lost['of']:,} labels (0.0%) are no class and left out: `{early}` ({lost['rows']})." in found.sentence


def test_helpers_of_a_training_over_several_devices_seal_nothing(
    settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-05: Only the first process publishes, and only it answers with a result: the others end in peace."""
    monkeypatch.setattr(stage, "fill_version_folder", lambda *_, **__: False)
    with pytest.raises(SystemExit) as ended:
        go(settings, store)
    assert ended.value.code == 0
    assert not list(store.list("models"))
    assert published(store, "flight_delays", "any") is None


def test_other_files_than_the_run_began_with_are_refused(
    settings: Settings, store: FolderStore, registry: type[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-16: At once where validate noted others; before anything is sealed where they changed while it trained."""
    with pytest.raises(TrainingRefused, match="changed while this run was under way"):
        go(settings, store, code="0" * 64)
    codes = iter(("before", "before", "after"))
    monkeypatch.setattr(stage, "run_code", lambda spec: next(codes))
    monkeypatch.setattr("perennial.lineage.manifest.run_code", lambda spec: next(codes))
    monkeypatch.setattr(stage, "fill_version_folder", lambda *given, **named: True)
    with pytest.raises(TrainingRefused, match="changed while this run was under way"):
        go(settings, store)
    assert not list(store.list("models/flight_delays"))
    (shown,) = registry.recorded.values()
    assert shown["status"] == "FAILED", "nothing was recorded as a version"


def test_a_mistake_in_features_is_a_sentence(settings: Settings, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15, MN-18: A column that it reads and the dataset has no more: the file and the line, and no try again."""
    features = discovery.model_part("flight_delays", "features")
    source = Path(str(features.__file__)).read_text().replace('["arr_delay"]', '["arr_dly"]')
    code = compile(source, str(features.__file__), "exec")
    monkeypatch.setattr(features, "label", (lambda space: exec(code, space) or space["label"])({"__name__": "changed"}))
    with pytest.raises(TrainingRefused, match=r"its features\.py, line \d+, broke with KeyError: 'arr_dly'\. Mend that file\."):
        go(settings, store)


def test_a_warm_start_is_part_of_what_a_version_is_made_of(
    settings: Settings, store: FolderStore, registry: type[Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-15, MO-16: The first training has nothing to begin with; the next one begins with the champion's weights and names it, and a
    new champion alone is no reason to train again."""
    spec = discovery.model("flight_delays")
    warm = spec.model_copy(update={"training": spec.training.model_copy(update={"warm_start": True})})
    monkeypatch.setattr(discovery, "model", lambda name: warm)
    monkeypatch.setattr(stage, "require_code", lambda *_: None)
    first = go(settings, store, max_epochs=1)
    cold = read_manifest(store, spec.name, first.digest)
    assert (cold.parameters["warm_start"], "weights.pt" in cold.files) == ("", True)
    registry.champion = Version(spec.name, 1, first.digest, "r", aliases=("champion",))
    crown(store, spec.name, registry.champion)
    second = go(settings, store, max_epochs=1)
    warmed = read_manifest(store, spec.name, second.digest)
    assert warmed.parameters == cold.parameters | {"warm_start": first.digest}
    assert warmed.run_key != cold.run_key
    record = json.loads(store.read(f"{key(spec.name, second.digest)}/training.json"))
    before = json.loads(store.read(f"{key(spec.name, first.digest)}/training.json"))
    assert record["history"][0]["train_loss"] < before["history"][0]["train_loss"]
    assert reproduce.differences(warm, warmed) == []
    store.delete(f"{key(spec.name, first.digest)}/weights.pt")
    with pytest.raises(StoredDataDamaged, match=r"weights\.pt of flight_delays .* is missing from the store: restore"):
        stage.begun_with(store, warmed)


@pytest.mark.parametrize(
    ("error", "status"),
    [(TrainingRefused("The loss is no number."), "FAILED"), (MemoryError(), "FAILED"), (KeyboardInterrupt(), "KILLED")],
)
@pytest.mark.parametrize("down", [False, True])
def test_a_training_that_makes_no_version_is_recorded_as_such(
    settings: Settings,
    store: FolderStore,
    registry: type[Registry],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
    down: bool,
) -> None:
    """DE-15: Failed where it broke, killed where it was asked to end, with the reason; a registry that is down then hides neither."""

    def breaks(*_: Any, **__: Any) -> bool:
        (shown,) = registry.recorded.values()
        assert shown == {"status": "RUNNING", "orchestrator": "http://airflow/run"}
        Registry.down = down
        raise error

    monkeypatch.setattr(stage, "fill_version_folder", breaks)
    with pytest.raises(type(error)):
        go(settings, store, run_url="http://airflow/run")
    (shown,) = registry.recorded.values()
    assert shown["status"] == ("RUNNING" if down else status)
    assert down or shown["ended"] == (str(error) or type(error).__name__)
