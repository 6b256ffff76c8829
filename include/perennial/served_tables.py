"""The names of the tables that keep what a model was asked and what then happened, and of the columns for its inputs.

>>> predictions_name("flight_delays"), outcomes_name("flight_delays"), INPUT + "distance"
('flight_delays_predictions', 'flight_delays_outcomes', 'input_distance')
>>> scores_name("flight_delays"), SCORED + "flights/version 3/2013-02-01"
('flight_delays_scores', 'scored/flights/version 3/2013-02-01')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.compute as pc

INPUT = "input_"  # before the name of an input, which may be any word
SCORED = "scored/"  # how the batch of a prediction is called, in the column `_batch`, if no caller asked for it: it was scored in a batch
SCORED_FILE = f"{SCORED}file-"  # the same where its row came in a file of its own, and is in no table


def predictions_name(model: str) -> str:
    """Name of the table of a model's predictions."""
    return f"{model}_predictions"


def outcomes_name(model: str) -> str:
    """Name of the table of a model's outcomes."""
    return f"{model}_outcomes"


def scores_name(model: str) -> str:
    """Name of the table of the scores that a model gave in batches."""
    return f"{model}_scores"


def is_scored(beginning: str = SCORED) -> pc.Expression:
    """Which predictions were scored in a batch, so that no caller asked for them: a filter of their table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.coalesce(pc.starts_with(pc.field("_batch"), beginning), pa.scalar(False))
