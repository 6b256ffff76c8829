"""Whole releases between real servers behind a real Envoy, under load, look by look."""

import threading
import time
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from perennial import discovery, testing
from perennial.data.snapshots import snapshot_at, table_of
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.lineage.release_record import release_record
from perennial.lineage.releases import releases
from perennial.lineage.version_folder import publish
from perennial.serving.load import Call, send
from perennial.specs import ReleaseSpec
from perennial.stages import score
from perennial.stages._routes import route_of
from perennial.stages.rollback import go_back
from perennial.stages.train import fill_version_folder
from perennial.store import FolderStore
from perennial.testing import World
from perennial.training.checkpoints import Checkpoints
from perennial.views._estimates import quantile

RELEASE = ReleaseSpec(min_seconds=3, observe_seconds=1)


@pytest.fixture(scope="module")
def world(platform) -> World:
    """With a first version that serves."""
    spec = platform.model.model_copy(update={"release": RELEASE})
    world = World(platform.scratch, spec=spec, settings=platform.settings, store=platform.store, backend=platform.backend)
    return world.with_champion(platform.version(1))


class Load:
    """Requests until the block ends."""

    def __init__(self, world: World, rate: float) -> None:
        self.world, self.rate, self.stop = world, rate, threading.Event()

    def __enter__(self) -> "Load":
        def calls() -> Iterator[Call]:
            rows = testing.small_rows(500, seed=3)
            for number in range(200_000):
                yield Call([rows[number % len(rows)]])

        def run() -> None:
            self.traffic = send(self.world.settings, self.world.spec, calls(), rate=self.rate, stop=self.stop)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join()


def test_a_release_a_sabotaged_candidate_and_a_rollback_lose_no_request(world, platform):
    """SE-10, SE-12: Every caller is answered.

    An equal version is promoted, one that fails part of its traffic is rolled back by evidence, and the button goes back.
    """
    name = world.spec.name
    with Load(world, 120) as load:
        time.sleep(3)
        begin = time.monotonic()
        second = world.registry.add(name, platform.version(2))
        promoted = world.until_end()
        print(f"{time.monotonic() - begin:.1f} s: {promoted.sentence}")

        begin = time.monotonic()
        third = world.registry.add(name, platform.saboteur(second.digest, share=0.3))
        sabotaged = world.until_end()
        print(f"{time.monotonic() - begin:.1f} s: {sabotaged.sentence}")
        last = world.ledger.last()

        fourth = world.registry.add(name, platform.version(4))
        assert world.release().look().action == "started"
        ended = go_back(world.release(), "looks wrong", "jo")
        time.sleep(1)
    print(load.traffic.sentence())
    assert (promoted.action, promoted.version) == ("promoted", second.number), promoted.sentence
    assert (sabotaged.action, sabotaged.version, sabotaged.champion) == ("rolled_back", third.number, second.number)
    assert "requests failed" in sabotaged.sentence
    assert last.evidence["errors"]["evidence"] > last.evidence["errors"]["limit"]
    assert (ended.version, ended.champion) == (fourth.number, second.number)
    assert load.traffic.failures == []
    assert world.ledger.verify() == []
    assert world.backend.route(world.spec) == route_of(world.ledger.last())
    recorded = {one.version: release_record(world.store, name, one.began) for one in releases(world.store, name).newest_first}
    ends = {version: record.looks[-1].action for version, record in recorded.items()}
    assert (ends[second.number], ends[third.number], ends[fourth.number]) == ("promote", "roll_back", "started")
    assert recorded[third.number].looks[-1].tallies["errors"].evidence >= recorded[third.number].plan.limits.worse["errors"]
    for timed in (recorded[second.number].looks[-1].latency.candidate, recorded[second.number].looks[-1].latency.champion):
        assert quantile(timed, 0.5).value > 0


def test_going_back_takes_no_start(world, monkeypatch):
    """SE-11: The version before the champion still runs: its traffic is back when the call returns."""
    last = world.ledger.last()
    monkeypatch.setattr("perennial.stages.rollback.REPEAT_SECONDS", 0)
    begin = time.monotonic()
    result = go_back(world.release(), "asked for", "jo")
    took = time.monotonic() - begin
    print(f"rolled back in {took:.2f} s")
    traffic = send(world.settings, world.spec, [Call([row]) for row in testing.small_rows(40)])
    assert result.champion == last.last_good
    assert traffic.by_version == {last.last_good: 40}
    assert traffic.failures == []


def test_blue_green_switches_all_at_once_and_back_without_a_lost_request(world, platform, monkeypatch):
    """SE-07, SE-12: No caller gets the new version before it is up, none goes without an answer while all traffic goes there and back; the
    version before stays warm."""
    name, before = world.spec.name, world.ledger.last().champion
    monkeypatch.setattr(world, "spec", world.spec.model_copy(update={"release": ReleaseSpec(strategy="blue_green")}))
    monkeypatch.setattr("perennial.stages.rollback.REPEAT_SECONDS", 0)
    green = world.registry.add(name, platform.version(5)).number
    with Load(world, 120) as load:
        time.sleep(1)
        promoted = world.release().look()
        switched = world.backend.route(world.spec)
        time.sleep(1)
        back = go_back(world.release(), "looks wrong", "jo")
        time.sleep(1)
    print(load.traffic.sentence())
    assert promoted.action == "promoted"
    assert "released blue/green" in promoted.sentence
    assert switched.weights == {green: 10_000, before: 0}
    assert back.champion == before
    assert load.traffic.failures == []
    assert set(load.traffic.by_version) == {before, green}
    answers = [entry for entry in world.ledger.entries() if entry.version == green]
    assert [entry.kind for entry in answers] == ["started", "promoted", "rolled_back"]


DATASET = """
from perennial.specs import Column, DatasetSpec
DATASET = DatasetSpec(name="small_flights", title="F", owner="tests", key=("flight",), event_time="scheduled_departure", columns=(
    Column(name="flight", type="int"), Column(name="scheduled_departure", type="timestamp"), Column(name="carrier", type="string"),
    Column(name="origin", type="string"), Column(name="distance", type="int"), Column(name="temp", type="float", nullable=True),
    Column(name="late", type="int")))
"""
SPEC = """
from perennial.specs import SplitSpec, TrainingSpec
from perennial.testing import small_model
MODEL = small_model().model_copy(update={{
    "dataset": "small_flights", "learner": "{learner}", "split": SplitSpec(test_days=4, validation_days=4, min_train_rows=100),
    "training": TrainingSpec(max_epochs=20)}})
"""
UNLABELLED = """
from perennial.specs import AnomalySpec, GateSpec, ModelSpec, SplitSpec
from perennial.testing import small_model
MODEL = ModelSpec(name="odd", title="Odd flights", owner="tests", dataset="small_flights", task="anomaly", learner="sklearn",
    inputs=small_model().inputs, split=SplitSpec(test_days=4, validation_days=4, min_train_rows=100),
    anomaly=AnomalySpec(budget=0.1, refits=2), gate=GateSpec(metric="alarm_share", floors={}))
"""
FEATURES = """
from perennial.encoding import Category, Encoder, Number, Raw, numbers
def label(columns):
    return numbers(columns["late"])
def fit(columns):
    return Encoder({tensors})
def encode(encoder, columns):
    return encoder.encode(columns)
"""
TENSORS = {
    "boosted": """{"numbers": [Number.fit(columns, "distance"), Number.fit(columns, "temp", nulls=True)],
                   "categories": [Category.fit(columns, "carrier"), Category.fit(columns, "origin")]}""",
    "sklearn": """{**{name: [Raw(name)] for name in ("distance", "temp")},
                   **{name: [Raw(name, words=True)] for name in ("carrier", "origin")}}""",
}
PIPELINE = """
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
def estimator(spec):
    columns = [("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["distance", "temp"]),
               ("words", OneHotEncoder(handle_unknown="ignore"), ["carrier", "origin"])]
    return make_pipeline(ColumnTransformer(columns), LogisticRegression())
"""


NUMBERS = """{"numbers": [Number.fit(columns, "distance"), Number.fit(columns, "temp", nulls=True)]}"""
FOREST = """
from sklearn.ensemble import IsolationForest
def estimator(spec):
    return IsolationForest(n_estimators={trees})
"""


def learnt(platform, folder: Path, learner: str) -> str:
    """Publish a version of the small model that a learner has made of a few hundred flights; its digest."""
    name = platform.model.name
    files = {
        "spec.py": SPEC.format(learner=learner),
        "features.py": FEATURES.format(tensors=TENSORS[learner]),
        "model.py": PIPELINE,
    }
    return made_of(platform, folder, name, files, run_key=f"{learner:0>24}")


def made_of(platform, folder: Path, name: str, model_files: dict[str, str], *, run_key: str) -> str:
    """Publish a version of the model of these files, trained on a few hundred flights; its digest."""
    files = {
        "perennial_datasets/small_flights.py": DATASET,
        **{f"perennial_models/{name}/{file}": text for file, text in ({"__init__.py": ""} | model_files).items()},
    }
    for path, text in files.items():
        (folder / "include" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "include" / path).write_text(text)
    rows = [
        row
        | {"flight": place, "late": int(row["distance"] > 1500), "scheduled_departure": datetime.fromisoformat(row["scheduled_departure"])}
        for place, row in enumerate(testing.small_rows(400, seed=5))
    ]
    with discovery.also_in(folder):
        dataset, store = discovery.dataset("small_flights"), FolderStore(str(folder / "store"))
        kinds = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("us")}
        schema = pa.schema([(column.name, kinds[column.type]) for column in dataset.columns])
        table_of(store, dataset).append(pa.Table.from_pylist(rows, schema), "1f" * 32)
        source, checkpoints = snapshot_at(store, dataset, 1), Checkpoints(folder / "run")
        fill_version_folder(folder / "version", discovery.model(name), dataset, source, checkpoints=checkpoints)
    return publish(platform.store, name, folder / "version", testing.small_manifest(name, run_key=run_key))


def quick_world(platform, spec, registry=None) -> World:
    """The platform's world of a model whose releases take seconds."""
    release = ReleaseSpec(steps=(50, 100), min_seconds=1, min_requests=40, observe_seconds=1)
    own = {"spec": spec.model_copy(update={"release": release}), "settings": platform.settings, "store": platform.store}
    return World(platform.scratch, **own, backend=platform.backend, registry=registry)


def is_promoted(world: World, digest: str) -> None:
    """Release a version under load: no caller is failed, it answers its share in each step, and it is promoted."""
    with Load(world, 120) as load:
        version = world.registry.add(world.spec.name, digest)
        ended = world.until_end()
        time.sleep(1)
    assert (ended.action, ended.version) == ("promoted", version.number), ended.sentence
    assert load.traffic.failures == []
    assert load.traffic.by_version[version.number] > world.spec.release.min_requests
    shares = [entry.weights.get(version.number, 0) for entry in Ledger(world.store, world.spec.name).entries()]
    assert [share for share in shares if share] == [5000, 10000]


def test_versions_by_other_learners_take_a_canary_s_traffic(world, platform, tmp_path):
    """MO-01, SE-10: One made of LightGBM's trees and one of a scikit-learn Pipeline are served by the real server, answer their share of
    the callers in each step, and are promoted."""
    quick = quick_world(platform, world.spec, world.registry)
    for learner in ("boosted", "sklearn"):
        is_promoted(quick, learnt(platform, tmp_path / learner, learner))


def test_a_model_without_labels_takes_a_canary_s_traffic(platform, tmp_path):
    """MO-01, SE-01, SE-03, SE-10: Two isolation forests serve one after the other; each answer of the real server is a score and whether it
    is an alarm, and batches get the same bits."""
    files = {"spec.py": UNLABELLED, "features.py": FEATURES.format(tensors=NUMBERS)}
    digests = [
        made_of(platform, tmp_path / made, "odd", {**files, "model.py": FOREST.format(trees=trees)}, run_key=f"{made:0>24}")
        for made, trees in (("first", 100), ("second", 200))
    ]
    with discovery.also_in(tmp_path / "second"):
        quick = quick_world(platform, discovery.model("odd")).with_champion(digests[0])
        is_promoted(quick, digests[1])
        learnt_from = table_of(FolderStore(str(tmp_path / "second/store")), discovery.dataset("small_flights"))
        table_of(platform.store, discovery.dataset("small_flights")).append(learnt_from.scan(), "1f" * 32)
        result = score.run(platform.settings, platform.store, "odd", first=date(2013, 1, 1), last=date(2014, 1, 1))
        stored = Table(platform.store, result.table).scan().sort_by("key_flight").to_pylist()
    asked = [{name: row[name] for name in quick.spec.inputs} for row in testing.small_rows(400, seed=5)]
    given = platform.answers(asked, "odd")
    assert [[row["score_score"], row["score_alarm"]] for row in stored] == given
    assert 0.02 < sum(alarm for _, alarm in given) / len(given) < 0.25
