"""Asks a Prometheus what the signals of a release that come from one have shown: one number for each version.

>>> from perennial.specs import SignalSpec
>>> orders = SignalSpec(name="orders", source="prometheus", query='sum(rate(orders{v="{version}"}[1m]))', low=0, high=100)
>>> filled(orders, "churn", 7)
'sum(rate(orders{v="7"}[1m]))'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from perennial.errors import QuestionRefused, ServiceUnreachable
from perennial.specs import SignalSpec

Ask: TypeAlias = Callable[[str], "list[tuple[dict[str, str], float]]"]
NOT_SET = "PERENNIAL_PROMETHEUS_URL is not set"


@dataclass(frozen=True)
class Asked:
    """The answers to the signals that were asked for at a look, and why some have none."""

    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by signal: the candidate's and the champion's
    why_not: Mapping[str, str] = field(default_factory=dict)  # by signal: a clause


def filled(signal: SignalSpec, model: str, version: int) -> str:
    """The query for one version."""
    return signal.query.replace("{model}", model).replace("{version}", str(version))


def ask_for(signals: Sequence[SignalSpec], model: str, candidate: int, champion: int, ask: Ask | None) -> Asked:
    """Ask for both versions of each signal. Nothing is raised: what does not answer is no evidence, and is told.

    Args:
        signals: of the source `prometheus`.
        model: name of the model.
        candidate: the version that wants traffic.
        champion: the version that it is compared with.
        ask: gives the vector of an instant query, or raises ServiceUnreachable; None where no Prometheus is known.
    """
    values, why_not = dict[str, tuple[float, float]](), dict[str, str]()
    for one in signals:
        try:
            answers = [_only(ask, filled(one, model, version)) for version in (candidate, champion)]
        except QuestionRefused as error:
            why_not[one.name] = str(error).rstrip(".")
            continue
        except ServiceUnreachable as error:
            why_not[one.name] = str(error).rstrip(".")
            ask = _gone(str(error))  # the others need not wait for it, too
            continue
        known = [answer for answer in answers if isinstance(answer, float)]
        if len(known) == len(answers):
            values[one.name] = (known[0], known[1])
        else:
            why_not[one.name] = next(answer for answer in answers if isinstance(answer, str))
    return Asked(values, why_not)


def answer_of(signal: SignalSpec, model: str, version: int, ask: Ask | None) -> float | str:
    """The value of one version, or why there is none. The arguments are those of `ask_for`."""
    try:
        return _only(ask, filled(signal, model, version))
    except ServiceUnreachable as error:
        return str(error).rstrip(".")


def _only(ask: Ask | None, query: str) -> float | str:
    """The one number that a query gives, or why there is none."""
    if ask is None:
        return NOT_SET
    answers = ask(query)
    if len(answers) > 1:
        return f"{query} gives {len(answers)} values instead of one: put sum() or another aggregation around it"
    if not answers or not math.isfinite(answers[0][1]):
        return f"{query} gives no value"
    return answers[0][1]


def _gone(why: str) -> Ask:
    def ask(query: str) -> list[tuple[dict[str, str], float]]:
        raise ServiceUnreachable(why)

    return ask
