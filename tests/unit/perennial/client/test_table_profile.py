"""A dataset's profile in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import perennial
from perennial.client.table_profile import _bars
from perennial.errors import UnknownName
from perennial.stages import profile as stage


def test_it_says_what_the_columns_hold_and_writes_nothing(digits, connected):
    """Lowest, median and highest are those of the rows; a question leaves the store as it was."""
    digits("2024-01-01", "2024-01-04")
    before = sorted(Path(connected.settings.store).rglob("*"))
    profile, rows = perennial.profile("digits"), perennial.snapshot("digits")
    assert sorted(Path(connected.settings.store).rglob("*")) == before
    table = profile.frame.set_index("column")
    for pixel in ("p02", "p10", "p36"):
        assert table.loc[pixel, ["lowest", "highest"]].tolist() == [rows[pixel].min(), rows[pixel].max()]
        assert abs(table.loc[pixel, "median"] - np.median(rows[pixel])) <= 0.5
        assert len(table.loc[pixel, "shape"]) > 1
    assert profile.sentence == "digits, version 1: 400 rows on 4 days, 2024-01-01 to 2024-01-04."
    assert profile.sentence in profile._repr_html_()


def test_what_the_stage_counted_is_read(digits, store, connected):
    """One profile for both: its counts are equal bit for bit."""
    version = digits("2024-01-01", "2024-01-03")
    counted = perennial.profile("digits")
    stage.run(connected.settings, store, dataset="digits")
    read = perennial.profile("digits", version)
    assert read.by_day.blocks == counted.by_day.blocks
    assert repr(read) == repr(counted)


def test_an_empty_table_has_none():
    """A sentence says what to do."""
    with pytest.raises(UnknownName, match="ingest a batch first"):
        perennial.profile("digits")


def test_bars_show_every_count():
    """One row beside a million is still seen."""
    assert _bars([1_000_000, 1, 0, 500_000]) == "█▁ ▄"
    assert _bars([]) == _bars([0, 0]) == ""
