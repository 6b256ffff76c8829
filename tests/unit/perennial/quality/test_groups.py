"""Groups: are they represented, and do labels and gaps differ between them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from perennial.quality.group_page import section
from perennial.quality.group_rules import faults
from perennial.quality.groups import (
    MISSING,
    GroupCounts,
    adjusted,
    counts_of,
    coverage,
    cramers_v,
    label_rates,
    missingness,
    wilson,
)
from perennial.specs import GroupSpec

USUAL = {"EWR": 3600, "JFK": 3300, "LGA": 3000, "SWF": 100}
DAY = {"EWR": 360, "JFK": 330, "LGA": 300, "SWF": 10}


def days(scatter: float, count: int = 30) -> list[dict[str, int]]:
    """Days on which JFK has a share that scatters by so much around a third."""
    shares = 0.33 + scatter * np.random.default_rng(3).standard_normal(count)
    return [{"EWR": round(600 * (1 - share)), "JFK": round(1000 * share), "LGA": round(400 * (1 - share))} for share in shares]


def states(rows: dict[str, int], usual: GroupCounts | None) -> dict[str, str]:
    """What is said of each group."""
    return {each.group: each.state for each in coverage("origin", rows, usual).groups}


@given(st.integers(0, 400), st.integers(1, 400))
def test_an_interval_of_a_share_is_wilsons(rows: int, total: int) -> None:
    """DM-10: The ends are where the score test is just at 5 %: scipy's interval."""
    rows = min(rows, total)
    wanted = stats.binomtest(rows, total).proportion_ci(0.95, "wilson")
    assert wilson(rows, total) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (DAY, {"EWR": "as usual", "JFK": "as usual", "LGA": "as usual", "SWF": "as usual"}),
        ({**DAY, "JFK": 0}, {"JFK": "vanished"}),
        ({**DAY, "SWF": 0}, {"SWF": "vanished"}),
        ({"EWR": 36, "JFK": 33, "LGA": 30}, {"SWF": "few rows"}),  # one of a hundred was usual: its absence says nothing
        ({**DAY, "PHL": 4}, {"PHL": "new"}),
        ({"EWR": 200, "JFK": 520, "LGA": 270, "SWF": 10}, {"EWR": "less", "JFK": "more", "LGA": "as usual"}),
        ({**DAY, "JFK": 360}, {"JFK": "as usual"}),  # chance
        ({"EWR": 36000, "JFK": 36000, "LGA": 30000, "SWF": 1000}, {"JFK": "as usual"}),  # real, but small
    ],
)
def test_each_group_is_compared_with_what_is_usual(rows: dict[str, int], wanted: dict[str, str]) -> None:
    """DM-10: Vanished, new, more, less; few rows are said to be few, and chance and trifles are as usual."""
    told = states(rows, GroupCounts(USUAL))
    assert {name: told[name] for name in wanted} == wanted


def test_chances_are_those_of_chi_square_adjusted_for_the_number_of_groups() -> None:
    """DM-10: Each group against all others; together, all groups at once."""
    found = coverage("origin", {**DAY, "JFK": 400}, GroupCounts(USUAL))
    tables = [[[each.rows, found.rows - each.rows], [USUAL[each.group], 10_000 - USUAL[each.group]]] for each in found.groups]
    chances = [float(stats.chi2_contingency(table, correction=False).pvalue) for table in tables]
    assert [each.p for each in found.groups] == pytest.approx(adjusted(chances))
    whole = [[each.rows for each in found.groups], [USUAL[each.group] for each in found.groups]]
    assert found.p == pytest.approx(stats.chi2_contingency(whole).pvalue)


def test_days_that_always_differ_are_no_finding() -> None:
    """DM-10: A share of 45 % is far from a third, unless days scatter by a tenth; a group that is often absent does not vanish."""
    today = {"EWR": 330, "JFK": 450, "LGA": 220}
    calm, wild = days(0.01), days(0.1)
    assert states(today, GroupCounts(_sum(calm), calm))["JFK"] == "more"
    found = coverage("origin", today, GroupCounts(_sum(wild), wild))
    assert {each.group: each.state for each in found.groups}["JFK"] == "as usual"
    assert found.scatter > 10
    weekly = [{**day, "SWF": 40 if place % 7 == 0 else 0} for place, day in enumerate(calm)]
    assert states(calm[0], GroupCounts(_sum(weekly), weekly))["SWF"] != "vanished"


def test_the_test_keeps_its_promise_when_nothing_has_changed() -> None:
    """DM-10: Of 300 days drawn like the thirty before, at most a few have a group that is told of, scattered or not."""
    rng, told = np.random.default_rng(8), 0
    for _ in range(300):
        shares = rng.dirichlet([30, 30, 20], size=31)
        drawn = [dict(zip("ABC", map(int, rng.multinomial(800, share)), strict=True)) for share in shares]
        told += any(state in ("more", "less") for state in states(drawn[-1], GroupCounts(_sum(drawn[:-1]), drawn[:-1])).values())
    assert told <= 9


def _sum(batches: list[dict[str, int]]) -> dict[str, int]:
    return {name: sum(batch.get(name, 0) for batch in batches) for name in sorted({n for batch in batches for n in batch})}


def test_values_are_groups_by_their_words() -> None:
    """DM-10: Whole numbers in a column with gaps, truth values, and no value."""
    assert counts_of([1.0, float("nan"), 2.0, 1.0]) == {"(missing)": 1, "1": 2, "2": 1}
    assert counts_of([True, None, False]) == {"(missing)": 1, "false": 1, "true": 1}
    assert counts_of(np.array(["b", None, "a"], object)) == {"(missing)": 1, "a": 1, "b": 1}


@pytest.mark.parametrize(
    ("spec", "rows", "snapshot", "said"),
    [
        ({}, {**DAY, "JFK": 0}, False, [("warning", "origin has no row of JFK, of which about 221 of 670 were usual")]),
        (
            {"severity": "critical"},
            {**DAY, "JFK": 0},
            True,
            [("critical", "origin has no row of JFK, of which about 221 of 670 were usual")],
        ),
        ({}, {**DAY, "PHL": 4}, False, [("warning", "origin has the new group PHL in 4 of 1,004 rows")]),
        (
            {"min_share": 0.02},
            DAY,
            False,
            [("warning", "origin is SWF in 1.0 % of the rows (0.54 % to 1.8 %), and 2.0 % of each group are wanted")],
        ),
        ({"min_share": 0.015}, DAY, False, []),  # chance explains it
        ({"min_rows": 11}, DAY, False, []),
        ({"min_rows": 11}, DAY, True, [("warning", "origin is SWF in 10 of 1,000 rows, and 11 of each group are wanted")]),
        ({}, {**DAY, MISSING: 40}, False, []),
        ({}, {str(i): 1 for i in range(60)}, False, [("warning", "origin has 64 different values, too many to be groups")]),
    ],
)
def test_what_a_batch_lacks_is_a_sentence(spec: dict, rows: dict[str, int], snapshot: bool, said: list[tuple[str, str]]) -> None:
    """DM-10: A vanished group and one below what the spec asks have its severity; new ones warn; a training asks for rows."""
    found = faults(GroupSpec(column="origin", **spec), coverage("origin", rows, GroupCounts(USUAL)), snapshot=snapshot)
    assert [(fault.severity, fault.sentence) for fault in found if "usually" not in fault.sentence] == said


def test_shares_that_moved_are_told_with_their_interval() -> None:
    """DM-10: How much it is, how sure, and what is usual."""
    found = faults(GroupSpec(column="origin"), coverage("origin", {"EWR": 200, "JFK": 520, "LGA": 270, "SWF": 10}, GroupCounts(USUAL)))
    assert "origin is JFK in 52.0 % of the rows (48.9 % to 55.1 %), usually in 33.0 %" in [fault.sentence for fault in found]


def test_the_page_shows_each_group_and_escapes_it() -> None:
    """DM-10, SC-01: Share, interval, what is usual; a name is text."""
    page = section([coverage("origin", {"<b>": 400, "JFK": 300}, GroupCounts({"JFK": 5000, "<b>": 5000}))])
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "57.1 % (53.4 % to 60.8 %)</td><td>50.0 %" in page
    assert section([]) == ""


def test_label_rates_of_two_classes_have_intervals_and_a_test() -> None:
    """DM-10: Rate and interval of each group as scipy has them; the group that differs is named, the one with few rows is not tested."""
    names = ["a"] * 400 + ["b"] * 400 + ["c"] * 8
    labels = np.array([1.0] * 80 + [0.0] * 320 + [1.0] * 200 + [0.0] * 200 + [1.0] * 4 + [math.nan] * 4)
    rates = label_rates(names, labels, ("on time", "late"))
    by_group = {line["group"]: line for line in rates["groups"]}
    assert rates["of"] == ["late"]
    assert by_group["a"]["rates"] == [[0.2, *wilson(80, 400)]]
    assert (by_group["c"]["rows"], by_group["c"]["labelled"], by_group["c"]["p"]) == (8, 4, None)
    assert {name: line["differs"] for name, line in by_group.items()} == {"a": True, "b": True, "c": False}
    table = np.array([[320, 80], [200, 200]])
    assert rates["effect"] == pytest.approx(stats.contingency.association(table))
    assert rates["p"] == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


def test_label_rates_of_several_classes_and_means() -> None:
    """DM-10: The share of each class; of a regression the mean with Student's interval, and the share of variance between groups."""
    rng = np.random.default_rng(4)
    names = np.repeat(["a", "b"], 200).tolist()
    several = label_rates(names, np.tile([0.0, 1.0, 2.0, 2.0], 100), ("x", "y", "z"))
    assert [rate[0] for rate in several["groups"][0]["rates"]] == [0.25, 0.25, 0.5]
    assert not any(line["differs"] for line in several["groups"])
    values = rng.normal(size=400) + np.repeat([0.0, 1.0], 200)
    means = label_rates(names, values, ())
    first = values[:200]
    wanted = stats.t.interval(0.95, 199, first.mean(), stats.sem(first))
    assert means["groups"][0]["rates"][0] == pytest.approx([first.mean(), *wanted])
    assert all(line["differs"] for line in means["groups"])
    assert means["effect"] == pytest.approx(
        1 - sum(((part - part.mean()) ** 2).sum() for part in (first, values[200:])) / values.var() / 400
    )
    assert label_rates(["a"], np.array([math.nan]), ())["groups"][0]["rates"] == [[None, None, None]]


@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e200])
@pytest.mark.parametrize("same", [0.0, 0.1, 1 / 3])
def test_means_can_be_written_down_whatever_the_labels_are(unit: float, same: float) -> None:
    """DM-10: Huge labels, infinite ones, and a group whose labels are all the same: figures that JSON has, and the unit changes nothing."""
    values = np.random.default_rng(4).normal(size=300) + np.repeat([0.0, 3.0, 0.0], 100)
    values[200:] = same
    expected, values[0] = label_rates(["a"] * 99 + ["b"] * 100 + ["c"] * 100, values[1:], ()), math.inf / unit
    found = label_rates(["a"] * 100 + ["b"] * 100 + ["c"] * 100, values * unit, ())
    lines = json.loads(json.dumps(found, allow_nan=False))["groups"]
    assert [line["labelled"] for line in lines] == [99, 100, 100]
    for line, other in zip(lines, expected["groups"], strict=True):
        assert (line["p"], line["differs"]) == (pytest.approx(other["p"]), other["differs"])
        assert [figure / unit for figure in line["rates"][0]] == pytest.approx(other["rates"][0])
    assert found["effect"] == pytest.approx(expected["effect"])


def test_gaps_that_differ_between_groups_are_listed() -> None:
    """DM-10: The column that one group lacks, and not the one that all lack alike, nor the one with few rows."""
    names = ["a"] * 200 + ["b"] * 200 + ["c"] * 3
    uneven = np.array([True] * 100 + [False] * 300 + [True] * 3)
    (line,) = missingness(names, {"even": np.arange(403) % 4 == 0, "uneven": uneven, "whole": np.zeros(403, bool)})
    assert (line["column"], line["least"], line["least_share"]) == ("uneven", "b", 0.0)
    assert line["effect"] > 0.5


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_adjusted_chances_are_benjamini_and_hochbergs(chances: list[float | None]) -> None:
    """DM-10: None stays where it was, order is kept, and none gets smaller."""
    mended = adjusted(chances)
    assert [p is None for p in mended] == [p is None for p in chances]
    pairs = [(p, q) for p, q in zip(chances, mended, strict=True) if p is not None and q is not None]
    assert all(q >= p for p, q in pairs)
    tested = sorted(pairs)
    assert [q for _, q in tested] == sorted(q for _, q in tested)
    if pairs:
        assert tested[0][1] == pytest.approx(min(min(1.0, p * len(tested) / rank) for rank, (p, _) in enumerate(tested, 1)))


def test_a_table_with_one_row_says_nothing() -> None:
    """DM-10: Nothing to compare, no chance."""
    assert cramers_v(np.array([[5.0, 7.0]])) == (0.0, None)
    assert cramers_v(np.zeros((0, 2))) == (0.0, None)
