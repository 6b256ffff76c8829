"""A signal that a team adds to a release: what is measured of each version, and what counts against a candidate."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.base import NAME, Spec

FIXED = ("errors", "latency", "outcomes", "unreadable")  # every release has these
OF_ANSWERS = ("score", "class", "milliseconds")  # columns of the prediction log that every model has, besides classes and inputs
OF_OUTCOMES = ("outcome", "error")
_EVENT = r"(<=|>=|==|!=|<|>)\s*(\S.*)"
_FIELD = r"\{(\w+)\}"


class SignalSpec(Spec):
    """One signal besides errors, latency, outcomes and requests that cannot be read."""

    name: str = Field(description="Lower-case name, as the page of a release shows it.")
    source: Literal["predictions", "outcomes", "prometheus"] = Field(
        default="predictions",
        description="Where its values come from: the prediction log, predictions whose outcome is known, or a Prometheus.",
    )
    column: str = Field(
        default="",
        description="Of `predictions`: `score` (of the last class, of a regression its value, of an anomaly model its score), `class`, "
        "`milliseconds` (in the model), a class (its score), or an input that is a number. Of `outcomes`: `outcome` (of a regression its "
        "value, else the place of the class from 0) or `error` (of a regression its absolute size, else 1 for a wrong answer).",
    )
    query: str = Field(
        default="",
        description="Of `prometheus`: an instant query with one value, in which {model} and {version} are filled in. Two of its windows "
        "must not overlap: let it look back `every_seconds` at most.",
    )
    every_seconds: float = Field(default=60, gt=0, description="Of `prometheus`: time between two questions, seconds.")
    event: str = Field(
        default="",
        description="Watch how often a value meets this condition, such as `> 0.9` or, of `class`, `== yes`. "
        "Of a request with several rows the first counts.",
    )
    quantile: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Watch how often a value is above this quantile of the champion's before the release; "
        "where a higher value is better, below it.",
    )
    low: float | None = Field(default=None, description="Watch the mean, of values from here; one below counts as this.")
    high: float | None = Field(default=None, description="Watch the mean, of values up to here; one above counts as this.")
    direction: Literal["lower", "higher"] = Field(default="lower", description="Whether a lower or a higher rate or mean is better.")
    max_ratio: float = Field(
        default=1.0, ge=1, description="Of an event or a quantile: a rate that is this many times worse than the champion's is tolerated."
    )
    max_difference: float | None = Field(
        default=None,
        ge=0,
        description="A rate or mean that is worse than the champion's by this much is tolerated. If unset, a mean tolerates none, "
        "and a rate is judged by `max_ratio`.",
    )
    limit: float | None = Field(
        default=None,
        description="Of `prometheus`: a version that serves for good whose mean is worse than this has an incident. If unset, it is "
        "watched in releases only.",
    )
    role: Literal["guardrail", "success"] = Field(
        default="guardrail",
        description="`guardrail`: rolls a candidate back that is shown to be worse than tolerated. `success`: a promotion wants it shown "
        "that the candidate is within what is tolerated; with nothing tolerated, that it is better.",
    )
    dry_run: bool = Field(default=False, description="Watch and show it, and decide nothing by it.")

    @property
    def kind(self) -> Literal["event", "quantile", "mean"]:
        """What of its values is watched."""
        return "event" if self.event else "mean" if self.quantile is None else "quantile"

    @property
    def less_is_better(self) -> bool:
        """Whether a lower rate or mean is better. Of a quantile values beyond it are counted, on the side that is worse."""
        return self.kind == "quantile" or self.direction == "lower"

    @property
    def by_ratio(self) -> bool:
        """Whether two rates are judged by their ratio, else by their difference."""
        return self.kind != "mean" and self.max_difference is None

    @property
    def condition(self) -> tuple[str, str]:
        """The comparison of an event, and what it compares with."""
        found = re.fullmatch(_EVENT, self.event.strip())
        if found is None:
            raise AssertionError("a spec with an event was checked when it was made")
        return found[1], found[2]

    @property
    def words(self) -> str:
        """What it watches, as the page of a release says it."""
        of = self.query if self.source == "prometheus" else self.column
        side = "above" if self.direction == "lower" else "below"
        quantile = f"{of} {side} the {self.quantile or 0:g} quantile of the champion's"
        what = {"event": f"{of} {self.event}", "quantile": quantile, "mean": f"mean of {of}"}[self.kind]
        return f"{self.name} ({what})"

    @model_validator(mode="after")
    def _says_what(self) -> SignalSpec:
        where = f"the signal {self.name}"
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name of a signal: use lower-case letters, digits and underscores, a letter first, at most 40"
            )
        if self.name in FIXED:
            raise ValueError(f"the signal {self.name} has the name of one that every release has: call it something else")
        if (self.source == "prometheus") != bool(self.query) or (self.source == "prometheus") == bool(self.column):
            raise ValueError(f"{where} needs a query if its source is prometheus, else a column")
        if self.source == "prometheus" and (wrong := sorted(set(re.findall(_FIELD, self.query)) - {"model", "version"})):
            raise ValueError(f"the query of {where} has {{{wrong[0]}}}: only {{model}} and {{version}} are filled in")
        if self.source == "prometheus" and "{version}" not in self.query:
            raise ValueError(f"the query of {where} lacks {{version}}, so that it says the same of every version")
        return self

    @model_validator(mode="after")
    def _is_judged_one_way(self) -> SignalSpec:
        where, bounds = f"the signal {self.name}", (self.low is not None, self.high is not None)
        if [bool(self.event), self.quantile is not None, any(bounds)].count(True) != 1 or (any(bounds) and not all(bounds)):
            raise ValueError(f"{where} needs one of: event; quantile; low and high")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"{where} goes from low {self.low:g} to high {self.high:g}: low must be below high")
        if self.low is not None and self.high is not None and not math.isfinite(self.high - self.low):
            raise ValueError(f"{where} goes from low {self.low:g} to high {self.high:g}, too far to compute with: bring them together")
        if self.source == "prometheus" and self.kind != "mean":
            raise ValueError(f"{where} is one number a question: give low and high, between which it lies")
        if self.max_ratio != 1 and not self.by_ratio:
            raise ValueError(
                f"{where} has both max_ratio and a difference that is tolerated: a mean has only max_difference, a rate one of the two"
            )
        width = (self.high or 0) - (self.low or 0) if self.kind == "mean" else 1.0
        if self.max_difference is not None and self.max_difference >= width:
            raise ValueError(
                f"{where} tolerates a difference of {self.max_difference:g}, all that there can be: give a smaller max_difference"
            )
        return self

    @model_validator(mode="after")
    def _limit_is_within(self) -> SignalSpec:
        if self.limit is None:
            return self
        if self.source != "prometheus":
            raise ValueError(
                f"the signal {self.name} has a limit, which is for the source prometheus: what a served version says has rules of its own, "
                "monitoring.rules"
            )
        if self.low is None or self.high is None or not self.low < self.limit < self.high:
            raise ValueError(f"the limit {self.limit:g} of the signal {self.name} must be between its low and its high")
        return self

    @model_validator(mode="after")
    def _event_can_be_read(self) -> SignalSpec:
        if not self.event:
            if self.column == "class":
                raise ValueError(f"the signal {self.name} watches a class: give an event such as '== yes'")
            return self
        found = re.fullmatch(_EVENT, self.event.strip())
        if found is None:
            raise ValueError(f"the event {self.event!r} of the signal {self.name} cannot be read: write it like '> 0.9' or '== yes'")
        if self.column == "class" and found[1] not in ("==", "!="):
            raise ValueError(f"the event {self.event!r} of the signal {self.name} compares a class: use == or !=")
        try:
            is_number = self.column == "class" or math.isfinite(float(found[2]))
        except ValueError:
            is_number = False
        if not is_number:
            raise ValueError(f"the event {self.event!r} of the signal {self.name} compares with no number: write it like '> 0.9'")
        return self
