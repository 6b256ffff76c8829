"""Outcomes from a notebook."""

from __future__ import annotations

import pandas
import pytest

import perennial
from perennial.errors import Refused, UnknownName


def test_a_frame_is_given_as_the_command_takes_it(stages):
    """The columns that it knows, and what it said, as text."""
    stages.play("outcomes", says='cp "$5" "$here/file"; echo "3 outcomes of digits taken in: 3 new."')
    answers = pandas.DataFrame({"prediction_id": ["a-0", "a-1", "a-2"], "outcome": [1, 2, 3], "score_1": 0.5})
    assert repr(perennial.outcomes("digits", answers)) == "3 outcomes of digits taken in: 3 new."
    assert stages.asked[0][:2] == ["outcomes", "digits"]
    given = pandas.read_parquet(stages.folder / "file")
    assert given.to_dict("list") == {"prediction_id": ["a-0", "a-1", "a-2"], "outcome": [1, 2, 3]}


def test_what_is_wrong_is_a_sentence(stages):
    """A column that is missing, or the command's own refusal."""
    with pytest.raises(UnknownName, match="no column outcome"):
        perennial.outcomes("digits", pandas.DataFrame({"prediction_id": ["a-0"]}))
    stages.play("outcomes", code=2, says='echo "outcomes.parquet is refused: row 1 has no prediction_id."')
    with pytest.raises(Refused, match="row 1 has no prediction_id"):
        perennial.outcomes("digits", pandas.DataFrame({"prediction_id": [""], "outcome": [1]}))
