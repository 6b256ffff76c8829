"""What makes a column an id: nearly every row has a value of its own, so that it names rows rather than describes them.

>>> names_rows(different=998, known=1000)
True
>>> names_rows(different=12, known=12)  # too few rows to tell
False
"""

from __future__ import annotations

ID_SHARE = 0.95  # of different values among the known ones, from which on words or whole numbers name rows
LEAST_ROWS = 20  # fewer are not judged


def names_rows(different: int, known: int) -> bool:
    """Whether a column of words or whole numbers with so many different among so many known values names rows."""
    return known >= LEAST_ROWS and different >= ID_SHARE * known
