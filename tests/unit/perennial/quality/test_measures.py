"""Suites of lists and texts: expectations name what is measured of them, as reports do."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pytest

from perennial.commands._suite_facts import facts_of_sample
from perennial.quality import suites
from perennial.quality.proposals import proposals
from perennial.quality.validation import validate_snapshot
from perennial.specs import Column, DatasetSpec

SHOP = DatasetSpec(
    name="shop",
    title="Shop",
    owner="tests",
    row_id="position",
    event_time="",
    columns=(
        Column(name="review", type="text", nullable=True),
        Column(name="history", type="list", of="float"),
        Column(name="tags", type="list", of="string"),
    ),
)
ROWS = {
    "review": ["three good words", "one", None, "and four more words"],
    "history": [[1.0], [2.0, 3.0], [4.0] * 5, [1.0]],
    "tags": [["a"], [], ["a", "b"], []],
}


def table(**columns: list) -> pa.Table:
    schema = pa.schema({"review": pa.string(), "history": pa.list_(pa.float64()), "tags": pa.list_(pa.string())})
    return pa.Table.from_pydict(ROWS | columns, schema)


def test_a_new_suite_bounds_the_length_of_lists_and_texts() -> None:
    """DM-15: From a sample: the words of a text and the elements of a list, wide of what the sample has."""
    facts = facts_of_sample(SHOP, table().to_pandas(), "sample.csv")
    words = {proposal.words for proposal in proposals(SHOP, [facts], batch_is_file=False)}
    assert words >= {"history[length] is from 0 to 12", "review[words] is from 0 to 6", "tags[length] is from 0 to 5"}


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({}, set()),
        ({"history": [[1.0] * 50, [2.0], [3.0], [4.0]]}, {"history[length]"}),
        ({"history": [[1.0, 900.0], [2.0], [3.0], [4.0]]}, {"history[largest]"}),
        ({"review": ["", "one", "two words", "here"]}, {"review[words]"}),
        ({"review": [None, None, None, "here"]}, {"review"}),
    ],
)
def test_a_suite_may_expect_something_of_what_is_measured(columns: dict, named: set, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: The length of a list, the largest of its numbers, a share of texts without a word, and a share of missing ones."""
    gx = suites.great_expectations()
    between = gx.expectations.ExpectColumnValuesToBeBetween
    suite = gx.ExpectationSuite(
        name="shop",
        expectations=[
            between(column="history[length]", min_value=1, max_value=9, severity="critical"),
            between(column="history[largest]", max_value=100, severity="critical"),
            between(column="review[words]", min_value=1, mostly=0.8, severity="critical"),
            gx.expectations.ExpectColumnValuesToNotBeNull(column="review", mostly=0.5, severity="critical"),
        ],
    )
    monkeypatch.setattr(suites, "load_suite", lambda name, *, without_batch_only=False: suite)
    verdict = validate_snapshot(table(**columns), SHOP, "snapshot 1")
    assert {failure.column for failure in verdict.failures} == named
    assert verdict.passed == (not named)
    frame = table(**columns).to_pandas()
    assert validate_snapshot(frame, SHOP, "snapshot 1").failures == verdict.failures
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["review", "history", "tags"]  # what is measured is not left behind
