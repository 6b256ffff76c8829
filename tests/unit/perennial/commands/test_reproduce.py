"""`perennial reproduce`: the same to the last bit, or by how much not and why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from perennial import discovery
from perennial.commands import reproduce
from perennial.data.hashes import Known
from perennial.data.snapshots import Snapshot, model_snapshot, snapshot_at
from perennial.data.tables import Table
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.manifest import Manifest, OutcomesUsed
from perennial.lineage.version_folder import MANIFEST, fetch, publish, read_manifest
from perennial.registry.model_registry import Version
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec, LabelSpec
from perennial.stages.recalibrate import recalibrated
from perennial.stages.train import begin_manifest, fill_version_folder
from perennial.store import FolderStore
from perennial.testing import small_manifest
from perennial.training.checkpoints import Checkpoints
from perennial.training.recalibration import Recalibration, recalibrate

January = Callable[[int, int], pa.Table]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, january: January) -> tuple[Settings, FolderStore, str]:
    """A version trained for one epoch on every fourth flight of 26 days."""
    root = tmp_path_factory.mktemp("reproduce")
    store = FolderStore(str(root / "store"))
    version = Table(store, "flights").append(january(1, 26), "first")
    spec, dataset = discovery.model("flight_delays"), discovery.dataset("flights")
    source = snapshot_at(store, dataset, version)
    fill_version_folder(root / "version", spec, dataset, source, checkpoints=Checkpoints(root / "run"), max_epochs=1)
    manifest = begin_manifest(spec, source, 1, cause="data")
    return Settings(home=root / "home", store=store.root), store, publish(store, "flight_delays", root / "version", manifest)


@pytest.fixture
def version(trained: tuple[Settings, FolderStore, str], monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, FolderStore]:
    """The registry knows it as version 2."""

    class Registry:
        def __init__(self, settings: Settings) -> None: ...

        def version(self, model: str, number: int) -> Version | None:
            return Version(model, 2, trained[2], "run") if number == 2 else None

    monkeypatch.setattr(reproduce, "ModelRegistry", Registry)
    return trained[0], trained[1]


def test_it_comes_out_the_same(version: tuple[Settings, FolderStore], capsys: pytest.CaptureFixture[str]) -> None:
    """MO-15: Every file to the last bit."""
    before = {found.key: found.etag for found in version[1].list("models")}
    assert reproduce.run(*version, "flight_delays/2") == 0
    said = capsys.readouterr().out
    assert "flight_delays/2 was trained again and is bit-equal" in said
    assert "model.onnx" in said
    assert {found.key: found.etag for found in version[1].list("models")} == before


def test_labels_that_came_later_change_nothing(
    tmp_path: Path, january: January, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-03, DM-13, MO-15: A version trained on a label feed comes out bit-equal after every label was corrected: the labels of its own
    snapshot count. A training now has other labels, and is another one."""
    flights = january(1, 26)
    store = FolderStore(str(tmp_path / "store"))
    rows = discovery.dataset("flights")
    key = rows.key
    kept = [rows.column(name) for name in key] + [rows.column("arr_delay"), Column(name="known_at", type="timestamp")]
    feed = DatasetSpec(name="arrivals", title="A", owner="tests", key=(*key, "known_at"), event_time="known_at", columns=tuple(kept),
                       time_zone=rows.time_zone)  # fmt: skip
    labels = LabelSpec(dataset="arrivals", key=key, columns=("arr_delay",), known_at="known_at")
    spec = discovery.model("flight_delays").model_copy(update={"labels": labels})
    assert spec.misfit(rows, feed) is None
    monkeypatch.setattr(discovery, "model", lambda name: spec)
    monkeypatch.setattr(discovery, "dataset", {"flights": rows, "arrivals": feed}.__getitem__)
    Table(store, "flights").append(flights.set_column(
        flights.schema.get_field_index("arr_delay"), "arr_delay", pa.nulls(len(flights), pa.int64())), "first")  # fmt: skip

    def tell(delays: Any, day: int) -> Snapshot:
        known = pa.array([datetime(2013, 2, day)] * len(flights), pa.timestamp("us"))
        told = flights.select(key).append_column("arr_delay", delays).append_column("known_at", known)
        Table(store, "arrivals").append(told, f"{day:064d}")
        snapshot = model_snapshot(store, spec)
        assert snapshot is not None
        return snapshot

    source = tell(flights["arr_delay"], 1)
    fill_version_folder(tmp_path / "version", spec, rows, source, checkpoints=Checkpoints(tmp_path / "run"), max_epochs=1)
    manifest = begin_manifest(spec, source, 1, cause="data")
    digest = publish(store, "flight_delays", tmp_path / "version", manifest)
    corrected = tell(pc.negate(flights["arr_delay"]), 2)
    assert begin_manifest(spec, corrected, 1, cause="data").run_key != manifest.run_key
    used = read_manifest(store, "flight_delays", digest).labels
    assert used is not None
    assert (used.snapshot, used.known_by, used.newest_day) == (1, datetime(2013, 2, 1), date(2013, 1, 26))
    assert (used.rows_digest, used.digest) == (corrected.rows_digest, Snapshot(feed, 1, store).digest)

    class Registry:
        def __init__(self, settings: Settings) -> None: ...

        def version(self, model: str, number: int) -> Version:
            return Version(model, number, digest, "run")

    monkeypatch.setattr(reproduce, "ModelRegistry", Registry)
    assert reproduce.run(Settings(home=tmp_path / "home", store=store.root), store, "flight_delays/1") == 0
    said = capsys.readouterr().out
    assert "flight_delays/1 was trained again and is bit-equal" in said
    assert "Not the same as then" not in said


def test_outcomes_that_come_later_change_nothing(
    tmp_path: Path, january: January, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MN-03, MO-15: A version trained on what was served comes out bit-equal after other predictions and outcomes came. A training now has
    other ones, and is another one."""
    flights, since = january(1, 26), date(2013, 1, 20)
    store, dataset = FolderStore(str(tmp_path / "store")), discovery.dataset("flights")
    spec = discovery.model("flight_delays").model_copy(update={"labels": "outcomes", "served_since": since})
    monkeypatch.setattr(discovery, "model", lambda name: spec)
    Table(store, "flights").append(flights, "first")
    served = flights.filter(pc.greater_equal(flights[dataset.event_time], pa.scalar(datetime(2013, 1, 20), pa.timestamp("us"))))
    late = pc.fill_null(pc.greater(served["arr_delay"], 15), False).cast(pa.float64())
    utc = pa.timestamp("us", "UTC")
    now = pa.array([datetime(2026, 1, 1, tzinfo=timezone.utc)] * served.num_rows, utc)

    def serve(name: str, outcomes: Any) -> Snapshot:
        ids = pa.array([f"{name}-{place}" for place in range(served.num_rows)])
        inputs = {f"input_{name}": served[name] for name in spec.inputs}
        fixed = {
            "prediction_id": ids,
            "shadow": pa.array([False] * served.num_rows),
            "served_at": now,
            "milliseconds": [1.0] * served.num_rows,
        }
        Table(store, "flight_delays_predictions").append(
            pa.table({**fixed, "event_time": served[dataset.event_time].cast(utc), **inputs}), f"{name}-p"
        )
        told = {"prediction_id": ids, "outcome": outcomes, "time": now, "source": [name] * len(ids), "line": range(len(ids))}
        Table(store, "flight_delays_outcomes").append(pa.table(told), f"{name}-o")
        snapshot = model_snapshot(store, spec)
        assert snapshot is not None
        return snapshot

    source = serve("a", late)
    assert source.count() == flights.num_rows
    fill_version_folder(tmp_path / "version", spec, dataset, source, checkpoints=Checkpoints(tmp_path / "run"), max_epochs=1)
    manifest = begin_manifest(spec, source, 1, cause="data")
    digest = publish(store, "flight_delays", tmp_path / "version", manifest)
    corrected = serve("b", pc.subtract(1.0, late))
    assert begin_manifest(spec, corrected, 1, cause="data").run_key != manifest.run_key
    used = read_manifest(store, "flight_delays", digest).labels
    assert isinstance(used, OutcomesUsed)
    assert (used.snapshot, used.predictions, used.since, used.newest_day) == (1, 1, since, date(2013, 1, 26))

    class Registry:
        def __init__(self, settings: Settings) -> None: ...

        def version(self, model: str, number: int) -> Version:
            return Version(model, number, digest, "run")

    monkeypatch.setattr(reproduce, "ModelRegistry", Registry)
    assert reproduce.run(Settings(home=tmp_path / "home", store=store.root), store, "flight_delays/1") == 0
    said = capsys.readouterr().out
    assert "flight_delays/1 was trained again and is bit-equal" in said
    assert "Not the same as then" not in said


def test_a_recalibrated_version_comes_out_the_same(
    version: tuple[Settings, FolderStore],
    trained: tuple[Settings, FolderStore, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MO-15: Trained as its parent was, then scaled and shifted as it was: every file to the last bit."""
    settings, store = version
    folder = fetch(store, "flight_delays", trained[2], tmp_path / "version")
    (folder / MANIFEST).unlink()
    recalibrate(folder, Recalibration("binary", 0.8, (0.3, -0.3)), {"champion": trained[2]})
    digest = publish(store, "flight_delays", folder, recalibrated(read_manifest(store, "flight_delays", trained[2]), trained[2]))
    assert digest != trained[2]

    class Registry:
        def __init__(self, settings: Settings) -> None: ...

        def version(self, model: str, number: int) -> Version:
            return Version(model, number, digest, "run")

    monkeypatch.setattr(reproduce, "ModelRegistry", Registry)
    assert reproduce.run(settings, store, "flight_delays/3") == 0
    said = capsys.readouterr().out
    assert "flight_delays/3 was trained again and is bit-equal" in said
    assert "recalibration.json" in said
    assert "Not the same as then" not in said


def test_it_says_what_is_different(
    version: tuple[Settings, FolderStore], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MO-15, DE-19: Another seed and other code: named, and the distance of weights and metrics is given."""
    spec = discovery.model("flight_delays")
    changed = spec.model_copy(update={"training": spec.training.model_copy(update={"seed": 1})})
    monkeypatch.setattr(reproduce.discovery, "model", lambda name: changed)
    monkeypatch.setattr(reproduce, "code_digest", lambda model: "f" * 64)
    assert reproduce.run(*version, "flight_delays/2") == 1
    said = capsys.readouterr().out
    assert "Not the same as then: the seed (was 2013, is 1)." in said
    assert "the code (was " in said
    assert "differs in " in said
    assert "Weights: at most " in said
    assert "Validation log loss: " in said


def test_names_of_versions(version: tuple[Settings, FolderStore], monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-15: <model>/<number>; a number alone where there is one model; anything else is a sentence."""
    one = {"flight_delays": discovery.model("flight_delays")}
    monkeypatch.setattr(reproduce.discovery, "models", lambda: one)
    assert reproduce.named("flight_delays/7") == reproduce.named("7") == ("flight_delays", 7)
    with pytest.raises(UnknownName, match="names no version: write it like flight_delays/7"):
        reproduce.named("flight_delays/new")
    with pytest.raises(UnknownName, match="no version 9 of flight_delays"):
        reproduce.run(*version, "flight_delays/9")
    monkeypatch.setattr(reproduce.discovery, "models", lambda: one | {"other": one["flight_delays"]})
    with pytest.raises(UnknownName, match="names no version"):
        reproduce.named("7")


def test_a_changed_byte_is_damage(version: tuple[Settings, FolderStore]) -> None:
    """MO-15, MO-17: One byte of one file of the snapshot: nothing is trained, the file is named with what to do."""
    file = Path(version[1].root, "tables/flights", Table(version[1], "flights").files()[0]["path"])
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
        with pytest.raises(StoredDataDamaged, match=rf"tables/flights/{file.name} was changed after it was written: .*Restore the file"):
            reproduce.run(*version, "flight_delays/2")
    finally:
        file.write_bytes(whole)


def test_another_snapshot_is_damage(version: tuple[Settings, FolderStore], tmp_path: Path, january: January) -> None:
    """MO-15, MO-17: A table that was made anew with other rows, each file of it sound, cannot reproduce anything."""
    settings, store = version
    shutil.copytree(store.root, tmp_path / "store", ignore=shutil.ignore_patterns("tables"))
    other = FolderStore(str(tmp_path / "store"))
    Table(other, "flights").append(january(1, 25), "first")
    with pytest.raises(StoredDataDamaged, match="Snapshot 1 of flights is not what flight_delays/2 was trained on: restore the table"):
        reproduce.run(settings, other, "flight_delays/2")


def test_what_is_not_known_of_old_files_is_said(version: tuple[Settings, FolderStore]) -> None:
    """MO-15: Files that were hashed after the training: the answer says until when names and sizes alone are known; a newer training is
    proved whole."""
    source = snapshot_at(version[1], discovery.dataset("flights"), 1)
    manifest = small_manifest(created=datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert reproduce.unknown_before(source, manifest) == []
    path = next(iter(source.table.hashes().files))
    late = Known({path: "0" * 64}, {path: datetime(2026, 2, 1, 12, tzinfo=timezone.utc)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "hashes", lambda *_: late)
        (line,) = reproduce.unknown_before(source, manifest)
        assert "from the training until 2026-02-01 12:00 UTC their names and sizes alone are known to be the same" in line
        assert reproduce.unknown_before(source, small_manifest(created=datetime(2026, 3, 1, tzinfo=timezone.utc))) == []


def test_differences_name_parameters(version: tuple[Settings, FolderStore]) -> None:
    """MO-15, DE-19: Each hyperparameter by its name, with both values."""
    spec = discovery.model("flight_delays")
    manifest = Manifest(
        model=spec.name, run_key="k", dataset="flights", snapshot=0, snapshot_digest="s", code_digest="c", lock_digest="l",
        parameters={"hyperparameters.hidden": 1}, seed=spec.training.seed, cause="data", event_time_end="",
    )  # fmt: skip
    assert f"hyperparameters.hidden (was 1, is {spec.training.hyperparameters['hidden']})" in reproduce.differences(spec, manifest)
    assert any(found.startswith("the lock file (was l, is ") for found in reproduce.differences(spec, manifest))
