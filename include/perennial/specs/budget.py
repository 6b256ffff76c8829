"""How long the way of new data into traffic may take: pages of the runs show what is longer in red, and say by how much.

A training's own budget is another thing: it ends what exceeds it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.specs.base import Spec
from perennial.specs.deadlines import Deadline

BudgetStage = Literal["ingest", "validate", "train", "evaluate", "register", "release"]


class TrainingBudget(Spec):
    """What a training may use. One that uses more is ended, and goes on after its last finished epoch when the budget was raised."""

    minutes: float | None = Field(default=None, gt=0, description="Minutes of training, of all its tries together; unset: no limit.")
    money: float | None = Field(
        default=None,
        gt=0,
        description="Money for what `compute` reserves in that time, by the prices of PERENNIAL_PRICES; unset: no limit.",
    )


class BudgetSpec(Spec):
    """How long the way of new data into traffic may take. What takes longer is not stopped: the pages of the runs say so."""

    fresh_by: Deadline | None = Field(
        default=None,
        description="Wall time in the dataset's time zone by which a version that was trained on the same day must serve for good, such as "
        '`"06:00"`; an incident of the kind *deadline* opens where none does. For a model that is trained on every day '
        '(`retrain.on_new_snapshot` `"always"`).',
    )
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
