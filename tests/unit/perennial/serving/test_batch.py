"""Answers to many rows: the server's checks and scorer, row by row where it must be."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import orjson
import pytest

from perennial.serving import batch
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.testing import FEATURES, small_rows, small_version

BREAKS = """    print("encoding")
    if any(value == 666 for value in columns["distance"]):
        raise ZeroDivisionError("a bad day")
    return"""
FAILS = FEATURES.replace("    return", BREAKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A version that fails at a distance of 666."""
    folder = small_version(tmp_path_factory.mktemp("version") / "v")
    (folder / "features.py").write_text(FAILS)
    return folder


def test_bad_rows_leave_the_others_as_one_request(folder):
    """SE-03: Rows that a request would refuse, and rows at which the version fails, are held back; the others get the bits of a request of
    them alone."""
    scorer, rows = Scorer(folder), small_rows(40)
    rows[3]["origin"], rows[17]["distance"], rows[30] = "SFO", 666, {"carrier": "AA"}
    answers = batch.answer(scorer, rows)
    good = [row for place, row in enumerate(rows) if place not in answers.held_back]
    request = read_request(orjson.dumps({"data": {"rows": good}}), scorer.signature)
    assert answers.scores.tolist() == scorer.score(request.columns).tolist()
    assert answers.held_back[3] == "origin is 'SFO': it must be one of EWR, JFK, LGA."
    assert answers.held_back[17] == "The version failed on this request: ZeroDivisionError: a bad day."
    assert answers.held_back[30].startswith("It lacks the field origin.")
    assert (sorted(answers.held_back), answers.failed) == ([3, 17, 30], 1)


def test_no_row_may_be_good(folder):
    """SE-03: Then there are no scores, of the width that there would be."""
    answers = batch.answer(Scorer(folder), [{}, {"distance": 1}])
    assert (answers.scores.shape, sorted(answers.held_back), answers.difference) == ((0, 2), [0, 1], 0.0)


def test_a_row_that_scores_otherwise_beside_others_shows(folder, monkeypatch):
    """SE-03: The largest difference from the scores of the rows alone, of the first ones."""
    scorer = Scorer(folder)
    computed = scorer.computed

    def as_many(columns):
        return computed(columns) + len(columns["distance"]) / 1024

    monkeypatch.setattr(scorer, "computed", as_many)
    assert batch.answer(scorer, small_rows(9)).difference == pytest.approx(8 / 1024, abs=1e-6)
    assert batch.answer(scorer, small_rows(9), alone=0).difference == 0


def test_the_program_answers_line_by_line(folder, monkeypatch):
    """SE-03: First whether the version may serve, then one answer for each list of rows, with every bit of the scores; what the version's
    own code prints is no answer."""
    rows, out = small_rows(3), io.BytesIO()
    lines = orjson.dumps(rows) + b"\n" + orjson.dumps([{}]) + b"\n"
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
        assert batch.main(folder) == 0
    said, first, second = map(json.loads, out.getvalue().splitlines())
    assert said["refusal"] == ""
    assert np.array_equal(first["scores"], batch.answer(Scorer(folder), rows).scores)
    assert (second["scores"], list(second["held_back"])) == ([], ["0"])


def test_the_program_says_why_a_version_must_not_score(folder, monkeypatch, tmp_path):
    """SE-03: A file that is not there, as a golden row that differs, is told before any row is asked for."""
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=out))
    assert batch.main(tmp_path) == 0
    assert "cannot be loaded" in json.loads(out.getvalue())["refusal"]
