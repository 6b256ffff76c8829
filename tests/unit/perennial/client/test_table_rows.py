"""Rows in a notebook: as of a version, and as a training sees them."""

from __future__ import annotations

import pandas
import pytest

import perennial
from perennial import discovery
from perennial.data.snapshots import snapshot_at
from perennial.data.splits import split
from perennial.errors import TrainingRefused, UnknownName


def test_a_snapshot_is_the_table_as_of_a_version(digits):
    """What came later is not in it; days are counted from its own newest."""
    first, second = digits("2024-01-01", "2024-01-03"), digits("2024-01-04", "2024-01-05")
    then, now = perennial.snapshot("digits", first), perennial.snapshot("digits")
    assert (len(then), len(now)) == (300, 500)
    assert (then.attrs["snapshot"], now.attrs["snapshot"]) == (first, second)
    pandas.testing.assert_frame_equal(then, now.head(300), check_flags=False)
    newest = perennial.snapshot("digits", first, days=1, columns=["image", "written"])
    assert newest["written"].dt.date.astype(str).unique().tolist() == ["2024-01-03"]
    assert perennial.snapshot("digits", days=("2024-01-02", "2024-01-03"))["image"].tolist() == list(range(100, 300))


def test_what_is_not_there_is_said(digits):
    """A dataset without rows, a version, a day, a part."""
    with pytest.raises(UnknownName, match="no snapshot yet"):
        perennial.snapshot("digits")
    with pytest.raises(TrainingRefused, match="no snapshot yet"):
        perennial.rows("digits")
    digits("2024-01-01", "2024-01-01")
    with pytest.raises(UnknownName, match="no snapshot 9 of digits"):
        perennial.snapshot("digits", 9)
    with pytest.raises(UnknownName, match="names no days"):
        perennial.snapshot("digits", days="yesterday")
    with pytest.raises(UnknownName, match="it has train, validation, test"):
        perennial.rows("digits", "holdout")


def test_a_part_is_what_a_training_would_see(digits, store):
    """The same rows in the same order as the training cuts them; the label column has the class by its name."""
    version = digits("2024-01-01", "2024-01-10")
    spec, features = discovery.model("digits"), discovery.model_part("digits", "features")
    cut = split(snapshot_at(store, discovery.dataset("digits"), version), spec, features)
    for part in ("train", "validation", "test"):
        frame = perennial.rows("digits", part)
        assert frame["image"].tolist() == getattr(cut, part)["image"].tolist()
        assert frame["digit"].tolist() == [spec.classes[int(label)] for label in features.label({"digit": getattr(cut, part)["digit"]})]
        assert frame.attrs["days"] == cut.bounds[part]
