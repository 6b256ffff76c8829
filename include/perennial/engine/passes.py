"""A pass over many rows: how it updates its state with a batch, and how the states of two parts are merged.

Whoever writes a pass says nothing of files, processes or machines, so each runner can carry it out (`in_process`). Rows come in batches
of any size, in any order, and parts of them may be folded in other places: the result is the same.

    >>> import pyarrow as pa
    >>> from perennial.engine.in_process import run
    >>> class Longest:
    ...     columns = ("distance",)
    ...
    ...     def empty(self):
    ...         return 0.0
    ...
    ...     def add(self, state, batch):
    ...         return max([state, *batch["distance"].to_pylist()])
    ...
    ...     def merge(self, state, other):
    ...         return max(state, other)
    ...
    ...     def finish(self, state):
    ...         return f"{state:.0f} km"
    >>> run(Longest(), pa.table({"distance": [300.0, 4983.0, 762.0]}))
    '4983 km'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa

State = TypeVar("State")
Result_co = TypeVar("Result_co", covariant=True)


class Pass(Protocol[State, Result_co]):
    """An aggregation over batches of rows whose states can be merged.

    For any division of the rows into parts and batches, and any order of adding and merging, `finish` must give what it gives for all rows
    in one batch. So a state holds whole numbers, extremes or sets: sums of floating-point numbers depend on their order.

    A state belongs to the pass: `add` and `merge` may change the one they are given first and return it, and `finish` may use it up. It can
    be pickled, and so merged on another machine than the one it was made on.
    """

    @property
    def columns(self) -> Sequence[str]:
        """Names of the columns that the pass reads. A batch lacks those that the rows do not have."""

    def empty(self) -> State:
        """The state of no rows."""

    def add(self, state: State, batch: pa.RecordBatch) -> State:
        """The state after one more batch of rows."""

    def merge(self, state: State, other: State) -> State:
        """Merge two states into the state of the rows of both. Only `state` may be changed."""

    def finish(self, state: State) -> Result_co:
        """The result of the pass."""
