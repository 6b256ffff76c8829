"""Labels that a training leaves out, counted and reported: values that are no class, and rows whose label is not known yet.

>>> import numpy as np
>>> from perennial.data.labels import unknown_labels
>>> from perennial import discovery
>>> spec = discovery.model("flight_delays")
>>> unknown_labels(spec, np.array([1.0, 7.0, 0.0]), np.array([1.0, np.nan, 0.0])).sentence
'1 of 3 labels (33.3%) are no class and left out: `7.0` (1).'
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import numpy as np

TOLD = 5  # values that a sentence names
NEWEST_DAYS = 7  # of which a sentence says how many rows have a label


@dataclass(frozen=True)
class UnknownLabels:
    """Rows whose label column has a value from which `features.label` makes no class."""

    rows: int = 0
    of: int = 0  # rows whose label column has a value
    values: Mapping[str, int] = field(default_factory=dict)  # rows by value, the most frequent first

    @property
    def share(self) -> float:
        """Share of unknown labels among the rows that have a label value."""
        return self.rows / self.of if self.of else 0.0

    @property
    def sentence(self) -> str:
        """A sentence on the rows that were left out; empty if there are none."""
        if not self.rows:
            return ""
        shown_values = ", ".join(f"`{value}` ({count:,})" for value, count in list(self.values.items())[:TOLD])
        more = f" and {len(self.values) - TOLD} more values" if len(self.values) > TOLD else ""
        return f"{self.rows:,} of {self.of:,} labels ({self.share:.1%}) are no class and left out: {shown_values}{more}."

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON, for a version's manifest and an evaluation."""
        return {"rows": self.rows, "of": self.of, "values": dict(self.values)}


ALL_KNOWN = UnknownLabels()


@dataclass(frozen=True)
class UnknownByDay:
    """Label values of some rows that are not a class, counted by day, so that those of other rows can be added; None of no time."""

    of: Counter[date | None] = field(default_factory=Counter)  # rows whose label column has a value
    lost: Counter[tuple[date | None, str]] = field(default_factory=Counter)  # rows by day and value that is no class

    @classmethod
    def count(cls, values: np.ndarray | None, labels: np.ndarray, times: np.ndarray | None = None) -> UnknownByDay:
        """Count those of some rows.

        Args:
            values: of the label's column, [rows]; None where there are no classes, or the dataset has no column of that name.
            labels: what `features.label` made of the rows, [rows], NaN where it knows none.
            times: event times, [rows]; without them all are of no day.
        """
        import numpy as np
        import pandas as pd

        if values is None:
            return cls()
        known = ~pd.isna(values)
        lost = np.flatnonzero(known & np.isnan(np.asarray(labels, dtype=float)))
        days = np.full(len(values), None) if times is None else times.astype("datetime64[D]").astype(object)
        return cls(Counter(days[known].tolist()), Counter((days[place], str(values[place])) for place in lost))

    def __add__(self, other: UnknownByDay) -> UnknownByDay:
        return UnknownByDay(self.of + other.of, self.lost + other.lost)

    def since(self, first: date | None = None) -> UnknownLabels:
        """The counts of the rows since a day, or of all."""
        values = Counter[str]()
        for (day, value), rows in self.lost.items():
            if first is None or (day is not None and day >= first):
                values[value] += rows
        of = sum(rows for day, rows in self.of.items() if first is None or (day is not None and day >= first))
        order = sorted(values, key=lambda value: (-values[value], value))
        return UnknownLabels(values.total(), of, {value: values[value] for value in order})


def unknown_labels(spec: ModelSpec, values: np.ndarray | None, labels: np.ndarray) -> UnknownLabels:
    """Count the rows whose label value is not a class of the model.

    Args:
        spec: of the model; a regression has none.
        values: of the label's column, [rows]; None where the dataset has no column of that name.
        labels: what `features.label` made of the rows, [rows], NaN where it knows none.
    """
    import numpy as np

    return UnknownByDay.count(None if values is None or not spec.classes else np.asarray(values), labels).since()


def refuse_unknown(spec: ModelSpec, unknown: UnknownLabels, where: str) -> UnknownLabels:
    """Return the given counts. Raises TrainingRefused if more than `split.max_unknown_labels` of the labels are not a class."""
    if unknown.share > spec.split.max_unknown_labels:
        raise TrainingRefused(
            f"{spec.name} must not be trained on {where}: {unknown.sentence.rstrip('.')}, and {spec.split.max_unknown_labels:.1%} "
            f"may be. The classes are {', '.join(spec.classes)}. "
            "Correct the data or features.label; another class is another model; or raise split.max_unknown_labels where these "
            "rows are to be left out."
        )
    return unknown


@dataclass(frozen=True)
class Coverage:
    """Rows, and rows whose label is known, of each day that has rows."""

    days: Mapping[date, tuple[int, int]] = field(default_factory=dict)  # in order

    @property
    def labelled(self) -> int:
        """Rows whose label is known."""
        return sum(labelled for _, labelled in self.days.values())

    @property
    def labelled_days(self) -> list[date]:
        """Days that have a row whose label is known, in order."""
        return [day for day, (_, labelled) in self.days.items() if labelled]

    def sentence(self, newest_days: int = NEWEST_DAYS) -> str:
        """A sentence on the labels of the newest days; empty if there are no rows."""
        if not self.days:
            return ""
        newest = max(self.days)
        of_these = [counts for day, counts in self.days.items() if day > newest - timedelta(days=newest_days)]
        rows, labelled = (sum(counts) for counts in zip(*of_these, strict=True))
        return f"{labelled / rows:.0%} of the rows of the last {newest_days} days (to {newest}) have a label yet."

    def as_json(self) -> dict[str, list[int]]:
        """Rows and labelled rows by day, as JSON."""
        return {day.isoformat(): [rows, labelled] for day, (rows, labelled) in self.days.items()}


NOTHING = Coverage()


def coverage_of(times: np.ndarray, known: np.ndarray) -> Coverage:
    """Count the rows of each day, and those whose label is known. Rows without a time are of no day.

    Args:
        times: event times, [rows].
        known: whether the label is known, [rows].
    """
    import numpy as np

    timed = ~np.isnat(times)
    times, known = times[timed], known[timed]
    days, place = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    rows, labelled = np.bincount(place, minlength=len(days)), np.bincount(place, weights=known, minlength=len(days))
    return Coverage({day: (int(of), int(n)) for day, of, n in zip(days.astype(object).tolist(), rows, labelled, strict=True)})
