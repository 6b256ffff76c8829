"""What a Prometheus says of signals: one number of each version, or why there is none."""

from __future__ import annotations

import math

import pytest

from perennial.errors import QuestionRefused, ServiceUnreachable
from perennial.serving.asked import NOT_SET, Ask, Asked, answer_of, ask_for, filled
from perennial.specs import SignalSpec

ORDERS = SignalSpec(name="orders", source="prometheus", query='o{m="{model}",v="{version}",x="{}"}', low=0, high=9)
VISITS = SignalSpec(name="visits", source="prometheus", query="v{version}", low=0, high=9)
TWO, ONE = 'o{m="churn",v="2",x="{}"}', 'o{m="churn",v="1",x="{}"}'


def answering(**by_query: list[float]) -> tuple[Ask, list[str]]:
    """A Prometheus with these answers, and what it was asked."""
    asked: list[str] = []
    known = {TWO: [4.0], ONE: [5.0], "v2": [1.0], "v1": [2.0], **by_query}

    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        asked.append(query)
        return [({}, value) for value in known[query]]

    return ask, asked


def test_both_versions_are_asked_about_each_signal() -> None:
    """SE-09: model and version are filled in; braces of its own a query keeps."""
    ask, asked = answering()
    assert ask_for((ORDERS, VISITS), "churn", 2, 1, ask) == Asked({"orders": (4.0, 5.0), "visits": (1.0, 2.0)}, {})
    assert asked == [TWO, ONE, "v2", "v1"]
    assert filled(ORDERS, "churn", 2) == TWO


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([], "v1 gives no value"),
        ([math.nan], "v1 gives no value"),
        ([math.inf], "v1 gives no value"),
        ([1.0, 2.0], "v1 gives 2 values instead of one: put sum() or another aggregation around it"),
    ],
)
def test_no_number_is_no_evidence(values: list[float], why: str) -> None:
    """SE-09: an empty answer, one that is no number, or several, of either version; other signals have theirs."""
    ask, _ = answering(v1=values)
    assert ask_for((VISITS, ORDERS), "churn", 2, 1, ask) == Asked({"orders": (4.0, 5.0)}, {"visits": why})
    assert ask_for((VISITS,), "churn", 1, 2, ask).why_not == {"visits": why}


def test_a_prometheus_that_does_not_answer_is_asked_once() -> None:
    """SE-09: and told for every signal; without an address nothing is asked."""
    assert Asked() == Asked({}, {})
    calls = []

    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        calls.append(query)
        raise ServiceUnreachable("It does not answer X.")

    assert ask_for((ORDERS, VISITS), "churn", 2, 1, ask) == Asked({}, dict.fromkeys(("orders", "visits"), "It does not answer X"))
    assert len(calls) == 1
    assert answer_of(VISITS, "churn", 2, ask) == "It does not answer X"
    assert answer_of(VISITS, "churn", 2, None) == NOT_SET
    assert answer_of(VISITS, "churn", 2, answering()[0]) == 1.0
    assert ask_for((ORDERS, VISITS), "churn", 2, 1, None) == Asked({}, dict.fromkeys(("orders", "visits"), NOT_SET))


def test_one_question_that_is_refused_keeps_no_other_from_its_answer() -> None:
    """SE-09: A query that is written wrong, maybe of a dry run, blinds its own signal alone."""
    answers, _ = answering()

    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        if query == TWO:
            raise QuestionRefused("It refuses a question (400: parse error).")
        return answers(query)

    why = {"orders": "It refuses a question (400: parse error)"}
    assert ask_for((ORDERS, VISITS), "churn", 2, 1, ask) == Asked({"visits": (1.0, 2.0)}, why)
