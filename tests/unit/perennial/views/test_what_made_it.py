"""Which learner made a version and what its training used is said where people look."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from perennial.commands._show_versions import show
from perennial.commands.ledger import line
from perennial.learner_words import learnt
from perennial.lineage import version_folder
from perennial.lineage.ledger import Ledger
from perennial.lineage.making import note_making
from perennial.lineage.measurements import Measurement, measurements_key, note_measurement
from perennial.lineage.registrations import note_registration
from perennial.lineage.usage import Usage
from perennial.lineage.version_notes import note_versions
from perennial.store import FolderStore
from perennial.testing import small_manifest, small_version
from perennial.views.comparison import comparison_view
from perennial.views.version import version_view

USED = Usage(wall_seconds=3, cpu_seconds=4, gpu_seconds=0, memory_gb=0.5, energy_wh=0.01, money=0.2, currency="EUR")


def published(store: FolderStore, folder: Path, number: int, learner: str) -> str:
    """Register a version of digits by a learner; its digest."""
    made = small_version(folder / str(number), model="digits", seed=number)
    (made / "training.json").write_text(json.dumps({"epochs": 7, "history": [], "rows": {"train": 500}}))
    parameters = {} if learner == "lightning" else {"learner": learner}
    digest = version_folder.publish(
        store, "digits", made, small_manifest("digits", seed=number, run_key=f"{number:024d}", parameters=parameters)
    )
    note_making(store, "digits", digest, seconds=3.0, usage=USED)
    note_registration(store, "digits", number, digest, {"gate": "It passed."})
    return digest


@pytest.mark.parametrize(
    ("learner", "name", "counted", "sentence"),
    [
        ("lightning", "a network (PyTorch Lightning)", "epoch", "trained 7 epochs on 1,500 rows"),
        ("boosted", "boosted trees (LightGBM)", "round", "trained 7 rounds on 1,500 rows"),
        ("sklearn", "an estimator of scikit-learn", "", "was fitted to 1,500 rows"),
        ("onnx", "a file of ONNX made elsewhere", "", "was made elsewhere, checked and calibrated"),
    ],
)
def test_a_version_says_what_made_it(tmp_path: Path, learner: str, name: str, counted: str, sentence: str) -> None:
    """MO-01, OP-06: By lists, pages and comparisons: rounds of trees, and of what has neither rounds nor epochs no word of them; with it
    what the training used, money too."""
    store = FolderStore(str(tmp_path / "store"))
    published(store, tmp_path, 1, learner)
    note_versions(store, "digits")
    _, lines = show(store, "digits")
    assert f"  Made by {name}. {USED.sentence}" in lines
    assert "0.2 EUR" in USED.sentence
    view = version_view(store, "digits", "1")
    assert (view.line.learner, view.counted, view.epochs) == (name, counted, 7 if counted else None)
    assert learnt(learner, 7, 1500) == sentence
    published(store, tmp_path, 2, "sklearn")
    facts = {pair.name: pair.a for pair in comparison_view(store, "digits", "1", "2").making}
    assert facts["learner"] == name
    assert {word: facts.get(word, "") for word in ("epochs", "rounds")} == {
        "epochs": "",
        "rounds": "",
        **({f"{counted}s": "7"} if counted else {}),
    }


def test_the_ledger_shows_what_a_training_used(tmp_path: Path) -> None:
    """OP-06: On the entry with which a release began; other entries say nothing of it."""
    ledger = Ledger(FolderStore(str(tmp_path / "store")), "digits")
    facts = {"version": 1, "champion": None, "weights": {}, "versions": {1: "a" * 64}, "actor": "anna", "after_seq": None}
    entry = ledger.append("started", **facts, reason="It begins.", evidence={"training": {"sentence": USED.sentence, **USED.figures()}})
    assert f"It begins. Its training: {USED.sentence}" in line(entry)
    assert "Its training" not in line(entry.model_copy(update={"evidence": {}}))


def test_a_version_says_what_it_takes_where_it_was_measured(tmp_path: Path) -> None:
    """SE-15, SE-04: Both places, oldest first; a version from before that has none, and a garbled file is said and hides nothing else."""
    store = FolderStore(str(tmp_path / "store"))
    digest = published(store, tmp_path, 1, "lightning")
    assert version_view(store, "digits", "1").took == ()
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    for where in ("in the serving environment", "at its server"):
        note_measurement(store, "digits", digest, Measurement(time=when, where=where, words="memory 90 MB", figures={"memory_mb": 90}))
    assert [one.where for one in version_view(store, "digits", "1").took] == ["in the serving environment", "at its server"]
    store.write(measurements_key("digits", digest), b"[")
    view = version_view(store, "digits", "1")
    assert (view.took, view.line.number) == ((), 1)
    assert any("measured.json cannot be read" in sentence for sentence in view.damage)
