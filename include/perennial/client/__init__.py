"""What a person has in a notebook: rows and profiles, a training with the same gate, scores, outcomes, and what the console shows.

Each function asks the code of the stages and commands; what writes runs as a process of its own, as by hand or in a DAG.
`import perennial` offers the same names: docs/notebook.md.
"""

from perennial.client.connection import Connection, connect
from perennial.client.outcome_rows import outcomes
from perennial.client.scores import score
from perennial.client.shown import Shown, models, show
from perennial.client.table_profile import TableProfile, profile
from perennial.client.table_rows import rows, snapshot
from perennial.client.training import Candidate, Evaluation, Judged, release, train

__all__ = [
    "Candidate",
    "Connection",
    "Evaluation",
    "Judged",
    "Shown",
    "TableProfile",
    "connect",
    "models",
    "outcomes",
    "profile",
    "release",
    "rows",
    "score",
    "show",
    "snapshot",
    "train",
]
