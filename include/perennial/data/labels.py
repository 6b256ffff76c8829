"""Label values that are not a class of the model: training leaves these rows out, so they are counted and reported.

>>> import numpy as np
>>> from perennial.data.labels import unknown_labels
>>> from perennial import discovery
>>> spec = discovery.model("flight_delays")
>>> unknown_labels(spec, np.array([1.0, 7.0, 0.0]), np.array([1.0, np.nan, 0.0])).sentence
'1 of 3 labels (33.3%) are no class and left out: `7.0` (1).'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perennial.errors import TrainingRefused
from perennial.specs import ModelSpec

if TYPE_CHECKING:
    import numpy as np

TOLD = 5  # values that a sentence names


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


def unknown_labels(spec: ModelSpec, values: np.ndarray | None, labels: np.ndarray) -> UnknownLabels:
    """Count the rows whose label value is not a class of the model.

    Args:
        spec: of the model; a regression has none.
        values: of the label's column, [rows]; None where the dataset has no column of that name.
        labels: what `features.label` made of the rows, [rows], NaN where it knows none.
    """
    import numpy as np
    import pandas as pd

    if not spec.classes or values is None:
        return UnknownLabels()
    known = ~pd.isna(values)
    lost = known & np.isnan(np.asarray(labels, dtype=float))
    names, counts = np.unique(np.array([str(value) for value in np.asarray(values)[lost]], dtype=str), return_counts=True)
    order = np.lexsort((names, -counts))
    return UnknownLabels(int(lost.sum()), int(known.sum()), {str(names[i]): int(counts[i]) for i in order})


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
