"""Runs a pass over rows in this process, on one thread, one batch after the other.

>>> import pyarrow as pa
>>> from perennial.engine.in_process import run
>>> from perennial.profiles.layout import fit_layout
>>> from perennial.profiles.profile import ByDay
>>> rows = pa.table({"day": pa.array([15887, 15887, 15888], pa.date32()), "carrier": ["UA", "AA", "UA"]})
>>> profile = run(ByDay(fit_layout(rows, ["carrier"]), "day"), rows)
>>> {day.isoformat(): state.rows for day, state in profile.blocks.items()}
{'2013-07-01': 2, '2013-07-02': 1}
"""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np

from perennial.engine.passes import Pass
from perennial.engine.rows import Rows, batches

State = TypeVar("State")
Result = TypeVar("Result")


def run(work: Pass[State, Result], *parts: Rows) -> Result:
    """Run a pass over rows and return its result.

    Args:
        work: the pass.
        parts: the rows. Several parts are folded one after the other, each for itself, and their states merged.
    """
    return work.finish(functools.reduce(work.merge, (fold(work, rows) for rows in parts)) if parts else work.empty())


def fold(work: Pass[State, Result], rows: Rows) -> State:
    """Run a pass over one part of the rows and return its state, which can be merged with those of other parts."""
    np.empty(31 << 17)  # freed at once: then malloc keeps 62 MB for the next batch instead of handing pages back and fetching new ones
    state = work.empty()
    for batch in batches(rows, work.columns):
        state = work.add(state, batch)
    return state
