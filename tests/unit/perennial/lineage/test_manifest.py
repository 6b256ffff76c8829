"""Manifests and the digests in them: equal for equal trainings, different for different ones."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import perennial_models
from perennial import discovery
from perennial.errors import SettingMissing, SpecBroken, TrainingRefused
from perennial.lineage import manifest as module
from perennial.lineage.manifest import (
    LEARNER_CODE,
    TRAINING_CODE,
    LabelsUsed,
    Manifest,
    code_digest,
    lock_digest,
    require_code,
    run_code,
    run_key,
    training_parameters,
)
from perennial.specs import LabelSpec


@pytest.fixture
def manifest() -> Manifest:
    """Some manifest."""
    return Manifest(
        model="toy", run_key="k", dataset="rows", snapshot=3, snapshot_digest="s", code_digest="c", lock_digest="l", parameters={"a": 1},
        seed=7,
        cause="data", event_time_end="2013-01-01T00:00:00", files={"model.onnx": "0"},
    )  # fmt: skip


def test_the_address_is_that_of_the_content(manifest: Manifest) -> None:
    """MO-11: When, why, for whom and after whom a version was trained does not move it."""
    other = {"cause": "drift", "reason": "why", "request": "r", "parents": ["p"], "snapshot": 4, "created": "2001-01-01T00:00:00Z"}
    assert Manifest.model_validate(manifest.model_dump() | other).digest == manifest.digest


@pytest.mark.parametrize(
    "change", [{"files": {"model.onnx": "1"}}, {"seed": 8}, {"parameters": {"a": 2}}, {"code_digest": "d"}, {"event_time_end": "2014"}]
)
def test_another_content_has_another_address(manifest: Manifest, change: dict[str, object]) -> None:
    """MO-11: Every file and everything that made it counts."""
    assert manifest.model_copy(update=change).digest != manifest.digest


def test_a_manifest_survives_json(manifest: Manifest) -> None:
    """MO-16: What is written is what is read, digest included."""
    assert Manifest.model_validate_json(manifest.model_dump_json(indent=1)).digest == manifest.digest


def test_parameters_are_flat_and_all_that_shapes_weights() -> None:
    """MO-16, DE-03: Plain values only; a change of the release or the schedule is none of training's business, one of a hyperparameter
    is."""
    spec = discovery.model("flight_delays")
    found = training_parameters(spec)
    assert all(isinstance(value, (str, int, float, bool, type(None))) for value in found.values())
    assert found["inputs"] == ",".join(spec.inputs)
    assert training_parameters(spec, 3)["max_epochs"] == 3
    assert training_parameters(spec.model_copy(update={"retrain": None, "release": None, "owner": "x"})) == found
    changed = spec.training.model_copy(update={"hyperparameters": {**spec.training.hyperparameters, "dropout": 0.9}})
    assert training_parameters(spec.model_copy(update={"training": changed})) != found


def test_run_keys_tell_trainings_apart() -> None:
    """DE-03, MO-16: The same inputs give the same key; each of them changes it."""
    given = ("toy", "s", "c", "l", {"a": 1, "b": 2}, 7)
    key = run_key(*given)
    assert run_key("toy", "s", "c", "l", {"b": 2, "a": 1}, 7) == key
    assert len(key) == 24
    others = [
        ("toz", *given[1:]),
        ("toy", "t", *given[2:]),
        (*given[:2], "d", *given[3:]),
        (*given[:3], "m", *given[4:]),
        (*given[:4], {"a": 2}, 7),
        (*given[:5], 8),
    ]
    assert len({key, *(run_key(*other) for other in others)}) == 7


@pytest.fixture
def copy_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree that code_digest reads, free to be changed."""
    include = Path(module.__file__).parents[2]
    for name in ("perennial", "perennial_models"):
        shutil.copytree(include / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "perennial")
    monkeypatch.setattr(perennial_models, "__path__", [str(tmp_path / "perennial_models")])
    return tmp_path


def test_only_the_meaning_of_training_code_counts(copy_of_the_code: Path) -> None:
    """DE-03: Comments, layout, docstrings and the spec do not ask for a new training; another line of features, model or trainer does."""
    before = code_digest("flight_delays")
    features = copy_of_the_code / "perennial_models/flight_delays/features.py"
    text = features.read_text()
    features.write_text("# A comment.\n" + text.replace('"""What the model', '"""All that the model') + "\n\n")
    (copy_of_the_code / "perennial_models/flight_delays/spec.py").write_text("MODEL = None")
    assert code_digest("flight_delays") == before
    features.write_text(text.replace("LATE_MINUTES = 15", "LATE_MINUTES = 30"))
    assert code_digest("flight_delays") != before
    features.write_text(text)
    for name in ("trainer", "parts"):
        file = copy_of_the_code / f"perennial/training/{name}.py"
        whole = file.read_text()
        file.write_text(whole + "\nX = 1\n")
        assert code_digest("flight_delays") != before
        file.write_text(whole)


@pytest.mark.parametrize("learner", LEARNER_CODE)
def test_the_digest_covers_the_code_that_training_loads(learner: str) -> None:
    """DE-03, MO-01: Every module of perennial.training that a learner and the exporter load, but what only measures or only keeps, is among
    the files that count for its models; and torch is loaded for networks alone."""
    code = (
        f"import sys, perennial.training.export, perennial.training.learners.{learner}; "
        "print(*(n for n in sys.modules if n == 'torch' or n.startswith('perennial.training.')))"
    )
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert ("torch" in loaded) == (learner == "lightning")
    files = {f"training/{name.removeprefix('perennial.training.').replace('.', '/')}.py" for name in loaded - {"torch"}}
    wanted = {name.replace("learners.py", "learners/__init__.py") for name in files} - {"training/scoring.py", "training/checkpoints.py"}
    assert wanted <= {*TRAINING_CODE, *LEARNER_CODE[learner]}
    assert all((Path(module.__file__).parents[1] / name).is_file() for name in (*TRAINING_CODE, *LEARNER_CODE[learner]))


def test_the_lock_file_counts_byte_by_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16, DE-23: A changed pin is another digest; a missing file is a sentence."""
    lock = tmp_path / "requirements.txt"
    monkeypatch.setattr(module, "_LOCK", lock)
    with pytest.raises(SettingMissing, match=r"lock file .* is missing"):
        lock_digest()
    lock.write_text("numpy==1")
    before = lock_digest()
    lock.write_text("numpy==2")
    assert lock_digest() != before


def test_what_a_project_added_counts_as_the_lock_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-16, DE-03: Another package of a project's is another environment; without any the digest is that of the lock file, as it was."""
    lock = tmp_path / "requirements.txt"
    lock.write_text("numpy==1\n")
    monkeypatch.setattr(module, "_LOCK", lock)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert lock_digest() == hashlib.sha256(b"numpy==1\n").hexdigest()
    extra = tmp_path / "perennial-extra-requirements.txt"
    extra.write_text("holidays==0.60\n")
    before = lock_digest()
    assert before != hashlib.sha256(b"numpy==1\n").hexdigest()
    assert module.locked_packages() == {"numpy": "1", "holidays": "0.60"}
    extra.write_text("holidays==0.61\n")
    assert lock_digest() != before


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files of a model and of its dataset."""
    top = Path(module.__file__).parents[2]
    for part in ("perennial_models/digits", "perennial_datasets"):
        shutil.copytree(top / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "perennial")
    monkeypatch.setattr(perennial_models, "__path__", [str(tmp_path / "perennial_models")])
    return tmp_path


@pytest.mark.parametrize(
    "file",
    [
        "perennial_models/digits/spec.py",
        "perennial_models/digits/features.py",
        "perennial_models/digits/model.py",
        "perennial_datasets/digits.py",
    ],
)
def test_a_run_uses_the_code_it_began_with(tree: Path, file: str) -> None:
    """MO-15, MO-16: An edit of any file that a stage reads stops the run with a sentence; a comment does not, another dataset neither, and
    by hand nothing is asked."""
    spec = discovery.model("digits")
    began_with = run_code(spec)
    (tree / "perennial_datasets" / "flights.py").write_text("OTHER = 1")
    text = (tree / file).read_text()
    (tree / file).write_text(f"{text}\n# a remark\n")
    require_code(spec, began_with)
    (tree / file).write_text(f"{text}\nOTHER = 1\n")
    require_code(spec, "")
    with pytest.raises(TrainingRefused, match="The files of digits or of its dataset digits changed while this run was under way"):
        require_code(spec, began_with)


def test_a_file_that_cannot_be_read_is_said_in_a_sentence(tree: Path) -> None:
    """MN-18: Nobody who parses the DAG files reads it; the stage that needs its identity refuses."""
    (tree / "perennial_models/digits/model.py").write_text("import torch\nclass Model(")
    with pytest.raises(SpecBroken, match=r"perennial_models/digits/model\.py cannot be read: '\(' was never closed \(line 2\)"):
        run_code(discovery.model("digits"))


def test_labels_of_a_feed_are_part_of_the_identity(manifest: Manifest) -> None:
    """DM-03, MO-16: Which labels, known by when: another version. Their table's number is none, as the snapshot's is none; a manifest
    without a feed has the address that it had before there were any."""
    feed = LabelSpec(dataset="verdicts", key=("id",), columns=("fraud",), known_at="known")
    used = LabelsUsed(feed=feed, snapshot=3, digest="d", rows_digest="r", known_by=datetime(2024, 1, 1), delay_days=0, newest_day=None)
    told = manifest.model_copy(update={"labels": used})
    assert manifest.digest == "3d80ae9d56dbae66bffd462830747a52fb0a1f06dec69b530ec6bc5d7c0279ce"
    assert Manifest.model_validate_json(told.model_dump_json()) == told
    assert told.model_copy(update={"labels": used.model_copy(update={"snapshot": 4})}).digest == told.digest
    others = [used.model_copy(update=change) for change in ({"digest": "e"}, {"known_by": datetime(2024, 1, 2)}, {"delay_days": 1})]
    assert len({manifest.digest, told.digest, *(manifest.model_copy(update={"labels": other}).digest for other in others)}) == 5
    spec = discovery.model("flight_delays")
    assert "labels" not in training_parameters(spec)
    assert "verdicts" in str(training_parameters(spec.model_copy(update={"labels": feed}))["labels"])
