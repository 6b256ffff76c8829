"""How far a version or a batch reached through the scores that models read of each other."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from perennial import discovery
from perennial.data.receipts import Receipt, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.lineage.learned import learned, readers_of_scores
from perennial.lineage.registrations import note_registration
from perennial.lineage.version_folder import MANIFEST, key, publish
from perennial.store import FolderStore
from perennial.testing import small_dataset, small_manifest, small_model, small_version
from perennial.views.data import batch_view
from perennial.views.lineage import lineage_view


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Version 1 of small_delays gave scores to alerts, whose version 1 gave some to calls; another candidate of alerts
    was never registered."""
    store = FolderStore(str(tmp_path / "store"))
    specs = {name: small_model(name) for name in ("small_delays", "alerts", "calls")}
    monkeypatch.setattr(discovery, "models", lambda: specs)
    monkeypatch.setattr(discovery, "datasets", lambda: {"flights": small_dataset()})
    for place, (model, seed, scores, number) in enumerate(
        [
            ("small_delays", 0, {}, 1),
            ("alerts", 1, {"small_delays": {1: "d"}}, 1),
            ("alerts", 2, {"small_delays": {1: "d", 3: "e"}}, None),
            ("calls", 3, {"alerts": {1: "d"}}, 1),
            ("calls", 4, {"alerts": {2: "d"}}, 2),
        ]
    ):
        folder = small_version(tmp_path / str(place), model=model, seed=seed)
        dataset = "flights" if model == "small_delays" else f"{model}_rows"
        digest = publish(store, model, folder, small_manifest(model, seed=seed, run_key=f"{seed:024d}", scores=scores, dataset=dataset))
        if number:
            note_registration(store, model, number, digest, {})
    counts = RowCounts(added=3)
    when = datetime(2013, 2, 1)
    write_receipt(
        store,
        "flights",
        Receipt(id="f" * 64, name="monday.csv", size=9, digest="a" * 64, outcome="appended", rows=3, counts=counts, version=1, since=1,
                oldest=when, newest=when, sentence="It is in."),
    )  # fmt: skip
    return store


def test_who_learned_from_the_scores_of_a_version(store: FolderStore) -> None:
    """MO-16, SC-03: By model and number, candidates last; only models that may be named, and of those what cannot be read is told."""
    assert [one.words.partition(" ")[0] for one in readers_of_scores(store, "small_delays", 1, [])] == ["alerts/1", "candidate"]
    assert [one.words.partition(" ")[0] for one in readers_of_scores(store, "small_delays", 3, [])] == ["candidate"]
    assert readers_of_scores(store, "small_delays", 2, []) == []
    assert readers_of_scores(store, "small_delays", 1, [], lambda models: models & {"calls"}) == []
    digest = next(one.digest for one in learned(store, "calls", {}))
    store.write(f"{key('calls', digest)}/{MANIFEST}", b"{")
    damage: list[str] = []
    readers_of_scores(store, "alerts", 1, damage)
    assert len(damage) == 1
    assert "calls" in damage[0]


def test_a_batch_reached_those_who_read_of_those_who_learned_from_it(store: FolderStore) -> None:
    """SC-03, SC-05: Model after model, each once; scores of a version that did not have the batch lead nowhere."""
    view = batch_view(store, "small_delays", "monday.csv")
    assert [version.words for version in view.batch.versions] == ["small_delays/1"]
    assert [one.words.partition(" ")[0] for one in view.fed] == ["alerts/1", "candidate", "calls/1"]
    assert "small_delays/1 learned from it" in view.sentence
    assert "From scores of these alerts/1, candidate" in view.sentence
    hidden = batch_view(store, "small_delays", "monday.csv", visible=lambda models: models & {"small_delays", "alerts"})
    assert {one.model for one in hidden.fed} == {"alerts"}


def test_both_ends_of_an_edge_are_shown(store: FolderStore) -> None:
    """MO-16: What a version read, and who read it."""
    view = lineage_view(store, "alerts")
    assert (view.reads, [one.words for one in view.read_by]) == ({"small_delays": (1,)}, ["calls/1"])
    assert view.sentence.endswith("It learned from the scores of version 1 of small_delays. From its own scores calls/1 learned.")


def test_versions_from_before_keep_their_digest() -> None:
    """MO-11, MO-17: A manifest without scores is what it was; with some it is another version."""
    before = small_manifest()
    assert "scores" not in before.model_dump(exclude_defaults=True)
    assert before.digest == small_manifest(scores={}).digest != small_manifest(scores={"a": {1: "d"}}).digest
