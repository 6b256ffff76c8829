"""Trainings whose rows do not fit into memory."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.data import ordered_rows
from perennial.data.snapshots import Snapshot
from perennial.data.tables import Table
from perennial.engine.room import Room
from perennial.specs import ModelSpec
from perennial.stages.train import fill_version_folder
from perennial.store import FolderStore
from perennial.training import encoded
from perennial.training.checkpoints import Checkpoints

January = Callable[[int, int], pa.Table]


@pytest.fixture(scope="module")
def snapshot(january: January, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Three weeks of flights, in two files whose days overlap."""
    store, rows = FolderStore(str(tmp_path_factory.mktemp("store"))), january(1, 21)
    for number in range(2):
        Table(store, "flights").append(rows.take(np.arange(number, len(rows), 2)), str(number))
    return Snapshot(discovery.dataset("flights"), 2, store)


def of_kind(kind: str) -> ModelSpec:
    """A model of a learner."""
    spec = discovery.model("flight_delays")
    split = spec.split.model_copy(update={"test_days": 3, "validation_days": 3})
    if kind == "by group":
        split = type(split)(by="group", group=("carrier", "dest"), min_train_rows=100)
    training = spec.training.model_copy(update={"class_weights": "balanced"})
    if kind == "boosted":
        training = training.model_copy(update={"hyperparameters": {}, "max_epochs": 5, "sample_weight": "distance"})
    return spec.model_copy(update={"learner": "boosted" if kind == "boosted" else "lightning", "split": split, "training": training})


def filled(folder: Path, spec: ModelSpec, source: Snapshot, room: Room | None) -> dict[str, bytes]:
    """The content of a version folder."""
    checkpoints = Checkpoints(folder / "run")
    fill_version_folder(folder / "version", spec, discovery.dataset_of(spec), source, checkpoints=checkpoints, max_epochs=2, room=room)
    return {file.name: file.read_bytes() for file in (folder / "version").iterdir() if file.is_file()}


@pytest.mark.parametrize("kind", ["lightning", "boosted", "by group"])
def test_rows_in_files_give_the_same_bits(
    snapshot: Snapshot, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MO-23, DE-22: Every file of the version is the same whether its rows lie in memory or in files, sorted, fitted and encoded piece by
    piece; a line of the log says so, and nothing is left of the files."""
    spec = of_kind(kind)
    in_memory = filled(tmp_path / "memory", spec, snapshot, None)
    monkeypatch.setattr(encoded, "PIECE_ROWS", 611)
    monkeypatch.setattr(ordered_rows, "PIECE_ROWS", 1009)
    monkeypatch.setattr(ordered_rows, "RUN_ROWS", 101)
    caplog.set_level(logging.INFO)
    in_files = filled(tmp_path / "files", spec, snapshot, Room(100_000, tmp_path / "rows"))
    assert in_files == in_memory
    assert f"The rows to train {spec.name} on need more than the 0.00 GB of memory" in caplog.text
    assert f"are mapped from files in {tmp_path / 'rows'} meanwhile" in caplog.text
    assert list((tmp_path / "rows").iterdir()) == []


def test_a_fit_that_looks_at_columns_gets_all_rows(
    snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MO-23: It is not run on pieces, for it would find something else there, and the log says that it takes memory."""
    spec, features = of_kind("boosted"), discovery.model_part("flight_delays", "features")
    source = tmp_path / "features.py"
    source.write_text(
        Path(str(features.__file__)).read_text().replace("found = derive(columns)\n", "found = derive(columns)\n    len(found['temp'])\n")
    )
    monkeypatch.setattr(features, "__file__", str(source))
    seen: list[int] = []
    fit = features.fit
    monkeypatch.setattr(features, "fit", lambda columns: seen.append(len(columns["temp"])) or fit(columns))
    in_files = filled(tmp_path / "files", spec, snapshot, Room(100_000, tmp_path / "rows"))
    assert seen == [json.loads(in_files["training.json"])["rows"]["train"]]
    assert f"takes the inputs of all {seen[0]} training rows in memory" in caplog.text


def test_rows_beyond_memory_train(january: January, tmp_path: Path) -> None:
    """MO-23, OP-10: With 200 MB of memory for rows that take 123 MB encoded, and more than twice that on the way there: in files they are
    read, fitted, encoded and shuffled; in memory they cannot be."""
    some, rng, days = january(1, 31), np.random.default_rng(0), 111
    place = some.column_names.index("scheduled_departure")
    for number in range(2):
        rows = some.take(rng.integers(0, len(some), 100_000))
        minutes = rng.integers(0, days * 1440, len(rows)).astype("timedelta64[m]")
        when = pa.array(np.datetime64("2013-09-12", "us") + minutes)
        Table(FolderStore(str(tmp_path)), "flights").append(rows.set_column(place, rows.schema.field(place), when), str(number))
    said = {}
    for room in (0, 8_000_000):
        command = [sys.executable, str(Path(__file__).with_name("rows_under_a_limit.py")), str(tmp_path), "200", str(room)]
        quiet = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
        said[room] = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    assert said[0].returncode != 0
    assert said[8_000_000].returncode == 0, said[8_000_000].stderr
    rows, encoded_bytes, late = said[8_000_000].stdout.split()
    assert (int(rows) > 150_000, int(encoded_bytes) > 110e6, 0.1 < float(late) < 0.4) == (True, True, True)
    assert list((tmp_path / "rows").iterdir()) == []
