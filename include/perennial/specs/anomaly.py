"""A model that learns from rows without labels: how many alarms it may raise, and how much of them may be chance."""

from __future__ import annotations

from pydantic import Field

from perennial.specs.base import Spec


class AnomalySpec(Spec):
    """Alarms of a model without labels: their budget, and how alike they must stay when the model is trained on other rows."""

    budget: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Share of rows that may raise an alarm. The threshold is the score that this share of the validation rows lies above.",
    )
    slack: float = Field(
        default=0.5,
        ge=0,
        description="How much more than `budget` the alarms of the test rows may be, as a share of it. A candidate that is shown to raise "
        "more, at the gate's `alpha`, is refused.",
    )
    refits: int = Field(
        default=3, ge=2, le=50, description="Trainings on rows drawn again, whole days where there are several, beside each training."
    )
    min_rank_agreement: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="Smallest accepted rank correlation (Spearman) of the scores with those of a refit, as the mean of all refits: 1 is "
        "the same order, 0 chance.",
    )
    min_alarm_agreement: float = Field(
        default=0.3, ge=0, le=1, description="Smallest accepted share of the alarms that a refit raises too, as the mean of all refits."
    )
