"""A signal in a spec is whole, or one sentence says what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from perennial.specs import ReleaseSpec, SignalSpec
from perennial.testing import small_dataset, small_model

GOOD: dict[str, Any] = {"name": "alarms", "column": "score", "event": "> 0.9"}
MEAN: dict[str, Any] = {"name": "sure", "column": "score", "low": 0, "high": 1}
ASKED: dict[str, Any] = {**MEAN, "column": "", "source": "prometheus", "query": 'sum(rate(orders{version="{version}"}[1m]))'}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**GOOD, "name": "More alarms"}, "'More alarms' is no name of a signal: use lower-case letters, digits and underscores"),
        ({**GOOD, "name": "latency"}, "the signal latency has the name of one that every release has: call it something else"),
        ({**GOOD, "column": ""}, "the signal alarms needs a query if its source is prometheus, else a column"),
        ({**GOOD, "query": "up"}, "the signal alarms needs a query if its source is prometheus, else a column"),
        ({**ASKED, "column": "score"}, "the signal sure needs a query if its source is prometheus, else a column"),
        ({**ASKED, "query": ""}, "the signal sure needs a query if its source is prometheus, else a column"),
        ({**ASKED, "query": "up{{pod}} {version}"}, "the query of the signal sure has {pod}: only {model} and {version} are filled in"),
        ({**ASKED, "query": "up"}, "the query of the signal sure lacks {version}, so that it says the same of every version"),
        ({"name": "sure", "column": "score"}, "the signal sure needs one of: event; quantile; low and high"),
        ({**MEAN, "high": None}, "the signal sure needs one of: event; quantile; low and high"),
        ({**MEAN, "event": "> 1"}, "the signal sure needs one of: event; quantile; low and high"),
        ({**GOOD, "quantile": 0.9}, "the signal alarms needs one of: event; quantile; low and high"),
        ({**MEAN, "low": 1}, "the signal sure goes from low 1 to high 1: low must be below high"),
        ({**ASKED, "low": None, "high": None, "event": "> 1"}, "the signal sure is one number a question: give low and high"),
        ({**MEAN, "max_ratio": 2}, "the signal sure has both max_ratio and a difference that is tolerated"),
        ({**GOOD, "max_ratio": 2, "max_difference": 0.1}, "the signal alarms has both max_ratio and a difference that is tolerated"),
        ({**MEAN, "high": 4, "max_difference": 4}, "the signal sure tolerates a difference of 4, all that there can be"),
        ({**GOOD, "max_difference": 1}, "the signal alarms tolerates a difference of 1, all that there can be"),
        ({**MEAN, "column": "class"}, "the signal sure watches a class: give an event such as '== yes'"),
        ({**GOOD, "event": "0.9"}, "the event '0.9' of the signal alarms cannot be read: write it like '> 0.9' or '== yes'"),
        ({**GOOD, "event": "> much"}, "the event '> much' of the signal alarms compares with no number: write it like '> 0.9'"),
        *(({**GOOD, "event": f"> {none}"}, "of the signal alarms compares with no number") for none in ("nan", "inf", "-inf", "1e999")),
        ({**MEAN, "low": -1e308, "high": 1e308}, "the signal sure goes from low -1e+308 to high 1e+308, too far to compute with"),
        ({**MEAN, "high": math.inf}, "Input should be a finite number"),
        ({**ASKED, "every_seconds": math.inf}, "Input should be a finite number"),
        ({**GOOD, "max_ratio": math.inf}, "Input should be a finite number"),
        ({**MEAN, "limit": 0.5}, "the signal sure has a limit, which is for the source prometheus: what a served version says has rules"),
        ({**ASKED, "limit": 1}, "the limit 1 of the signal sure must be between its low and its high"),
        ({**ASKED, "limit": 0}, "the limit 0 of the signal sure must be between its low and its high"),
        ({**GOOD, "column": "class", "event": "> 1"}, "the event '> 1' of the signal alarms compares a class: use == or !="),
    ],
)
def test_what_is_wrong_is_said(given: dict[str, Any], said: str) -> None:
    """SE-09: one sentence that names the signal and says what to do."""
    with pytest.raises(ValidationError) as caught:
        SignalSpec(**given)
    assert said in str(caught.value)


def test_what_a_signal_watches_is_said_in_words() -> None:
    """SE-09: as the page of a release shows it."""
    assert SignalSpec(**GOOD).words == "alarms (score > 0.9)"
    assert SignalSpec(**MEAN).words == "sure (mean of score)"
    assert SignalSpec(**ASKED).words == 'sure (mean of sum(rate(orders{version="{version}"}[1m])))'
    slow = {"name": "slow", "column": "milliseconds", "quantile": 0.95}
    assert SignalSpec(**slow).words == "slow (milliseconds above the 0.95 quantile of the champion's)"
    assert SignalSpec(**slow, direction="higher").words == "slow (milliseconds below the 0.95 quantile of the champion's)"
    assert SignalSpec(**ASKED, limit=0.5).limit == 0.5
    assert SignalSpec(**{**MEAN, "high": 4, "max_difference": 1}).max_difference == 1


def test_two_signals_of_one_name_are_refused() -> None:
    """SE-09: else nobody knew whose evidence it is."""
    with pytest.raises(ValidationError, match="signals name alarms twice: give each a name of its own"):
        ReleaseSpec(signals=(SignalSpec(**GOOD), SignalSpec(**MEAN), SignalSpec(**GOOD)))


def misfit(*signals: dict[str, Any], **changed: Any) -> Any:
    release = ReleaseSpec(signals=tuple(SignalSpec(**given) for given in signals))
    return small_model().model_copy(update={"release": release, **changed}).misfit(small_dataset())


def test_a_column_that_is_not_watched_is_named() -> None:
    """SE-09: with those that can be; numbers among the inputs can, words and columns that are no input cannot."""
    for column in ("score", "milliseconds", "on_time", "late", "distance", "temp"):
        assert misfit({**GOOD, "column": column}) is None
    assert misfit({**GOOD, "column": "carrier"}) == (
        "carrier",
        "its signal alarms watches carrier, which predictions do not have as a number: "
        "it can watch score, class, milliseconds, on_time, late, distance, temp",
    )
    assert misfit({**GOOD, "column": "distance"}, inputs=("carrier",))[0] == "distance"
    assert misfit({**GOOD, "source": "outcomes"}) == (
        "score",
        "its signal alarms watches score, which outcomes do not have as a number: it can watch outcome, error",
    )
    assert misfit({**GOOD, "source": "outcomes", "column": "error"}, {**ASKED}) is None
    said = {**GOOD, "column": "class", "event": "== early"}
    assert misfit(said) == ("alarms", "its signal alarms watches for the class early; its classes are on_time, late")
    assert misfit({**said, "event": "!= late"}) is None
    assert misfit({**said, "event": "== 1"}, task="regression", classes=())[0] == "class"
