"""The stage evaluate: candidate and champion on the same rows, every figure traceable to the losses of single rows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from perennial import discovery
from perennial.data.snapshots import snapshot_at
from perennial.data.tables import Table
from perennial.errors import CandidateRefused, StoredDataDamaged, TrainingRefused, UnknownName
from perennial.lineage.manifest import LabelsUsed, OutcomesUsed, run_code
from perennial.lineage.version_folder import MANIFEST, fetch, key, publish, read_manifest
from perennial.results import EvaluateResult
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, GroupSpec, LabelSpec, SplitSpec
from perennial.stages import evaluate as stage
from perennial.stages.recalibrate import recalibrated
from perennial.stages.train import begin_manifest, fill_version_folder
from perennial.store import FolderStore
from perennial.testing import World
from perennial.training.checkpoints import Checkpoints
from perennial.training.evaluation import resampled
from perennial.training.recalibration import Recalibration, recalibrate

January = Callable[[int, int], pa.Table]


RUN = "run4"


@dataclass(frozen=True)
class Trained:
    """A store with two snapshots, and a version trained on each."""

    root: Path
    store: FolderStore
    older: str
    newer: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, january: January) -> Trained:
    """Every fourth flight of January: 19 days, then a week more."""
    root = tmp_path_factory.mktemp("evaluate")
    store = FolderStore(str(root / "store"))
    split = {
        "split": SplitSpec(test_days=7, validation_days=7, train_days=90)
    }  # what the days above are enough for, whatever the model's own
    spec, dataset = discovery.model("flight_delays").model_copy(update=split), discovery.dataset("flights")
    digests = []
    for first, last in ((1, 19), (20, 26)):
        version = Table(store, "flights").append(january(first, last), f"{first}")
        source = snapshot_at(store, dataset, version)
        folder = root / f"version{version}"
        fill_version_folder(folder, spec, dataset, source, checkpoints=Checkpoints(root / f"run{version}"), max_epochs=1)
        manifest = begin_manifest(spec, source, 1, cause="data").model_copy(update={"event_time_end": "2013"})
        digests.append(publish(store, "flight_delays", folder, manifest))
    return Trained(root, store, *digests)


@pytest.fixture
def world(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The two versions, and a registry that has the older one as its champion."""
    settings = Settings(home=trained.root / "home", store=trained.store.root, airflow_url="http://airflow")
    world = World(trained.root, spec=discovery.model("flight_delays"), settings=settings, store=trained.store)
    world.digest = trained.newer
    world.registry.add("flight_delays", trained.older, "champion", number=3)
    monkeypatch.setattr(stage, "resampled", partial(resampled, resamples=20))  # of 200: one test looks at them
    yield world
    for entry in list(world.store.list("ledger")):
        world.store.delete(entry.key)


def older(world: World) -> str:
    """The digest of the version that was trained first."""
    digest: str = world.registry.version("flight_delays", 3).digest
    return digest


def go(world: World, digest: str | None = None) -> tuple[EvaluateResult, dict[str, Any], pa.Table]:
    """Run the stage; its result, its document and its losses."""
    world.crown(world.registry.version("flight_delays", "champion"))
    found = stage.run(world.settings, world.store, "flight_delays", digest or world.digest, RUN)
    document = json.loads(world.store.read(found.evaluation))
    return found, document, pq.read_table(io.BytesIO(world.store.read(document["losses"])))


def test_candidate_and_champion_are_measured_on_the_same_rows(world: World) -> None:
    """MO-07, MO-13: A loss of each for every test row of the candidate; their means are the log losses of the document."""
    found, document, losses = go(world)
    test = losses.filter(pa.compute.equal(losses["part"], "test"))
    assert found.champion == 3
    assert document["champion"] == {"version": 3, "digest": older(world)}
    assert len(test) == document["parts"]["test"]["rows"] > 500
    for who in ("candidate", "champion"):
        assert np.mean(test[who].to_numpy()) == pytest.approx(document["parts"]["test"][who]["metrics"]["log_loss"])
    assert len(set(test["key"].to_pylist())) == len(test)
    assert {str(day) for day in test["day"].to_pylist()} == {f"2013-01-{day}" for day in range(20, 27)}
    assert found.metrics == document["parts"]["test"]["candidate"]["metrics"]


def test_both_are_measured_on_the_champions_own_older_days(world: World) -> None:
    """MO-20: Frozen rows: the test days of the champion, from the snapshot it was trained on."""
    _, document, losses = go(world)
    old = losses.filter(pa.compute.equal(losses["part"], "old_context"))
    assert document["parts"]["old_context"]["days"] == ["2013-01-13", "2013-01-19"]
    assert len(old) == document["parts"]["old_context"]["rows"]
    manifest = read_manifest(world.store, "flight_delays", older(world))
    _, alone, _ = go(world, older(world))
    assert manifest.digest == older(world)
    assert alone["parts"]["test"]["candidate"]["metrics"] == document["parts"]["old_context"]["champion"]["metrics"]


@pytest.mark.parametrize(("fitted", "saw"), [(["2013-01-13", "2013-01-19"], False), (["2013-01-16", "2013-01-20"], True)])
def test_a_recalibrated_champion_is_measured_on_the_older_days_of_its_training(
    world: World, tmp_path: Path, fitted: list[str], saw: bool
) -> None:
    """MO-20: Its snapshot, its test days and the rows are those of the version whose weights it has.

    The scores are its own, and the days that shaped them too.
    """
    _, plain, _ = go(world)
    folder = fetch(world.store, "flight_delays", older(world), tmp_path / "version")
    (folder / MANIFEST).unlink()
    recalibrate(folder, Recalibration("binary", 0.5, (0.0, -1.0)), {"champion": older(world), "fitted_days": fitted})
    manifest = recalibrated(read_manifest(world.store, "flight_delays", older(world)), older(world))
    world.registry.add("flight_delays", publish(world.store, "flight_delays", folder, manifest), "champion", number=4)
    found, document, losses = go(world)
    assert found.champion == 4
    old, was = document["parts"]["old_context"], plain["parts"]["old_context"]
    assert (old["rows"], old["days"], old["candidate"]) == (was["rows"], was["days"], was["candidate"])
    assert old["champion"]["metrics"]["log_loss"] != was["champion"]["metrics"]["log_loss"]
    assert old["champion"]["metrics"]["roc_auc"] == pytest.approx(was["champion"]["metrics"]["roc_auc"])
    assert (plain["champion_saw_test_days"], document["champion_saw_test_days"]) == (False, saw)
    mine = losses.filter(pa.compute.equal(losses["part"], "old_context"))["champion"].to_numpy()
    assert np.mean(mine) == pytest.approx(old["champion"]["metrics"]["log_loss"])


def test_every_slice_of_the_spec_is_there(world: World) -> None:
    """MO-21: Columns and parts of the event time; a slice of each row stands beside its losses."""
    _, document, losses = go(world)
    slices = document["parts"]["test"]["candidate"]["slices"]
    assert set(slices) == {"carrier", "origin", "month"}
    assert set(slices["origin"]) == {"EWR", "JFK", "LGA"}
    assert set(slices["month"]) == {"2013-01"}
    rows = [origin for part, origin in zip(losses["part"].to_pylist(), losses["slice_origin"].to_pylist(), strict=True) if part == "test"]
    assert rows.count("EWR") == slices["origin"]["EWR"]["rows"]


def test_the_figures_have_intervals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-07: Each metric lies within its own."""
    monkeypatch.setattr(stage, "resampled", resampled)
    _, document, _ = go(world)
    candidate = document["parts"]["test"]["candidate"]
    for name, value in candidate["metrics"].items():
        if name != "calibration_error":  # resampled days are less well calibrated than all together
            assert candidate["intervals"][name][0] <= value <= candidate["intervals"][name][1], name


def test_the_evaluation_has_a_page(world: World) -> None:
    """MO-10: The result names it. MLflow may be away: its run is told by the stage that judges."""
    go(world)
    world.registry.unreachable = True
    found = stage.run(world.settings, world.store, "flight_delays", world.digest, RUN)
    assert found.links == {"Evaluation": f"http://airflow/perennial/report/flight_delays/{world.digest}/evaluation.html"}


class Page(HTMLParser):
    """Tags, and whatever the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else(world: World) -> None:
    """MO-07, MN-18: Tables, the calibration plot, both versions, and no address to load anything from."""
    go(world)
    text = world.store.read(f"reports/flight_delays/{world.digest}/evaluation.html").decode()
    page = Page()
    page.feed(text)
    assert not page.fetched
    assert "script" not in page.tags
    assert {"svg", "table"} <= set(page.tags)
    assert "version 3, the champion" in text
    assert "Older days" in text


def test_an_evaluation_shows_the_groups_that_the_dataset_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: Rows and label rate of each airport in the version's own training and test rows, in the document and on the page."""
    grouped = discovery.dataset("flights").model_copy(update={"groups": (GroupSpec(column="origin"),)})
    monkeypatch.setattr(discovery, "dataset", lambda name: grouped)
    _, document, losses = go(world)
    (origin,) = document["groups"]
    test = document["parts"]["test"]
    assert {line["group"] for line in origin["shares"]} == {"EWR", "JFK", "LGA"}
    assert sum(line["test"] for line in origin["shares"]) >= test["rows"] > len(losses) // 3
    late = sum(line["rates"][0][0] * line["labelled"] for line in origin["labels"]["groups"])
    assert late >= test["classes"][discovery.model("flight_delays").classes[1]] > 0
    page = world.store.read(f"reports/flight_delays/{world.digest}/evaluation.html").decode()
    assert "<h2>Groups by origin</h2>" in page


@pytest.mark.parametrize("champion", [None, "itself"])
def test_a_first_version_stands_alone(world: World, champion: str | None) -> None:
    """MO-07: Without a champion, or being it, nothing is compared."""
    world.registry.add("flight_delays", world.digest, "champion", number=3)
    if not champion:
        world.registry.delete_alias("flight_delays", "champion")
    found, document, losses = go(world)
    assert found.champion is None
    assert document["champion"] is None
    assert set(document["parts"]) == {"test"}
    assert "champion" not in losses.column_names
    assert "There is no champion" in world.store.read(f"reports/flight_delays/{world.digest}/evaluation.html").decode()


def test_a_champion_that_saw_the_days_is_flagged(world: World) -> None:
    """MO-07: Against a champion trained later the comparison is unfair, and says so."""
    assert not go(world)[1]["champion_saw_test_days"]
    world.registry.add("flight_delays", world.digest, "champion", number=4)
    assert go(world, older(world))[1]["champion_saw_test_days"]
    assert (
        "was trained or recalibrated on some of these days"
        in world.store.read(f"reports/flight_delays/{older(world)}/evaluation.html").decode()
    )


def test_a_champion_that_means_something_else_cannot_be_compared(world: World, tmp_path: Path) -> None:
    """MO-13: The candidate is measured alone, and the document says what has changed: of the meaning, and of what callers send."""
    folder = fetch(world.store, "flight_delays", older(world), tmp_path / "version")
    (folder / MANIFEST).unlink()
    signature = json.loads((folder / "signature.json").read_text())
    assert go(world)[1]["signature"] == {"meaning": [], "breaking": [], "compatible": []}
    gone = signature["inputs"].pop()["name"]
    (folder / "signature.json").write_text(json.dumps({**signature, "classes": ["late", "on_time"]}))
    manifest = read_manifest(world.store, "flight_delays", older(world))
    world.registry.add("flight_delays", publish(world.store, "flight_delays", folder, manifest), "champion", number=4)
    found, document, _ = go(world)
    assert document["champion"] is None
    assert document["incomparable"].startswith("The champion, version 4, means something else: its classes were `late`, `on_time` and are")
    assert document["incomparable_with"] == 4
    assert document["incomparable"] in found.sentence
    (said,) = [*document["signature"]["compatible"], *document["signature"]["breaking"]]
    assert f"`{gone}`" in said


def test_a_champion_that_reads_what_the_dataset_has_no_more_is_still_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-13: Dropping a column from a dataset and its model must not leave the next candidate without a judgement.

    The table has the column still.
    """
    before = go(world)[1]
    dataset = discovery.dataset("flights")
    fewer = dataset.model_copy(update={"columns": tuple(column for column in dataset.columns if column.name != "temp")})
    monkeypatch.setattr(discovery, "dataset", lambda name: fewer)
    assert go(world)[1]["parts"] == before["parts"]


def test_what_the_test_days_lack_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10, MO-07: A class without a test row, and labels that are no class: counted in the document and said, beside figures that cannot
    show them."""

    def label(columns: dict[str, np.ndarray]) -> np.ndarray:
        return np.where(columns["arr_delay"] > 200, np.nan, np.where(np.isnan(columns["arr_delay"].astype(float)), np.nan, 0.0))

    monkeypatch.setattr(stage, "load_features", lambda folder: SimpleNamespace(label=label))
    found, document, _ = go(world)
    test = document["parts"]["test"]
    assert (test["classes"]["late"], test["classes"]["on_time"]) == (0, test["rows"])
    assert test["unknown_labels"]["rows"] == sum(test["unknown_labels"]["values"].values()) > 0
    assert "roc_auc" not in found.metrics
    assert "No test row is `late`." in found.sentence
    assert "are no class and left out: `" in found.sentence


def test_test_rows_without_a_label_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-07: Where no test row has a known label there is nothing to measure: a decision with a sentence, no fault that is tried again."""
    monkeypatch.setattr(
        stage, "load_features", lambda folder: SimpleNamespace(label=lambda columns: np.full(len(columns["arr_delay"]), np.nan))
    )
    with pytest.raises(CandidateRefused, match=r"test rows of snapshot \d+ of flights none has a known label"):
        go(world)


def test_labels_are_those_that_the_candidate_knew(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-03, MO-20: With a label feed, on the test days and on the champion's older ones alike, whatever the table says; what came later
    counts nowhere, and the page shows the labels by day."""
    rows = discovery.dataset("flights")
    feed = DatasetSpec(
        name="arrivals", title="A", owner="tests", key=(*rows.key, "known"), event_time="known", time_zone=rows.time_zone,
        columns=(*(rows.column(name) for name in (*rows.key, "arr_delay")), Column(name="known", type="timestamp")),
    )  # fmt: skip
    monkeypatch.setattr(discovery, "dataset", {"flights": rows, "arrivals": feed}.__getitem__)
    flights = snapshot_at(world.store, rows, 2).table.scan(rows.key, version=2)
    for day, delay in ((1, 60), (2, 0)):  # first all were late, then none
        told = flights.append_column("arr_delay", pa.repeat(pa.scalar(delay, pa.int64()), len(flights)))
        known = pa.repeat(pa.scalar(datetime(2013, 2, day), pa.timestamp("us")), len(flights))
        Table(world.store, "arrivals").append(told.append_column("known", known), f"{day:064d}")
    folder = fetch(world.store, "flight_delays", world.digest, tmp_path / "folder")
    (folder / MANIFEST).unlink()
    record = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(record | {"coverage": {"2013-01-25": [40, 40], "2013-01-26": [40, 10]}}))
    used = LabelsUsed(
        feed=LabelSpec(dataset="arrivals", key=rows.key, columns=("arr_delay",), known_at="known"), snapshot=1, digest="d", rows_digest="r",
        known_by=datetime(2013, 2, 1), delay_days=0, newest_day=None,
    )  # fmt: skip
    manifest = read_manifest(world.store, "flight_delays", world.digest).model_copy(update={"labels": used, "run_key": "0" * 24})
    _, document, _ = go(world, publish(world.store, "flight_delays", folder, manifest))
    for part in ("test", "old_context"):
        assert document["parts"][part]["classes"] == {"on_time": 0, "late": document["parts"][part]["rows"]}
    page = world.store.read(f"reports/flight_delays/{document['digest']}/evaluation.html").decode()
    assert "<title>2013-01-26: 10 of 40 rows (25%) have a label</title>" in page
    assert "of all 80 rows 50 (62%)" in page


def test_versions_are_measured_on_what_was_served(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-03, MO-07: Test days of predictions have the outcomes as labels, whatever the table says, also by group; older days have the
    table's rows."""
    dataset, since = discovery.dataset("flights").model_copy(update={"groups": (GroupSpec(column="origin"),)}), datetime(2013, 1, 20)
    monkeypatch.setattr(discovery, "dataset", lambda name: dataset)
    flights = snapshot_at(world.store, dataset, 2).table.scan(version=2)
    served = flights.filter(pa.compute.greater_equal(flights[dataset.event_time], pa.scalar(since, pa.timestamp("us"))))
    moment, ids = datetime(2026, 1, 1, tzinfo=timezone.utc), pa.array([f"a-{place}" for place in range(len(served))])
    times = pa.repeat(pa.scalar(moment, pa.timestamp("us", "UTC")), len(served))
    happened = served[dataset.event_time].cast(pa.timestamp("us", "UTC"))
    inputs = {f"input_{name}": served[name] for name in world.spec.inputs}
    fixed = {"shadow": pa.array([False] * len(served)), "milliseconds": pa.array([1.0] * len(served)), "event_time": happened}
    Table(world.store, "flight_delays_predictions").append(
        pa.table({"prediction_id": ids, "served_at": times, **fixed, **inputs}), "predictions"
    )
    told = {
        "prediction_id": ids,
        "outcome": pa.array([1.0] * len(served)),
        "time": times,
        "source": ids,
        "line": pa.array(range(len(served))),
    }
    Table(world.store, "flight_delays_outcomes").append(pa.table(told), "outcomes")
    folder = fetch(world.store, "flight_delays", world.digest, tmp_path / "folder")
    (folder / MANIFEST).unlink()
    used = OutcomesUsed(
        predictions=1, predictions_digest="p", snapshot=1, digest="d", rows_digest="r", known_by=moment, delay_days=0, since=since.date(),
        newest_day=None,
    )  # fmt: skip
    manifest = read_manifest(world.store, "flight_delays", world.digest).model_copy(update={"labels": used, "run_key": "1" * 24})
    _, document, losses = go(world, publish(world.store, "flight_delays", folder, manifest))
    test, old = document["parts"]["test"], document["parts"]["old_context"]
    assert test["classes"] == {"on_time": 0, "late": len(served)}
    by_group = document["groups"][0]["labels"]["groups"]
    assert sum(line["rates"][0][0] * line["labelled"] for line in by_group) > len(served)
    assert old["classes"]["on_time"] > 0
    assert len(losses) == test["rows"] + old["rows"]


def test_a_tampered_candidate_is_not_measured(world: World) -> None:
    """MO-17: Changed bytes are damage; an unknown digest is no version."""
    name = f"{key('flight_delays', world.digest)}/model.onnx"
    kept = world.store.read(name)
    world.store.write(name, kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(StoredDataDamaged, match="was changed after sealing"):
            go(world)
    finally:
        world.store.write(name, kept)
    with pytest.raises(UnknownName, match="has no version 000000000000"):
        go(world, "0" * 64)


def test_other_event_time_slices(world: World) -> None:
    """MO-21: Weekday and hour can be named as slices too."""
    times = np.array(["2013-01-07T05:10", "2013-01-13T23:59"], dtype="datetime64[us]")
    part = stage.Compared({"scheduled_departure": times}, np.zeros(2), times.astype("datetime64[D]"))
    dataset = discovery.dataset("flights")
    assert stage._slice_column(part, dataset, "weekday").tolist() == [0, 6]
    assert stage._slice_column(part, dataset, "hour").tolist() == [5, 23]


def test_other_files_than_the_run_began_with_are_refused(world: World) -> None:
    """MO-16: What was trained with one label is not measured with another; with the same files it is."""
    spec = discovery.model("flight_delays")
    world.crown(world.registry.version(spec.name, "champion"))
    assert stage.run(world.settings, world.store, "flight_delays", world.digest, "run4", code=run_code(spec)).digest == world.digest
    with pytest.raises(TrainingRefused, match="changed while this run was under way"):
        stage.run(world.settings, world.store, "flight_delays", world.digest, "run4", code="0" * 64)
