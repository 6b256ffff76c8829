"""Limits of what a model answers: an owner knows what is normal, such as a share of bad news, and is told when it is not."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.base import Spec


class AnswerRule(Spec):
    """A limit of what a model answers in a window of live traffic: of the share of a class, or of the level of a score."""

    name: str = Field(min_length=1, max_length=80, description="What people call it, such as `more bad news`; it names the incident.")
    measure: Literal["share", "mean", "quantile"] = Field(
        description="`share` of the answers that are the class `of`, or of an anomaly model's alarms; `mean` or `quantile` of the score "
        "of the class `of`, of a regression's value, or of an anomaly model's score."
    )
    of: str = Field(default="", description="The class that it is about; of a model without classes it is left out.")
    quantile: float = Field(default=0.5, gt=0, lt=1, description="Which quantile, with `measure` `quantile`; 0.5 is the median.")
    above: float | None = Field(default=None, description="An incident opens when the measure is above this.")
    below: float | None = Field(default=None, description="An incident opens when the measure is below this.")
    min_rows: int = Field(default=100, ge=2, description="Fewest answers of a window that opens or ends its incident.")
    severity: Literal["info", "warning", "critical"] = Field(default="warning", description="Severity of the incident.")

    @model_validator(mode="after")
    def _has_one_limit(self) -> AnswerRule:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"the rule {self.name!r} needs one limit: set above or below, and leave out the other")
        if self.measure == "share" and not 0 < self.limit < 1:
            raise ValueError(f"the rule {self.name!r} has the limit {self.limit:g}: a share is between 0 and 1, such as 0.4")
        return self

    @property
    def limit(self) -> float:
        """The one that is set."""
        limit = self.above if self.above is not None else self.below
        assert limit is not None
        return limit
