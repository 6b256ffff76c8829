"""The names of the tables that keep what a model was asked and what then happened, and of the columns for its inputs.

>>> predictions_name("flight_delays"), outcomes_name("flight_delays"), INPUT + "distance"
('flight_delays_predictions', 'flight_delays_outcomes', 'input_distance')
"""

INPUT = "input_"  # before the name of an input, which may be any word


def predictions_name(model: str) -> str:
    """Name of the table of a model's predictions."""
    return f"{model}_predictions"


def outcomes_name(model: str) -> str:
    """Name of the table of a model's outcomes."""
    return f"{model}_outcomes"
