"""The names of the tables that keep what a model was asked and what then happened, and of the columns for its inputs.

>>> predictions_name("flight_delays"), outcomes_name("flight_delays"), INPUT + "distance"
('flight_delays_predictions', 'flight_delays_outcomes', 'input_distance')
>>> scores_name("flight_delays"), SCORED + "flights/version 3/2013-02-01"
('flight_delays_scores', 'scored/flights/version 3/2013-02-01')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow.compute as pc

KEY = "key_"  # before the name of a key column of the dataset, which may be any word
SCORE = "score_"  # before the name of a class
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


def score_columns(classes: Sequence[str]) -> list[str]:
    """The columns of the table of scores for the scores of each class, in their order.

    A sign that Delta Lake lets no column have is written as an underscore.

    >>> score_columns(["on time", "late", "on_time"])
    ['score_on_time', 'score_late', 'score_on_time_2']
    """
    names: list[str] = []
    for place, name in enumerate(classes):
        plain = "".join("_" if sign in " ,;{}()\n\t=" else sign for sign in name)
        taken = {one.casefold() for one in names}
        names.append(f"{SCORE}{plain}_{place}" if f"{SCORE}{plain}".casefold() in taken else f"{SCORE}{plain}")
    return names


def is_scored(beginning: str = SCORED) -> pc.Expression:
    """Which predictions were scored in a batch, so that no caller asked for them: a filter of their table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.coalesce(pc.starts_with(pc.field("_batch"), beginning), pa.scalar(False))
