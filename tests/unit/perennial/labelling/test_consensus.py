"""The labels of several people become one by a stated rule, or none."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.labelling.answers import Answer, Target
from perennial.labelling.consensus import Agreed, Rule, agreed_value, history
from perennial.labelling.handing_on import new_answers, rows_to_hand_on
from perennial.specs import Column

TARGET = Target("verdicts", (Column(name="claim", type="int"),), (Column(name="fraud", type="string"),), "known")
FIRST = datetime(2024, 2, 1, tzinfo=timezone.utc)
WORDS = st.sampled_from(["yes", "no", "maybe"])


def at(hours: int) -> str:
    return (FIRST + timedelta(hours=hours)).isoformat()


ANSWERS = st.lists(
    st.builds(
        lambda claim, person, word, hours: Answer((str(claim),), person, {"fraud": word}, at(hours)),
        st.integers(0, 2), st.sampled_from(["ada", "bob", "cy"]), WORDS, st.integers(0, 20),
    ),
    max_size=14, unique_by=lambda answer: (answer.key, answer.person, answer.known),
)  # fmt: skip


@pytest.mark.parametrize(
    ("values", "rule", "value", "why"),
    [
        (["yes"], Rule(), "yes", ""),
        (["yes", "yes", "no"], Rule(), "yes", ""),
        (["yes", "no"], Rule(), "", "no, yes: none has more than half"),
        (["yes", "yes", "no"], Rule(share=0.7), "", r"no, yes \(2\): 67% agree, and 70% must"),
        (["yes", "yes", "no", "no", "maybe"], Rule(), "", "none has more than half"),
        (["yes"], Rule(people=2), "", "1 of 2 people answered"),
    ],
)
def test_words(values: list[str], rule: Rule, value: str, why: str) -> None:
    """DM-03: More than half and the share that was asked for, of enough people; else a reason and no label."""
    agreed, reason = agreed_value(values, rule)
    assert agreed == value
    assert re.search(why, reason) if why else not reason


@pytest.mark.parametrize(("within", "value"), [(0.0, ""), (2.0, "2"), (1.9, "")])
def test_numbers(within: float, value: str) -> None:
    """DM-03: The median, where all lie close enough together; equal ones always."""
    assert agreed_value(["1", "3", "2"], Rule(within=within), numeric=True)[0] == value
    assert agreed_value(["2.5", "2.5"], Rule(), numeric=True) == ("2.5", "")


@given(answers=ANSWERS, rule=st.builds(Rule, people=st.integers(1, 3), share=st.sampled_from([0.0, 0.7, 1.0])))
def test_what_is_agreed_on(answers: list[Answer], rule: Rule) -> None:
    """DM-03: As a count by hand would have it, whatever the order of the answers: of each person the newest, a strict majority, enough
    people; every row is either agreed on or held back with a reason."""
    known = history(answers, TARGET, rule)
    assert known == history(sorted(answers, key=lambda a: (a.person, a.known), reverse=True), TARGET, rule)
    for claim in {answer.key for answer in answers}:
        newest: dict[str, tuple[str, str]] = {}
        for answer in answers:
            if answer.key == claim:
                newest[answer.person] = max(newest.get(answer.person, ("", "")), (answer.known, answer.label["fraud"]))
        votes = [word for _, word in newest.values()]
        winners = [w for w in set(votes) if votes.count(w) * 2 > len(votes) and votes.count(w) >= rule.share * len(votes)]
        winners = winners if len(votes) >= rule.people else []
        steps, held = known[claim]
        assert [step.label["fraud"] for step in steps[-1:]] == winners if held is None else not winners
        assert all(first.label != second.label for first, second in pairwise(steps))


@given(exports=st.lists(ANSWERS, min_size=1, max_size=4))
def test_what_is_handed_on(exports: list[list[Answer]]) -> None:
    """DM-03: In whatever pieces and order exports come, the last label handed on is the last one agreed on; times of a row rise, so
    that the feed takes each; an export that comes again brings nothing."""
    known: list[Answer] = []
    handed: dict[tuple[str, ...], list[Agreed]] = {}
    for number, export in enumerate([*exports, exports[0]]):
        new = new_answers(known, export, TARGET, at(100 + number))
        if number == len(exports):
            assert new == []
        known += new
        for row in rows_to_hand_on(history(known, TARGET, Rule()), handed, TARGET, at(100 + number)):
            handed.setdefault(row.key, []).append(row)
        for key, (steps, _) in history(known, TARGET, Rule()).items():
            if steps:  # where nobody ever agreed, what was handed on before somebody's older answer came stays
                assert handed[key][-1].label == steps[-1].label
    for rows in handed.values():
        times = [TARGET.moment(row.known) for row in rows]
        assert times == sorted(set(times))
