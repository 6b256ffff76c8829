"""How a model's rows are scored in batches."""

from __future__ import annotations

from pydantic import Field

from perennial.specs.base import CronLine, Spec


class ScoringSpec(Spec):
    """When rows of the dataset are scored in a batch, and how many at once."""

    schedule: CronLine | None = Field(
        default=None, description="Cron line of the scoring of the newest days (UTC). If unset, no scoring starts by the clock."
    )
    on_new_snapshot: bool = Field(default=False, description="Whether every new snapshot of the dataset has its newest days scored.")
    days: int = Field(
        default=7, ge=1, description="Number of days, the newest of the snapshot by event time, that a scoring without dates scores."
    )
    rows_at_once: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Rows that are scored together, as if a request had so many. In a request of the same rows the scores are the same bit "
        "for bit; in one of another size they may differ by less than the tolerance of the export.",
    )
