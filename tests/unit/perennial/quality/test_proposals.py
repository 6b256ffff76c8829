"""What batches say that a suite may expect."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest

from perennial.errors import SettingMissing
from perennial.quality import suite_file, suites
from perennial.quality.proposals import BatchFacts, ColumnFacts, PairFacts, Proposal, breaks, proposals
from perennial.quality.suite_file import SuiteFile, differences, expectation_of
from perennial.specs import Column, DatasetSpec

SPEC = DatasetSpec(
    name="rides", title="Rides", owner="fleet", key=["ride"], event_time="start",
    columns=[
        Column(name="ride", type="string"), Column(name="start", type="timestamp"), Column(name="end", type="timestamp"),
        Column(name="km", type="float"), Column(name="delay", type="int", nullable=True), Column(name="city", type="string"),
    ],
)  # fmt: skip


def batch(day: int, **columns: ColumnFacts) -> BatchFacts:
    """A day with 400 rows, of which one column is otherwise."""
    usual = {
        "km": ColumnFacts(400, 0, 1.0, 40.0 + day % 3, 5.0, 0, 30),
        "delay": ColumnFacts(380, 20, -40 + day % 5, 1300 + day % 7, -2.0, 19, 40),
        "city": ColumnFacts(400, 0, commonest=250, values={"Rome": 250, "Oslo": 150}),
    }
    return BatchFacts(f"day-{day}", 400 + day % 4, usual | columns)


DAYS = [batch(day) for day in range(40)]
PAIRS = {
    ("start", "end"): PairFacts(9000, 0, 0.5, 0),
    ("km", "delay"): PairFacts(9000, 0, 0.05, 0),
    ("end", "start"): PairFacts(299, 0, 0.5),
}


def said(batches: Sequence[BatchFacts]) -> dict[str, Proposal]:
    """Proposals by their words."""
    return {each.words: each for each in proposals(SPEC, batches, PAIRS)}


def test_each_kind_is_grown_with_its_evidence() -> None:
    """DM-10: Rows, key, event time, share of nulls and of zeros, ranges, words, constants, order of two columns; warnings first."""
    proposed = said(DAYS)
    assert {words: each.severity for words, each in proposed.items()} == {
        "a batch has at least 1 row": "critical",
        "a batch has 399 to 404 rows": "warning",
        "no two rows have the same ride": "critical",
        "start is at most a day ahead of the clock": "critical",
        "km is from 0 to 60": "warning",
        "km has more than one value in a batch": "critical",
        "delay is null in at most 6 % of the rows": "warning",
        "delay is from -60 to 1,800": "warning",
        "delay is 0 in at most 6 % of its values": "warning",
        "delay has more than one value in a batch": "critical",
        "city is one of Oslo, Rome": "warning",
        "city has more than one value in a batch": "critical",
        "start is at most end": "warning",
    }
    delay = proposed["delay is from -60 to 1,800"]
    assert delay.evidence == (
        "over 40 batches with 16,060 rows the smallest was -40, the largest 1,306; from one batch to the next its smallest changed by 4 at "
        "most, its largest by 6"
    )
    assert delay.tried_words == "grown from the batches before each, it would have warned of 0 of the newest 20"


@pytest.mark.parametrize(("count", "bound"), [(1, 4000), (4, 3000), (100, 1600)])
def test_the_slack_of_a_range_shrinks_with_the_batches(count: int, bound: int) -> None:
    """DM-10: Twice the distance from the median to the extreme over the root of the batches: 1,300 with a median of 0 gets 3,900, 2,600,
    1,560, and is rounded outwards by less than that distance."""
    facts = ColumnFacts(400, 0, -10, 1300, 0.0)
    days = [batch(day, delay=facts) for day in range(count)]
    grown = next(each for each in proposals(SPEC, days) if each.type.endswith("values_to_be_between") and each.kwargs["column"] == "delay")
    slack = 2600 / math.sqrt(count)
    assert grown.kwargs["max_value"] == bound
    assert 1300 + slack <= bound < 1300 + 2 * slack


def test_a_rule_that_failed_often_is_not_proposed() -> None:
    """DM-10: Numbers that double leave each range that is grown from the batches before; one late outlier of twenty is borne."""
    growing = [batch(day, km=ColumnFacts(400, 0, 1.0, 40.0 * 2**day, 5.0)) for day in range(40)]
    (km,) = (each for words, each in said(growing).items() if words.startswith("km is from"))
    assert not km.usable
    assert (km.tried, km.failed) == (20, 20)
    once = [batch(day, km=ColumnFacts(400, 0, 1.0, 900.0 if day == 35 else 40.0, 5.0)) for day in range(40)]
    (km,) = (each for words, each in said(once).items() if words.startswith("km is from"))
    assert (km.usable, km.failed_by) == (True, ("day-35",))


def test_few_batches_are_said_to_be_few() -> None:
    """DM-10: Of four days nobody knows how much days differ: no rule on shares and rows, and ranges say that they were not tried."""
    proposed = said(DAYS[:4])
    assert not [words for words in proposed if "null" in words or "rows" in words.replace("no two rows", "")]
    assert proposed["city is one of Oslo, Rome"].tried_words == "fewer than 10 batches are too few to try it on"


@pytest.mark.parametrize(
    ("kind", "kwargs", "harm", "broken"),
    [
        ("expect_table_row_count_to_be_between", {"max_value": 400}, {}, True),
        ("expect_column_values_to_not_be_null", {"column": "delay"}, {}, True),
        ("expect_column_values_to_not_be_null", {"column": "delay", "mostly": 0.95}, {}, False),
        ("expect_column_values_to_be_between", {"column": "km", "min_value": 2}, {}, True),
        ("expect_column_values_to_be_between", {"column": "km", "min_value": 2, "mostly": 0.9}, {}, False),  # nobody knows
        ("expect_column_values_to_be_in_set", {"column": "city", "value_set": ["Rome"]}, {}, True),
        ("expect_column_values_to_be_in_set", {"column": "city", "value_set": ["Rome"], "mostly": 0.6}, {}, False),
        ("expect_column_values_to_not_be_in_set", {"column": "delay", "value_set": [0], "mostly": 0.96}, {}, True),
        ("expect_column_unique_value_count_to_be_between", {"column": "km", "min_value": 2}, {}, False),
        (
            "expect_column_unique_value_count_to_be_between",
            {"column": "km", "min_value": 2},
            {"km": ColumnFacts(400, 0, -9999, -9999, -9999, 0, 400)},
            True,
        ),
        ("expect_column_max_to_be_between", {"column": "start", "max_value": {"$PARAMETER": "latest"}}, {}, False),
        ("expect_column_to_exist", {"column": "km"}, {}, False),
    ],
)
def test_what_a_batch_breaks_is_known_from_its_facts(kind: str, kwargs: dict, harm: dict, broken: bool) -> None:
    """DM-10: For those that are proposed and for those that are in force."""
    assert breaks(kind, kwargs, batch(1, **harm)) == broken


def between(low: float, high: float, **more: object) -> dict:
    """An expectation as a person writes it."""
    return {"type": "expect_column_values_to_be_between", "kwargs": {"column": "km", "min_value": low, "max_value": high}, **more}


@pytest.mark.parametrize(
    ("in_force", "relation", "contradicted"),
    [
        ([], "new", 0),
        ([between(0, 60)], "the same", 0),
        ([between(-10, 600)], "tighter", 0),
        ([between(0, 50)], "looser", 0),
        ([between(5, 70)], "different", 40),
        ([between(0, 1000), between(-5, 60)], "the same", 0),
    ],
)
def test_a_proposal_stands_beside_what_is_in_force(in_force: list[dict], relation: str, contradicted: int) -> None:
    """DM-10: New, tighter, looser, or contradicted by batches that are in the table; what a person wrote stays."""
    (found,) = differences([said(DAYS)["km is from 0 to 60"]], in_force, DAYS)
    assert (found.relation, len(found.contradicted_by), found.written) == (relation, contradicted, not in_force)
    assert ("a person wrote it" in found.words) == (bool(in_force) and relation != "the same")


def test_only_what_nobody_changed_is_replaced() -> None:
    """DM-10: A proposal of other days takes the place of an earlier one in the file, unless somebody edited that."""
    earlier = expectation_of(next(p for words, p in said(DAYS[:5]).items() if words.startswith("km is from")))
    (found,) = differences([said(DAYS)["km is from 0 to 60"]], [{"type": "x", "kwargs": {}}, earlier], DAYS)
    assert (found.relation, found.written, found.replaces) == ("tighter", True, 1)
    edited = {**earlier, "kwargs": {**earlier["kwargs"], "max_value": 100}}
    (found,) = differences([said(DAYS)["km is from 0 to 60"]], [edited], DAYS)
    assert (found.relation, found.written, found.replaces) == ("tighter", False, None)


def test_what_refuses_stands_beside_what_warns() -> None:
    """DM-10: A range of rows is new beside the one row that each batch must have, and takes the place of its own kind."""
    least, rows = (said(DAYS)[words] for words in ("a batch has at least 1 row", "a batch has 399 to 404 rows"))
    (found,) = differences([rows], [expectation_of(least)], DAYS)
    assert (found.relation, found.written, found.replaces) == ("new", True, None)
    (found,) = differences([rows], [expectation_of(least), expectation_of(rows)], DAYS)
    assert (found.relation, found.written, found.replaces) == ("the same", False, 1)


@pytest.mark.parametrize("name", ["flights", "digits"])
def test_what_people_wrote_keeps_every_letter(name: str) -> None:
    """DM-10: Added and replaced expectations change no other line, and writing them again changes nothing."""
    text = (suites.folder() / "expectations" / f"{name}.json").read_text()
    file = SuiteFile(name, text)
    more = expectation_of(said(DAYS)["km is from 0 to 60"])
    edited = file.edited([more], {0: more})
    begin, end = file.spans[0]
    assert edited.startswith(text[:begin])
    assert text[end : file.spans[-1][0]] in edited
    assert edited.endswith(text[file.spans[-1][0] :])
    assert json.loads(edited)["expectations"] == [more, *file.expectations[1:], more]
    assert SuiteFile(name, edited).edited([], {0: more}) == edited
    assert suite_file.is_proposed(more)


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "rides"}'])
def test_a_file_that_is_no_suite_is_named(text: str) -> None:
    """DM-10: Nothing is written over it."""
    with pytest.raises(SettingMissing, match=r"expectations/rides\.json cannot be read .* correct it there"):
        SuiteFile("rides", text)


def test_the_smallest_numbers_there_are_have_a_range() -> None:
    """DM-10: Of numbers so small that a hundredth of them is none a range is grown all the same, with both ends inside."""
    tiny = [batch(day, km=ColumnFacts(400, 0, 5e-324, 1e-323, 5e-324)) for day in range(12)]
    (km,) = (each for each in proposals(SPEC, tiny) if each.kwargs.get("column") == "km" and "max_value" in each.kwargs)
    assert km.kwargs["min_value"] <= 5e-324 <= 1e-323 <= km.kwargs["max_value"]
