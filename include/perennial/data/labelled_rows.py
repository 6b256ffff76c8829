"""Rows of a snapshot with their labels, read part by part: only the days that are asked for, and only the columns that somebody reads.

Which columns a model's `features.label` reads shows when it reads them: it is given all by name, and one that was not read yet lets the
pass begin anew with it.

>>> from datetime import datetime
>>> from types import SimpleNamespace
>>> from perennial.data.snapshots import Snapshot, table_of
>>> from perennial.specs import DatasetSpec, ModelSpec
>>> from perennial.store import open_store
>>> store, orders = open_store("store"), DatasetSpec(
...     name="orders", title="Orders", owner="shop", key=["id"], event_time="at",
...     columns=[{"name": "id", "type": "int"}, {"name": "at", "type": "timestamp"}, {"name": "paid", "type": "float"}])
>>> model = ModelSpec(name="sums", title="Sums", owner="shop", dataset="orders", task="regression", inputs=["at"], label="sum",
...     gate={"metric": "rmse", "floors": {}})
>>> rows = pa.table({"id": [1, 2], "at": pa.array([datetime(2024, 1, 1)] * 2, pa.timestamp("us")), "paid": [3.0, 4.0]})
>>> version = table_of(store, orders).append(rows, "1f" * 32, key=("id",))
>>> labelled = LabelledRows(Snapshot(orders, version, store), model, SimpleNamespace(label=lambda columns: columns["paid"] * 2))
>>> labelled.whole_pass(lambda: float(sum(part.labels.sum() for part in labelled.read()))), sorted(labelled.columns)
(14.0, ['at', 'paid'])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from perennial.data.labels import UnknownByDay
from perennial.data.served_rows import OUTCOME, PREDICTION
from perennial.data.snapshots import Snapshot, label_of, label_values
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import pandas

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """Some of the rows."""

    rows: pa.Table  # the columns that were asked for, and those that the label reads
    frame: pandas.DataFrame  # the latter
    labels: np.ndarray  # float64 [rows], NaN where the label is not known
    times: np.ndarray  # datetime64 [rows]


class LabelledRows:
    """The rows of a snapshot, each with the label that the model's `features.label` makes of it.

    Args:
        snapshot: the rows.
        spec: of the model.
        features_module: has `label`, which makes a row's label of that row alone.
        vouched: whether each file is held against its hash before it is read first.
    """

    def __init__(self, snapshot: Snapshot, spec: ModelSpec, features_module: ModuleType | Any, *, vouched: bool = False) -> None:
        self.snapshot, self.spec, self.vouched = snapshot, spec, vouched
        served = (PREDICTION, OUTCOME) if snapshot.served else ()
        self.every = [name for name in snapshot.columns if name not in served]
        self.columns = {*served, snapshot.dataset.time_column, *({spec.label} & set(self.every))}
        self._module = SimpleNamespace(label=lambda columns: features_module.label(self._asked(columns)))
        self._vouched_files: set[str] = set()

    def whole_pass(self, work: Callable[[], Result]) -> Result:
        """What some work on the rows gives; it begins anew when a label needs a column that was not read."""
        while True:
            try:
                return work()
            except _NotRead as lacking:
                self.columns |= lacking.names

    def read(self, columns: Sequence[str] = (), since: datetime | None = None, until: datetime | None = None) -> Iterator[Part]:
        """Rows in no particular order, part by part; to be called within `whole_pass`.

        Args:
            columns: which columns, besides those that the label reads and the event time.
            since: first event time, included.
            until: last event time, not included.
        """
        time = self.snapshot.dataset.time_column
        own = [name for name in (*self.every, PREDICTION, OUTCOME) if name in self.columns]
        if self.vouched:
            more = self.snapshot.files_between(since, until) - self._vouched_files
            self.snapshot.table.refuse_damaged_files(self.snapshot.version, more)
            self._vouched_files |= more
        for rows in self.snapshot.parts(list(dict.fromkeys((*own, *columns))), since, until):
            frame = self.snapshot.frame(rows.select(own))
            yield Part(rows, frame, label_of(frame, self._module, self.spec), frame[time].to_numpy())

    def unknown(self, part: Part) -> UnknownByDay:
        """The label values of a part that are not a class, by day."""
        values = label_values(self.spec, part.frame) if self.spec.classes else None
        return UnknownByDay.count(values, part.labels, part.times)

    def _asked(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        return columns if columns.keys() >= set(self.every) else _Asked(columns, self.every)


class _NotRead(BaseException):
    """A label reads columns that were not read. No Exception: whatever the label's code catches, it is not meant."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(", ".join(names))
        self.names = set(names)


class _Asked(dict[str, Any]):
    """The columns of some rows by name, of which only some were read: `label` is given what was, and may ask for any other."""

    def __init__(self, columns: Mapping[str, Any], every: Sequence[str]) -> None:
        super().__init__(columns)
        self.lacking = [name for name in every if name not in columns]

    def __missing__(self, name: str) -> Any:
        raise _NotRead([name]) if name in self.lacking else KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self.lacking or super().__contains__(name)

    def get(self, name: str, otherwise: Any = None) -> Any:
        """The column of that name."""
        try:
            return self[name]
        except KeyError:
            return otherwise

    def _ask_for_all(self, *_: Any, **__: Any) -> Any:
        raise _NotRead(self.lacking)

    __iter__ = __len__ = __reversed__ = __or__ = __ror__ = __ior__ = __setitem__ = __delitem__ = __eq__ = __ne__ = _ask_for_all
    keys = values = items = copy = pop = popitem = setdefault = update = clear = _ask_for_all
    __hash__ = None  # as of any dict
