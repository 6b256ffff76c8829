"""How far a training is: noted while it runs, gone at its end, and one that was killed is told from one that runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from perennial.lineage.progress import BEAT, EVERY, progress, watched
from perennial.store import FolderStore


def test_a_training_is_noted_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its begin that rows are read, then the epochs that are done, at most one note in some seconds; nothing at its end."""
    store, now = FolderStore(str(tmp_path)), [100.0]
    monkeypatch.setattr("perennial.lineage.progress.time.monotonic", lambda: now[0])
    with watched(store, "churn") as note:
        first = progress(store, "churn")
        assert first is not None
        assert (first.epoch, first.limit, first.loss) == (0, 0, None)
        note(1, 20, 0.5, 0.7)
        note(2, 20, 0.5, 0.6)  # at once: not written
        now[0] += EVERY
        seen = progress(store, "churn")
        assert seen is not None
        assert (seen.epoch, seen.limit, seen.loss) == (1, 20, 0.7)
        note(3, 20, 0.5, 0.5)
        assert progress(store, "churn").epoch == 3
    assert progress(store, "churn") is None


def test_a_step_is_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-14: Within an epoch that takes long, the note says that it goes on, and how far it is stays; a hundred steps cost nothing."""
    store, now = FolderStore(str(tmp_path)), [100.0]
    monkeypatch.setattr("perennial.lineage.progress.time.monotonic", lambda: now[0])
    with watched(store, "churn") as teller:
        teller(3, 20, 0.5, 0.7)
        first = progress(store, "churn")
        for _ in range(100):
            teller.beat()
        assert progress(store, "churn") == first
        now[0] += BEAT
        teller.beat()
        second = progress(store, "churn")
    assert first is not None
    assert second is not None
    assert second.heard > first.heard
    assert second == first.model_copy(update={"heard": second.heard})


def test_a_training_has_stalled_after_the_limit_and_three_epochs(tmp_path: Path) -> None:
    """MN-14: Whichever is longer."""
    with watched(FolderStore(str(tmp_path)), "churn") as teller:
        teller(1, 20, 100.0, 0.7)
        note = progress(FolderStore(str(tmp_path)), "churn")
    assert note is not None
    for limit, over in ((60, 300), (400, 400)):
        assert not note.has_stalled(note.heard + timedelta(seconds=over), limit)
        assert note.has_stalled(note.heard + timedelta(seconds=over, milliseconds=1), limit)


def test_a_training_that_fails_leaves_no_note(tmp_path: Path) -> None:
    """A refusal ends the training as an end does."""
    store = FolderStore(str(tmp_path))
    with pytest.raises(ValueError, match="no number"), watched(store, "churn"):
        raise ValueError("The loss is no number.")
    assert progress(store, "churn") is None


def test_silence_is_measured_by_the_length_of_an_epoch(tmp_path: Path) -> None:
    """A training of short epochs is silent after two minutes, one whose epochs take long after three of them."""
    store = FolderStore(str(tmp_path))
    with watched(store, "churn") as note:
        note(1, 20, 0.1, 0.7)
        quick = progress(store, "churn")
        assert quick is not None
        assert not quick.is_silent(quick.heard + timedelta(seconds=119))
        assert quick.is_silent(quick.heard + timedelta(seconds=121))
        slow = quick.model_copy(update={"seconds": 100.0})
        assert not slow.is_silent(slow.heard + timedelta(seconds=299))
        assert slow.is_silent(slow.heard + timedelta(seconds=301))


def test_a_garbled_note_is_none(tmp_path: Path) -> None:
    """What cannot be read says nothing of a training, and breaks no page."""
    store = FolderStore(str(tmp_path))
    store.write("views/training/churn.json", b"{")
    assert progress(store, "churn") is None
