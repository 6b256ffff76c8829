"""How long the way of new data into traffic may take: pages of the runs show what is longer in red, and say by how much."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.specs.base import Spec

BudgetStage = Literal["ingest", "validate", "train", "evaluate", "register", "release"]


class BudgetSpec(Spec):
    """How long the way of new data into traffic may take. What takes longer is not stopped: the pages of the runs say so."""

    whole: float | None = Field(
        default=None,
        gt=0,
        description="From the landed file to all traffic on the version that learned from it, minutes; unset: no limit.",
    )
    stages: dict[BudgetStage, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description='Of single stages, minutes, such as `{"train": 30}`; of `release` from its start to all traffic, waits for people '
        "included.",
    )
