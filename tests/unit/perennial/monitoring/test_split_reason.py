"""Which requests one of two versions gets too few of."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.split_reason import MOST_VALUES, UNKNOWN, reason


def answers(champion: dict[str, list[Any]], candidate: dict[str, list[Any]]) -> pa.Table:
    """Rows of version 1, then of version 2, and one of another."""
    count, others = len(next(iter(champion.values()))), len(next(iter(candidate.values())))
    columns = {name: [*champion[name], *candidate[name], champion[name][0]] for name in champion}
    return pa.table({"model_version": [1] * count + [2] * others + [3], **columns})


def said(champion: dict[str, list[Any]], candidate: dict[str, list[Any]]) -> str:
    return reason(answers(champion, candidate), candidate=2, champion=1)


def test_the_value_that_differs_most_is_named() -> None:
    """SE-06: among words, whole numbers, truth and what is missing; with the counts of both."""
    site = {"input_site": ["a"] * 400 + ["b"] * 400}
    assert said(site, {"input_site": ["a"] * 100}) == (
        "Most of it is where site is b: 0 of 100 logged answers of the candidate, 400 of 800 of the champion."
    )
    wide = {"input_site": ["a"] * 400 + ["b"] * 400, "input_kind": [1] * 600 + [2] * 200}
    assert "where kind is 2: 90 of 100" in said(wide, {"input_site": ["a"] * 60 + ["b"] * 40, "input_kind": [2] * 90 + [1] * 10})
    three = {"input_site": ["a"] * 400 + ["b"] * 300 + ["c"] * 300}
    assert "where site is c: 0 of 200" in said(three, {"input_site": ["a"] * 110 + ["b"] * 90})
    assert "where on is True: 0 of 60" in said({"input_on": [True, False] * 300}, {"input_on": [False] * 60})
    assert "where site is missing: 60 of 90" in said({"input_site": ["a"] * 300 + ["b"] * 300}, {"input_site": [None] * 60 + ["a"] * 30})


def test_the_hour_counts_too() -> None:
    """SE-06: of the time at which it was answered."""
    hours = [datetime(2026, 3, 1, hour, 30, tzinfo=timezone.utc) for hour in (9, 10)]
    found = said({"served_at": [*hours * 300]}, {"served_at": [hours[0]] * 60})
    assert "where the hour (UTC) is 9: 60 of 60 logged answers of the candidate, 300 of 600 of the champion" in found


def test_what_does_not_differ_clearly_is_not_named() -> None:
    """SE-06: chance, columns of too many values or of fractions, and versions without an answer in the log."""
    site = {"input_site": ["a"] * 400 + ["b"] * 400}
    assert said(site, {"input_site": ["a"] * 58 + ["b"] * 42}) == UNKNOWN
    assert said({"input_x": [0.0] * 400 + [1.0] * 400}, {"input_x": [0.0] * 100}) == UNKNOWN
    assert said({"model": ["a"] * 400 + ["b"] * 400}, {"model": ["a"] * 100}) == UNKNOWN  # no input
    for values, known in ((MOST_VALUES, True), (MOST_VALUES + 1, False)):
        many = {"input_n": [at % values for at in range(100 * values)]}
        assert (said(many, {"input_n": [0] * 100}) != UNKNOWN) == known
    assert reason(answers(site, site).slice(0, 800), candidate=2, champion=1) == UNKNOWN
    assert reason(answers(site, site).slice(800), candidate=2, champion=1) == UNKNOWN
    assert reason(pa.table({"model_version": pa.array([], pa.int64())}), candidate=2, champion=1) == UNKNOWN


@pytest.mark.parametrize(("ours", "named"), [(690, False), (708, True)])
def test_how_clear_it_must_be(ours: int, named: bool) -> None:
    """SE-06: four standard deviations, and more where more values are compared: here two, so that 4.3 are wanted."""
    champion = {"input_site": ["a"] * 5000 + ["b"] * 5000}
    candidate = {"input_site": ["a"] * ours + ["b"] * (1250 - ours)}
    pooled = (5000 + ours) / 11250
    distance = (ours / 1250 - 0.5) / np.sqrt(pooled * (1 - pooled) * (1 / 10000 + 1 / 1250))
    assert (distance > 4 + np.log10(2)) == named
    assert (said(champion, candidate) != UNKNOWN) == named
